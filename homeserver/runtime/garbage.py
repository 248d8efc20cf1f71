"""The garbage collector of a process that has been started, and lives long."""

import gc
from typing import Final

YOUNG: Final = 10_000
"""Objects that come and stay before the youngest are looked through. Python's 700 are fewer than those of the requests
that are being answered at one time, so that most are found to be in use, again and again."""


def settle() -> None:
    """What is there now stays for good, and is not looked through any more: modules, classes, services.

    What comes later is collected as before, but in larger portions. Nearly all of it goes by itself: only what refers
    to itself in a circle needs the collector.
    """
    gc.collect()
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(YOUNG, middle, old)
