"""Aliases that other servers keep. Spec: server-server API, `GET /query/directory`."""

from typing import Final

import attrs

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.errors import InvalidParam, NotFound, Unknown
from homeserver.core.identifiers import RoomAlias, ServerName, parse_room_id, parse_server_name, server_of
from homeserver.core.json import JsonValue
from homeserver.services.aliases import ResolvedAlias

PATIENCE_MS: Final = 15_000
MOST_BYTES: Final = 256 * 1024
MOST_SERVERS: Final = 100
"""Of the servers that an alias is said to be known by."""


@attrs.frozen
class RemoteAliases:
    """Asks other servers for their aliases."""

    client: FederationClient

    async def resolve(self, alias: RoomAlias) -> ResolvedAlias:
        """Find the room of another server's alias.

        Errors: NotFound; Unknown (502) if the server cannot be asked, or answers nonsense.
        """
        server_name = parse_server_name(server_of(alias) or "")
        try:
            answer = await self.client.get(
                server_name,
                federation_path("v1", "query", "directory"),
                {"room_alias": alias},
                patience_ms=PATIENCE_MS,
                most_bytes=MOST_BYTES,
            )
        except RemoteError as error:
            if error.status == 404:
                raise NotFound(f"There is no room under the alias {alias}") from error
            raise Unknown(f"The server of the alias could not be asked: {error}", status=502) from error
        room_id = answer.get("room_id")
        try:
            found = parse_room_id(room_id if isinstance(room_id, str) else "")
        except InvalidParam as error:
            raise Unknown(f"{server_name} gives no room for the alias", status=502) from error
        return ResolvedAlias(found, tuple(dict.fromkeys((*_servers(answer.get("servers")), server_name))))


def _servers(listed: JsonValue) -> list[ServerName]:
    """Those that are server names."""
    found: list[ServerName] = []
    for name in listed[:MOST_SERVERS] if isinstance(listed, list) else ():
        try:
            found.append(parse_server_name(name if isinstance(name, str) else ""))
        except InvalidParam:
            continue
    return found
