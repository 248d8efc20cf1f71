"""Client-server API, `room_upgrades.yaml`: replacing a room by one of another version."""

import msgspec

from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.room_upgrades import RoomUpgrades as Upgrades


class UpgradeRoomRequest(msgspec.Struct):
    """Of which version the new room is to be, and who makes it beside the requester."""

    new_version: str
    additional_creators: list[str] = []


class UpgradeRoomResponse(msgspec.Struct):
    """The new room."""

    replacement_room: RoomID


class RoomUpgrades(msgspec.Struct, frozen=True):
    """Replacing rooms."""

    upgrades: Upgrades

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/upgrade", auth=Auth.USER, limit=Limit.ROOMS)
    async def upgrade_room(
        self, requester: Requester, room_id: RoomID, body: UpgradeRoomRequest
    ) -> UpgradeRoomResponse:
        """Replace a room."""
        creators = [parse_user_id(user_id) for user_id in body.additional_creators]
        return UpgradeRoomResponse(
            await self.upgrades.upgrade(requester, room_id, body.new_version, creators)
        )
