"""Which events of a room a user may see: history visibility applied to stored events.

Transaction functions, used by everything that shows events to clients. Spec: client-server API, "Room history
visibility".
"""

from collections.abc import Iterable, Sequence

import msgspec

from homeserver.core.history_visibility import may_see
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.room_versions import RoomVersion
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, state
from homeserver.storage.events import StoredEvent

_VISIBILITY = ("m.room.history_visibility", "")
_BEGINNING = -(2**62)
"""Before every position."""


class Reader(msgspec.Struct, frozen=True):
    """A user as a reader of one room's history; `membership` is `None` if the room's state never named the user."""

    user_id: UserID
    room_nid: int
    version: RoomVersion
    membership: str | None
    since_position: int
    was_joined: bool


def visible(
    tx: ReadTransaction, reader: Reader, stored: Sequence[StoredEvent]
) -> list[tuple[StoredEvent, str]]:
    """Those of the events that the reader may see, each with the reader's membership at it.

    Of those that have not been accepted nobody sees any, though some have a position: such as by the gap before them.
    """
    stored = [event for event in stored if event.status == events.ACCEPTED]
    joined = reader.membership == "join"
    doubtful = [
        event
        for event in stored
        if not joined or event.position is None or event.position < reader.since_position
    ]
    if not doubtful:
        return [(event, "join") for event in stored]
    judged = _judge(tx, reader, doubtful)
    result: list[tuple[StoredEvent, str]] = []
    for event in stored:
        if joined and event.position is not None and event.position >= reader.since_position:
            result.append((event, "join"))
        elif (membership := judged.get(event.event_nid)) is not None:
            result.append((event, membership))
    return result


def _judge(tx: ReadTransaction, reader: Reader, stored: Iterable[StoredEvent]) -> dict[int, str]:
    """The reader's membership at each event that the reader may see."""
    at_root = _AtRoot(tx, reader)
    later = _JoinedLater(tx, reader)
    judged: dict[int, str] = {}
    for event in stored:
        if event.state_root is None:
            continue
        visibility, membership = at_root.of(event.state_root)
        visibility_after, membership_after = visibility, membership
        if event.state_key is not None:
            if (event.type, event.state_key) == _VISIBILITY:
                visibility_after = _string(_content(event), "history_visibility")
            elif event.type == "m.room.member" and event.state_key == reader.user_id:
                membership_after = _string(_content(event), "membership")
        if may_see(
            visibility_before=visibility,
            visibility_after=visibility_after,
            membership_before=membership,
            membership_after=membership_after,
            joined_later=later.than(event),
        ):
            judged[event.event_nid] = membership_after or "leave"
    return judged


class _AtRoot:
    """History visibility and the reader's membership in a state; consecutive messages share their state."""

    def __init__(self, tx: ReadTransaction, reader: Reader) -> None:
        self._tx = tx
        self._reader = reader
        self._member = ("m.room.member", reader.user_id)
        self._known: dict[int, tuple[str | None, str | None]] = {}

    def of(self, root: int) -> tuple[str | None, str | None]:
        known = self._known.get(root)
        if known is None:
            nids = state.get_many(self._tx, root, (_VISIBILITY, self._member))
            found = events.parsed(self._tx, list(nids.values()), self._reader.version)
            contents = {key: found[nid].content for key, nid in nids.items()}
            known = self._known[root] = (
                _string(contents.get(_VISIBILITY, {}), "history_visibility"),
                _string(contents.get(self._member, {}), "membership"),
            )
        return known


class _JoinedLater:
    """Whether the reader joined at some point after an event."""

    def __init__(self, tx: ReadTransaction, reader: Reader) -> None:
        self._tx = tx
        self._reader = reader
        self._last_join: int | None = None

    def than(self, event: StoredEvent) -> bool:
        reader = self._reader
        if not reader.was_joined or event.position is None:
            return False
        if reader.membership == "join":
            return True
        if self._last_join is None:
            # Asked once, for all events of a page.
            joins = events.joins_of(self._tx, reader.room_nid, reader.user_id)
            self._last_join = _BEGINNING if joins is None else joins[1]
        return self._last_join > event.position


def _content(event: StoredEvent) -> JsonObject:
    content = decode_object(event.pdu).get("content")
    return content if isinstance(content, dict) else {}


def _string(content: JsonObject, key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None
