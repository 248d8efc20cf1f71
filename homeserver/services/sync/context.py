"""What all parts of one sync response share."""

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.room_versions import get_room_version
from homeserver.database.kinds import StreamRow
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import View
from homeserver.services.sync.request import SyncRequest
from homeserver.services.sync.unread import UnreadCounts
from homeserver.storage.memberships import RoomOfUser


class SyncContext(msgspec.Struct, frozen=True):
    """One snapshot of the database, read for one request; `upto` is its position.

    `ignored` are those whom the user ignores; `new_members` collects whose membership the answer brings, `unread` the
    counts that it tells, by room.
    """

    tx: ReadTransaction
    request: SyncRequest
    stream: StreamRow
    ignored: frozenset[str] = frozenset()
    new_members: dict[RoomID, frozenset[str]] = msgspec.field(default_factory=dict)
    unread: dict[RoomID, UnreadCounts] = msgspec.field(default_factory=dict)

    @property
    def upto(self) -> int:
        """The position that the answer leads to."""
        return self.stream.position

    def view(self, room: RoomOfUser) -> View:
        """How the client wants the events of a room."""
        wanted = self.request.filter
        return View(
            room.room_id,
            get_room_version(room.version),
            self.request.user_id,
            self.request.device_id,
            self.request.now_ts,
            with_room_id=False,
            event_format=wanted.event_format,
            projection=wanted.projection,
        )
