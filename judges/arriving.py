"""What another thread brings, taken in bursts: a transaction for many answers costs little more than for one."""

import time
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

# Answers come in bursts: waiting this long for more makes one transaction of many.
LINGER_SECONDS = 0.02


def take(came: SimpleQueue[T], *, seconds: float, enough: int, under_way: int) -> list[T]:
    """Return what has come, at most `enough`; waits for the first, at most so many seconds.

    `under_way` is how many are still to come at most.
    """
    try:
        taken = [came.get(timeout=seconds)]
    except Empty:
        return []
    if came.qsize() + 1 < min(enough, under_way):
        # One sleep, not a wake-up for every answer: the other thread needs the interpreter.
        time.sleep(LINGER_SECONDS)
    while len(taken) < enough and not came.empty():
        taken.append(came.get())
    return taken
