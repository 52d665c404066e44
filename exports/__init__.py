"""Snapshots, trainer-ready files and reports."""
