"""The application with a task that holds up its process: `celery -A tests.faults.sleeping`. Only for tests."""

import time

from config.celery import app

TASK = "tests.faults.sleep"


@app.task(name=TASK)
def sleep(seconds: float) -> None:
    """Sleep as a model computes: with the pool solo nothing else of the worker goes on."""
    time.sleep(seconds)
