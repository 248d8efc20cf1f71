"""Other servers' directories of public rooms. Spec: server-server API, "Published Room Directory"."""

from typing import Final

import msgspec

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.errors import Forbidden, InvalidParam, Unknown
from homeserver.core.identifiers import RoomID, ServerName, parse_room_id
from homeserver.core.json import JsonObject, JsonValue
from homeserver.services.public_rooms import DEFAULT_LIMIT, MAX_LIMIT, RoomPage, Search

PATIENCE_MS: Final = 20_000
MOST_BYTES: Final = 4 * 1024 * 1024
LONGEST_TOKEN: Final = 1_000


class _PublishedRoom(msgspec.Struct, omit_defaults=True):
    """An entry of a directory; what other servers add to it is left out."""

    room_id: RoomID
    name: str | None = None
    topic: str | None = None
    canonical_alias: str | None = None
    avatar_url: str | None = None
    room_type: str | None = None
    join_rule: str | None = None


class _Numbers(msgspec.Struct):
    """What every entry has."""

    num_joined_members: int = 0
    world_readable: bool = False
    guest_can_join: bool = False


class _Answer(msgspec.Struct):
    """A part of a directory, its entries not looked at."""

    chunk: list[JsonObject]
    next_batch: str | None = None
    prev_batch: str | None = None
    total_room_count_estimate: int | None = None


class RemotePublicRooms(msgspec.Struct, frozen=True):
    """Asks other servers for their directories."""

    client: FederationClient

    async def page(self, search: Search, server_name: ServerName) -> RoomPage:
        """A part of the directory of a server.

        Errors: InvalidParam; Forbidden if it does not tell; Unknown (502) if it cannot be asked, or answers
        nonsense.
        """
        limit = DEFAULT_LIMIT if search.limit is None else min(search.limit, MAX_LIMIT)
        if limit < 1:
            raise InvalidParam("limit is less than 1")
        try:
            document = await self._ask(search, server_name, limit)
        except RemoteError as error:
            if error.status in (401, 403):
                raise Forbidden(f"{server_name} does not tell") from error
            if error.status == 400 and search.since is not None:
                raise InvalidParam("since is not a token of that directory") from error
            raise Unknown(f"The server could not be asked: {error}", status=502) from error
        try:
            answer = msgspec.convert(document, _Answer)
        except msgspec.ValidationError as error:
            raise Unknown(f"{server_name} gives no directory", status=502) from error
        entries = (_entry(each) for each in answer.chunk[:MAX_LIMIT])
        return RoomPage(
            [entry for entry in entries if entry is not None],
            _token(answer.next_batch),
            _token(answer.prev_batch),
            answer.total_room_count_estimate,
        )

    async def _ask(self, search: Search, server_name: ServerName, limit: int) -> JsonObject:
        path = federation_path("v1", "publicRooms")
        if search.term is None and search.room_types is None:
            query = {"limit": str(limit)} | ({} if search.since is None else {"since": search.since})
            return await self.client.get(
                server_name, path, query, patience_ms=PATIENCE_MS, most_bytes=MOST_BYTES
            )
        wanted: JsonObject = {}
        if search.term is not None:
            wanted["generic_search_term"] = search.term
        if search.room_types is not None:
            types: list[JsonValue] = [*sorted(each for each in search.room_types if each is not None)]
            wanted["room_types"] = types + ([None] if None in search.room_types else [])
        body: JsonObject = {"limit": limit, "filter": wanted}
        if search.since is not None:
            body["since"] = search.since
        return await self.client.post(server_name, path, body, patience_ms=PATIENCE_MS, most_bytes=MOST_BYTES)


def _entry(entry: JsonObject) -> JsonObject | None:
    """An entry as clients get it; None if it is none."""
    try:
        room = msgspec.convert(entry, _PublishedRoom)
        numbers = msgspec.convert(entry, _Numbers)
        parse_room_id(room.room_id)
    except (msgspec.ValidationError, InvalidParam):
        return None
    return {**msgspec.to_builtins(room), **msgspec.to_builtins(numbers)}


def _token(token: str | None) -> str | None:
    return token if token is not None and len(token) <= LONGEST_TOKEN else None
