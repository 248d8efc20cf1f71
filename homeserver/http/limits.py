"""What a connection may cost before its request has reached an endpoint."""

import msgspec


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes and patience in milliseconds, per connection.

    The limit of a request's body belongs to its endpoint and is not here.
    """

    target_bytes: int = 16_384
    """Path and query."""

    header_bytes: int = 32_768
    """All header lines together."""

    header_count: int = 100

    held_bytes: int = 65_536
    """What may arrive while a request is being answered before reading stops; the pipelined next request."""

    head_ms: int = 20_000
    """From the first byte of a request (of a connection: from its opening) to the end of its header."""

    body_stall_ms: int = 20_000
    """The longest pause within a body."""

    body_bytes_per_second: int = 1_024
    """A body that arrives more slowly than this is given up, `body_stall_ms` being granted on top."""

    idle_ms: int = 150_000
    """Between two requests. Longer than the usual patience of reverse proxies: who closes first decides
    whether a request can get lost between the two."""

    write_stall_ms: int = 60_000
    """The longest time for the client to take in the next 64 KiB of a response."""

    closing_ms: int = 3_000
    """From the last byte of the last response to cutting the connection, should the client not close it."""

    connections: int = 10_000
    """Open at once, per listener; more are closed unanswered."""
