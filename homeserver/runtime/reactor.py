"""Choosing the reactor: Twisted's asyncio reactor, on uvloop where it is there."""

import asyncio
import sys

from twisted.internet import asyncioreactor


def install() -> None:
    """Install the reactor; to be called once, before anything imports `twisted.internet.reactor`."""
    loop: asyncio.AbstractEventLoop
    try:
        import uvloop  # noqa: PLC0415 - it is not there on every platform
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install(loop)
