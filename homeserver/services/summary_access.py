"""Which users may be told of a room that they are perhaps not in.

Spec: client-server API, `GET /rooms/{roomId}/hierarchy` and `GET /room_summary/{roomIdOrAlias}`.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from homeserver.core.errors import UnsupportedRoomVersion
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.services.room_summaries import RESTRICTED, SummarisedRoom
from homeserver.storage import memberships

KNOCKABLE: Final = frozenset({"knock", "knock_restricted"})


class Terms(msgspec.Struct, frozen=True):
    """What a room says about who may come in or look; `version` is None where that is not known."""

    join_rule: str
    world_readable: bool
    allowed_room_ids: Collection[str]
    version: str | None

    @classmethod
    def of(cls, found: SummarisedRoom) -> "Terms":
        """Those of a room of this server."""
        summary = found.summary
        return cls(summary.join_rule, summary.world_readable, found.allowed_room_ids, found.room.version)

    @property
    def is_open(self) -> bool:
        """Whether anybody may be told of the room: to join it, to knock, or to read it."""
        if self.world_readable or self.join_rule == "public":
            return True
        return self.join_rule in KNOCKABLE and self._can_be_knocked_at()

    def _can_be_knocked_at(self) -> bool:
        if self.version is None:
            return True
        try:
            version = get_room_version(self.version)
        except UnsupportedRoomVersion:
            # Of a version that came after those that are known here, all of which have these rules.
            return True
        return version.knock_restricted if self.join_rule == "knock_restricted" else version.knocking

    def _is_restricted(self) -> bool:
        if self.join_rule not in RESTRICTED:
            return False
        try:
            return self.version is None or get_room_version(self.version).restricted_joins
        except UnsupportedRoomVersion:
            return True

    def admit(self, tx: ReadTransaction, user_id: UserID | None, membership: str | None) -> bool:
        """Whether the user, whose membership this is, may be told of the room. `None`: somebody without a name."""
        if membership in ("join", "invite") or self.world_readable:
            return True
        if membership == "ban":
            # Who is banned cannot join, whatever the rules say of others.
            return False
        if self.is_open:
            return True
        if user_id is None or not self._is_restricted():
            return False
        return "join" in memberships.of_user_in(tx, user_id, self.allowed_room_ids).values()


def membership_in(tx: ReadTransaction, user_id: UserID | None, room_id: RoomID) -> str | None:
    """The user's membership in a room; `None` if its state has never named the user."""
    return None if user_id is None else memberships.of_user_in(tx, user_id, [room_id]).get(room_id)
