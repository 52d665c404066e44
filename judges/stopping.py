"""Whether this process was told to stop."""

import threading

# No new question is begun then; what was asked of a server is waited for, and a model in this process ends its batch.
stopping = threading.Event()
