"""Client-server API, `rooms.yaml`: single events and members of rooms. The state is in `room_state`."""

from typing import Literal, TypeAlias

import msgspec

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.room_events import RoomEvents
from homeserver.services.room_members import MembersRequest, RoomMember, RoomMembers

Membership: TypeAlias = Literal["join", "invite", "knock", "leave", "ban"]


class MembersQuery(msgspec.Struct):
    """As of when, and with which membership."""

    at: str | None = None
    membership: Membership | None = None
    not_membership: Membership | None = None


class JoinedMembersResponse(msgspec.Struct):
    """Who is joined."""

    joined: dict[UserID, RoomMember]


class Rooms(msgspec.Struct, frozen=True):
    """The endpoints of events and members."""

    events: RoomEvents
    members: RoomMembers

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/event/{event_id}", auth=Auth.GUEST_OK)
    async def get_one_room_event(self, requester: Requester, room_id: RoomID, event_id: EventID) -> RawJson:
        """One event."""
        return RawJson(await self.events.get(requester, room_id, event_id))

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/members", auth=Auth.GUEST_OK)
    async def get_members_by_room(
        self, requester: Requester, room_id: RoomID, query: MembersQuery
    ) -> RawJson:
        """The membership events."""
        at = parse_stream_token(query.at) if query.at else None
        request = MembersRequest(room_id, at, query.membership, query.not_membership)
        return RawJson(await self.members.members(requester, request))

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/joined_members", auth=Auth.USER)
    async def get_joined_members_by_room(
        self, requester: Requester, room_id: RoomID
    ) -> JoinedMembersResponse:
        """Who is joined, with name and avatar."""
        return JoinedMembersResponse(await self.members.joined(requester, room_id))
