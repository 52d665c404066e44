"""How numbers are written, where Django's formats differ from the browser's.

A figure that changed its look when the script counts on would read as another figure.
"""
