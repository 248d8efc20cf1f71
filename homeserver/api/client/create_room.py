"""Client-server API, `create_room.yaml`: creating rooms."""

from typing import Literal

import msgspec

from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.room_creation import NewRoom, RoomCreation, StateDraft
from homeserver.services.third_party_invitations import ThirdPartyInvitations


class StateEvent(msgspec.Struct):
    """A state event for the new room."""

    type: str
    content: JsonObject
    state_key: str = ""


class Invite3pid(msgspec.Struct):
    """Somebody to invite who is known by an address."""

    id_server: str
    id_access_token: str
    medium: str
    address: str


class CreateRoomRequest(msgspec.Struct):
    """How the room is to be; `None` for what is left to the server."""

    visibility: Literal["public", "private"] = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] = []
    invite_3pid: list[Invite3pid] = []
    room_version: str | None = None
    creation_content: JsonObject = {}
    initial_state: list[StateEvent] = []
    preset: Literal["private_chat", "public_chat", "trusted_private_chat"] | None = None
    is_direct: bool = False
    power_level_content_override: JsonObject = {}


class CreateRoomResponse(msgspec.Struct):
    """The new room."""

    room_id: RoomID


class CreateRoom(msgspec.Struct, frozen=True):
    """Creating rooms."""

    room_creation: RoomCreation
    third_party: ThirdPartyInvitations

    @endpoint("POST", "/_matrix/client/v3/createRoom", auth=Auth.USER, limit=Limit.ROOMS)
    async def create_room(self, requester: Requester, body: CreateRoomRequest) -> CreateRoomResponse:
        """Create a room."""
        # What could be refused is refused before there is a room.
        invitees = self.third_party.invitees(
            [(each.id_server, each.id_access_token, each.medium, each.address) for each in body.invite_3pid]
        )
        wanted = NewRoom(
            preset=body.preset,
            is_public=body.visibility == "public",
            alias_localpart=body.room_alias_name,
            name=body.name,
            topic=body.topic,
            invite=tuple(parse_user_id(user_id) for user_id in body.invite),
            room_version=body.room_version,
            creation_content=body.creation_content,
            initial_state=tuple(
                StateDraft(event.type, event.state_key, event.content) for event in body.initial_state
            ),
            is_direct=body.is_direct,
            power_level_content_override=body.power_level_content_override,
        )
        room_id = await self.room_creation.create(requester, wanted)
        await self.third_party.invite_all(requester, room_id, invitees, is_direct=body.is_direct)
        return CreateRoomResponse(room_id)
