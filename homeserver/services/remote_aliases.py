"""Aliases that other servers keep. Spec: server-server API, `GET /query/directory`."""

from typing import Final

import msgspec

from homeserver.clients.federation import FederationClient
from homeserver.core.errors import InvalidParam, Unknown
from homeserver.core.identifiers import RoomAlias, ServerName, parse_room_id, parse_server_name, server_of
from homeserver.core.json import JsonValue
from homeserver.services.aliases import ResolvedAlias
from homeserver.services.remote_queries import query

MOST_BYTES: Final = 256 * 1024
"""Of an answer: it names all servers in the room."""

MOST_SERVERS: Final = 100
"""Of the servers that an alias is said to be known by."""


class RemoteAliases(msgspec.Struct, frozen=True):
    """Asks other servers for their aliases."""

    client: FederationClient

    async def resolve(self, alias: RoomAlias) -> ResolvedAlias:
        """Find the room of another server's alias.

        Errors: see `query`; Unknown (502) also if the server answers nonsense.
        """
        server_name = parse_server_name(server_of(alias) or "")
        answer = await query(
            self.client,
            server_name,
            "directory",
            {"room_alias": alias},
            most_bytes=MOST_BYTES,
            absent=f"There is no room under the alias {alias}",
        )
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
