"""Client-server API, `list_public_rooms.yaml`: the directory of public rooms."""

from typing import Literal

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomID, ServerName, parse_server_name
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.public_rooms import PublicRooms, RoomPage, Search

VISIBILITY = "/_matrix/client/v3/directory/list/room/{room_id}"
DIRECTORY = "/_matrix/client/v3/publicRooms"

Visibility = Literal["public", "private"]


class DirectoryServer(msgspec.Struct):
    """Whose directory is asked for; `None` for this server's."""

    server: str | None = None


class GetPublicRoomsQuery(msgspec.Struct):
    """Which part of whose directory is asked for."""

    limit: int | None = None
    since: str | None = None
    server: str | None = None


class Filter(msgspec.Struct):
    """Which rooms are looked for."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class QueryPublicRoomsRequest(msgspec.Struct):
    """Which rooms are looked for, and which part of those that were found is asked for."""

    limit: int | None = None
    since: str | None = None
    filter: Filter = msgspec.field(default_factory=Filter)
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class PublicRoomsResponse(msgspec.Struct, omit_defaults=True):
    """A part of the directory."""

    chunk: list[JsonObject]
    total_room_count_estimate: int | None = None
    next_batch: str | None = None
    prev_batch: str | None = None


class RoomVisibility(msgspec.Struct):
    """Whether a room is in the directory."""

    visibility: Visibility = "public"


class ListPublicRooms(msgspec.Struct, frozen=True):
    """The directory of public rooms."""

    public_rooms: PublicRooms

    @endpoint("GET", VISIBILITY, auth=Auth.NONE)
    async def get_room_visibility_on_directory(self, room_id: RoomID) -> RoomVisibility:
        """Whether a room is in the directory."""
        return RoomVisibility("public" if await self.public_rooms.is_public(room_id) else "private")

    @endpoint("PUT", VISIBILITY, auth=Auth.USER, limit=Limit.ROOMS)
    async def set_room_visibility_on_directory(
        self, requester: Requester, room_id: RoomID, body: RoomVisibility
    ) -> JsonObject:
        """Put a room in the directory, or take it out."""
        await self.public_rooms.set_public(requester, room_id, public=body.visibility == "public")
        return {}

    @endpoint("GET", DIRECTORY, auth=Auth.NONE, limit=Limit.SEARCH)
    async def get_public_rooms(self, query: GetPublicRoomsQuery) -> PublicRoomsResponse:
        """A part of the directory."""
        search = Search(limit=query.limit, since=query.since)
        return _response(await self.public_rooms.page(search, _server(query.server)))

    @endpoint("POST", DIRECTORY, auth=Auth.USER, limit=Limit.SEARCH)
    async def query_public_rooms(
        self, query: DirectoryServer, body: QueryPublicRoomsRequest
    ) -> PublicRoomsResponse:
        """The rooms of the directory that match a filter."""
        if body.third_party_instance_id is not None:
            if body.include_all_networks:
                raise InvalidParam(
                    "third_party_instance_id asks for one network, include_all_networks for all"
                )
            # There is no bridge, so there are no networks but this one.
            return PublicRoomsResponse([], 0)
        types = body.filter.room_types
        search = Search(
            limit=body.limit,
            since=body.since,
            term=body.filter.generic_search_term,
            room_types=None if types is None else frozenset(types),
        )
        return _response(await self.public_rooms.page(search, _server(query.server)))


def _server(name: str | None) -> ServerName | None:
    return None if name is None else parse_server_name(name)


def _response(page: RoomPage) -> PublicRoomsResponse:
    return PublicRoomsResponse(page.chunk, page.total, page.next_batch, page.prev_batch)
