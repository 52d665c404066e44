"""How gunicorn serves the site behind a proxy: `gunicorn -c python:config.gunicorn --bind ADDRESS config.wsgi`.

The proxy ends HTTPS, keeps the browsers' connections and reads what they send before it asks; here a connection is one
request. So all that wait do so in one line, in the kernel, and whichever worker is free takes the next: a connection
that is kept belongs to one worker, and of 32 people 20 may wait for one while the other idles.
"""

from typing import Any

worker_class = "gthread"
# As many as cores, for Python runs one thread of a process at a time; the threads are for what waits on the database. A
# fourth one made 4 % fewer answers a second of 32 people, a second one alone 8 %: more at once, or the cores idle.
workers = 2
threads = 3
keepalive = 0
# What a worker has taken does not wait in the common line any more.
worker_connections = threads


def post_worker_init(worker: Any) -> None:
    """Say in the log that a worker has the application."""
    worker.log.info("Worker %s serves.", worker.pid)
