"""Choosing the reactor: Twisted's asyncio reactor, on uvloop where it is there.

Twisted's TCP and reactors load TLS along with them if they can: 12 MB, which a server behind a proxy that talks to no
other server never needs. Here who needs TLS lays it over connections himself (`homeserver.http.tls`,
`homeserver.clients.http_connections`), so Twisted is told that there is none, which it is prepared for. For that this
module has to be imported before anything else loads `twisted.internet.tcp`: `homeserver.app` does so.
"""

import asyncio
import importlib
import sys
from types import ModuleType
from typing import Final

_TLS: Final = ("twisted.protocols.tls", "twisted.internet.ssl")


def _load_without_tls() -> ModuleType:
    hidden = [name for name in _TLS if name not in sys.modules]
    # An import of what stands there as None fails, as that of a module that is not installed.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None hides a module
    try:
        return importlib.import_module("twisted.internet.asyncioreactor")
    finally:
        for name in hidden:
            del sys.modules[name]


_asyncioreactor = _load_without_tls()


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
        _asyncioreactor.install(loop)
