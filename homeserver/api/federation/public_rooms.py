"""Server-server API, `public_rooms.yaml`: this server's directory of public rooms, for other servers."""

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.public_rooms import MAX_LIMIT, PublicRooms, Search

DIRECTORY = "/_matrix/federation/v1/publicRooms"


class GetPublicRoomsQuery(msgspec.Struct):
    """Which part of the directory is asked for; a `limit` of 0 is none."""

    limit: int = 0
    since: str | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class Filter(msgspec.Struct):
    """Which rooms are looked for."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class QueryPublicRoomsRequest(msgspec.Struct):
    """Which rooms are looked for, and which part of those that were found is asked for."""

    limit: int | None = None
    since: str | None = None
    filter: Filter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class PublicRoomsResponse(msgspec.Struct, omit_defaults=True):
    """A part of the directory."""

    chunk: list[JsonObject]
    total_room_count_estimate: int | None = None
    next_batch: str | None = None
    prev_batch: str | None = None


class PublicRoomDirectory(msgspec.Struct, frozen=True):
    """The directory, for other servers."""

    public_rooms: PublicRooms

    @endpoint("GET", DIRECTORY, auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def get_public_rooms(self, query: GetPublicRoomsQuery) -> PublicRoomsResponse:
        """A part of the directory."""
        search = Search(limit=query.limit or MAX_LIMIT, since=query.since)
        return await self._page(search, query.third_party_instance_id, everywhere=query.include_all_networks)

    @endpoint("POST", DIRECTORY, auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def query_public_rooms(self, body: QueryPublicRoomsRequest) -> PublicRoomsResponse:
        """The rooms of the directory that match a filter."""
        wanted = body.filter or Filter()
        search = Search(
            limit=body.limit or None,
            since=body.since,
            term=wanted.generic_search_term,
            room_types=None if wanted.room_types is None else frozenset(wanted.room_types),
        )
        return await self._page(search, body.third_party_instance_id, everywhere=body.include_all_networks)

    async def _page(self, search: Search, network: str | None, *, everywhere: bool) -> PublicRoomsResponse:
        if network is not None:
            if everywhere:
                raise InvalidParam(
                    "third_party_instance_id asks for one network, include_all_networks for all"
                )
            # There is no bridge, so there are no networks but this one.
            return PublicRoomsResponse([], 0)
        page = await self.public_rooms.page(search)
        return PublicRoomsResponse(page.chunk, page.total, page.next_batch, page.prev_batch)
