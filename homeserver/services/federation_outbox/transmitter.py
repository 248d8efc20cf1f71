"""What the outbox needs of whoever carries its transactions."""

from typing import Protocol

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject


class Transmitter(Protocol):
    """Makes signed requests to other servers."""

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: JsonObject | bytes,
        *,
        patience_ms: int = ...,
        most_bytes: int = ...,
        is_probe: bool = ...,
    ) -> JsonObject:
        """PUT a body, which is canonical JSON if it is bytes; gives the response's.

        With `is_probe` it is tried even if the server could not be reached just now. Errors: RemoteError.
        """
        ...
