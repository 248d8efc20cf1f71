"""Who may read a room's history, and up to where: the first question of everything that shows it to a client.

Transaction functions. Spec: client-server API, "Room history visibility", "Room previews", "Leaving rooms".
"""

import enum
from collections.abc import Sequence

import msgspec

from homeserver.core.errors import Forbidden
from homeserver.core.history_visibility import JOINED, SHARED, history_visibility_of
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.services.room_access import content_at, is_world_readable
from homeserver.services.visibility import Reader, visible
from homeserver.storage import memberships, rooms, state
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import RoomOfUser

BEGINNING = -(2**62)
"""Before every position, that of fetched history included."""

NEWEST = 2**62
"""After every position."""

_VISIBILITY = ("m.room.history_visibility", "")


class Standing(enum.Enum):
    """How a user stands to a room that is to be read."""

    MEMBER = enum.auto()
    """Joined."""

    FORMER = enum.auto()
    """Was joined, and has neither come back nor forgotten the room."""

    PEEKER = enum.auto()
    """None of these, but at present everybody may read the room."""

    OUTSIDER = enum.auto()
    """None of these: what was world readable once may still be seen, event by event."""


class Access(msgspec.Struct, frozen=True):
    """A user's way into one room.

    `state_root` is the room's current state, `departure` the position of the event by which a former member
    left.
    """

    room_id: RoomID
    reader: Reader
    standing: Standing
    state_root: int
    departure: int = NEWEST

    @property
    def room_nid(self) -> int:
        """The room's number."""
        return self.reader.room_nid

    @property
    def version(self) -> RoomVersion:
        """The room's version."""
        return self.reader.version


def access_to(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> Access | None:
    """The user's way into the room; `None` if there is none at all, or no such room."""
    mine = memberships.room_of(tx, user_id, room_id)
    if mine is None:
        room = rooms.of(tx, room_id)
        if room is None:
            return None
        version = get_room_version(room.version)
        reader = Reader(user_id, room.room_nid, version, None, 0, was_joined=False)
        return _from_outside(tx, room_id, reader, room.state_root)
    reader = reader_of(user_id, mine)
    if mine.membership == "join":
        return Access(room_id, reader, Standing.MEMBER, mine.state_root)
    if not mine.was_joined:
        return _from_outside(tx, room_id, reader, mine.state_root)
    if not mine.forgotten:
        return Access(room_id, reader, Standing.FORMER, mine.state_root, departure_of(tx, user_id, mine))
    access = _from_outside(tx, room_id, reader, mine.state_root)
    return access if access.standing is Standing.PEEKER else None


def reader_of(user_id: UserID, mine: RoomOfUser) -> Reader:
    """The user as a reader of one of the user's rooms."""
    return Reader(
        user_id,
        mine.room_nid,
        get_room_version(mine.version),
        mine.membership,
        mine.since_position,
        mine.was_joined,
    )


def access_of(reader: Reader, mine: RoomOfUser, departure: int | None) -> Access:
    """The way into one of the user's rooms; `departure` is where the user has left it, `None` for members."""
    if departure is None:
        return Access(mine.room_id, reader, Standing.MEMBER, mine.state_root)
    return Access(mine.room_id, reader, Standing.FORMER, mine.state_root, departure)


def departure_of(tx: ReadTransaction, user_id: UserID, mine: RoomOfUser) -> int:
    """Where a user who had joined the room has left it: what came after is not theirs to see."""
    left_at = memberships.left_at(tx, mine.room_nid, user_id)
    # A membership can also end without an event of its own, by state resolution.
    return mine.since_position if left_at is None else left_at


def enter(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> Access:
    """The user's way into a room that is to be listed, searched or watched.

    Errors: Forbidden, in the same words for a room that does not exist.
    """
    access = access_to(tx, user_id, room_id)
    if access is None or access.standing is Standing.OUTSIDER:
        raise Forbidden("You are not in this room")
    return access


def seen(tx: ReadTransaction, access: Access, stored: Sequence[StoredEvent]) -> list[tuple[StoredEvent, str]]:
    """Those of the events that the user may see, each with the user's membership at it."""
    found = visible(tx, access.reader, stored)
    if access.standing is Standing.OUTSIDER:
        # Whoever was invited must join to read what the invited may read.
        return [(event, membership) for event, membership in found if membership != "invite"]
    return found


def readable_root(tx: ReadTransaction, access: Access) -> int:
    """The state of the room as the user may know it: the current one, or that at the departure."""
    if access.standing is Standing.FORMER:
        return state.root_at(tx, access.room_nid, access.departure)
    return access.state_root


def newest_readable(tx: ReadTransaction, access: Access) -> int:
    """A position after which the user can see nothing: spares looking through what was said since."""
    if access.standing is not Standing.FORMER:
        return NEWEST
    then = state.root_at(tx, access.room_nid, access.departure)
    if state.get(tx, then, _VISIBILITY) != state.get(tx, access.state_root, _VISIBILITY):
        return NEWEST
    content = content_at(tx, then, access.version, _VISIBILITY)
    if history_visibility_of(content.get("history_visibility")) in (SHARED, JOINED):
        return access.departure
    return NEWEST


def _from_outside(tx: ReadTransaction, room_id: RoomID, reader: Reader, root: int) -> Access:
    is_open = is_world_readable(tx, root, reader.version)
    return Access(room_id, reader, Standing.PEEKER if is_open else Standing.OUTSIDER, root)
