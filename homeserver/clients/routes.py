"""Where a connection to a web server leads, and what may go wrong with it."""

import msgspec


class Target(msgspec.Struct, frozen=True):
    """A host, which is a name or an address without brackets, and a port."""

    host: str
    port: int


class Route(msgspec.Struct, frozen=True, cache_hash=True):
    """Where to connect, and as whom to address who is there.

    `targets` are tried in order. `host` is for the header `Host`. `tls_name` is whose certificate must be
    presented: a host name, or an address without brackets.
    """

    targets: tuple[Target, ...]
    host: str
    tls_name: str


class ExchangeError(Exception):
    """A connection cannot be opened, or has broken.

    `is_unanswered`: it broke before a byte of the response; `is_too_large`: the response was given up.
    """

    def __init__(self, message: str, *, is_unanswered: bool = False, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_unanswered = is_unanswered
        self.is_too_large = is_too_large
