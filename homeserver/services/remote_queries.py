"""Asking other servers about their aliases and users. Spec: server-server API, "Querying for information"."""

from collections.abc import Mapping
from typing import Final

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.errors import Forbidden, NotFound, Unknown
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject

PATIENCE_MS: Final = 10_000
"""A client waits for the answer."""


async def query(
    client: FederationClient,
    server_name: ServerName,
    what: str,
    about: Mapping[str, str],
    *,
    most_bytes: int,
    absent: str,
) -> JsonObject:
    """The answer to `GET /query/<what>`, of up to `most_bytes`.

    Errors: NotFound, which says `absent`, if there is no such thing; Forbidden if the server does not tell; Unknown
    (502) if it cannot be asked.
    """
    path = federation_path("v1", "query", what)
    try:
        return await client.get(server_name, path, about, patience_ms=PATIENCE_MS, most_bytes=most_bytes)
    except RemoteError as error:
        if error.status == 404:
            raise NotFound(absent) from error
        if error.status == 403:
            raise Forbidden(f"{server_name} does not tell") from error
        raise Unknown(f"{server_name} could not be asked: {error}", status=502) from error
