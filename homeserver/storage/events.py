"""Events and the timelines of rooms."""

from collections.abc import Collection
from typing import Literal

import msgspec
from sqlalchemy import bindparam, case, desc, func, or_, select, update

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, UserID
from homeserver.core.json import decode_object
from homeserver.core.room_versions import RoomVersion
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.events import events
from homeserver.database.transactions import ReadTransaction, WriteTransaction

ACCEPTED = 0
REJECTED = 1
SOFT_FAILED = 2
OUTLIER = 3
HIDDEN = 4
"""Accepted, and nothing that clients are shown, or not yet: see `rooms.redactions`, `rooms.healing`."""

FOLLOWS_GAP = 16
"""In `notify`: of the history right before the event something was missing when it was stored."""


class StoredEvent(msgspec.Struct, frozen=True):
    """An event's row; `pdu` is its canonical JSON, `position` `None` outside the timeline."""

    event_nid: int
    event_id: EventID
    room_nid: int
    position: int | None
    depth: int
    origin_server_ts: int
    type: str
    state_key: str | None
    sender: UserID
    membership: str | None
    state_root: int | None
    root_after: int | None
    generation: int | None
    is_outbound: int
    status: int
    notify: int
    thread_id: str | None
    redacted_by: EventID | None
    device_id: str | None
    txn_id: str | None
    replaces_nid: int | None
    aggregates: int
    pdu: bytes


class Placed(msgspec.Struct, frozen=True):
    """An event's place in its room: what there is to know of it without reading it.

    `state_root` and `root_after` are as in the row: `None` for an outlier, and where an event changes nothing.
    """

    event_nid: int
    event_id: EventID
    room_nid: int
    position: int | None
    depth: int
    state_root: int | None
    root_after: int | None
    generation: int | None
    status: int

    @property
    def is_outlier(self) -> bool:
        """Whether it is known only as part of a state or auth chain."""
        return self.state_root is None

    @property
    def after(self) -> int:
        """The root of the state after it. Errors: ValueError for an outlier."""
        if self.state_root is None:
            raise ValueError(f"{self.event_id} has no place in the room's history")
        return self.state_root if self.root_after is None else self.root_after


class SetMembership(msgspec.Struct, frozen=True):
    """What a membership event makes of its user."""

    event_nid: int
    event_id: EventID
    user_id: UserID
    sender: UserID
    membership: str


_e = events.c
_COLUMNS = tuple(events.columns)
INSERT = insert_into(events)
BY_ID = statement(select(*_COLUMNS).where(_e.event_id == bindparam("event_id")))
PLACED = statement(
    select(
        _e.event_nid,
        _e.event_id,
        _e.room_nid,
        _e.position,
        _e.depth,
        _e.state_root,
        _e.root_after,
        _e.generation,
        _e.status,
    ).where(in_list(_e.event_id, "event_ids"))
)
BY_IDS = statement(select(*_COLUMNS).where(in_list(_e.event_id, "event_ids")))
BY_NIDS = statement(select(*_COLUMNS).where(in_list(_e.event_nid, "event_nids")))
IDS = statement(select(_e.event_nid, _e.event_id).where(in_list(_e.event_nid, "event_nids")))
FIRST_DEPTH = statement(
    select(_e.depth)
    .where(_e.room_nid == bindparam("room_nid"), _e.position > 0)
    .order_by(_e.position)
    .limit(1)
)
KEYS = statement(
    select(_e.event_nid, _e.type, _e.state_key).where(
        in_list(_e.event_nid, "event_nids"), _e.state_key.is_not(None)
    )
)
POSITION = statement(
    select(_e.room_nid, _e.position, case((_e.redacted_by.is_(None), _e.thread_id))).where(
        _e.event_id == bindparam("event_id")
    )
)
_visible = _e.status == ACCEPTED
BACKWARDS = statement(
    select(*_COLUMNS)
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.position <= bindparam("newest"),
        _e.position > bindparam("after"),
        _visible,
    )
    .order_by(desc(_e.position))
    .limit(bindparam("most"))
)
FORWARDS = statement(
    select(*_COLUMNS)
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.position > bindparam("after"),
        _e.position <= bindparam("newest"),
        _visible,
    )
    .order_by(_e.position)
    .limit(bindparam("most"))
)
PUBLISHED = statement(
    select(*_COLUMNS)
    .where(
        _e.position > bindparam("after"),
        _e.position <= bindparam("upto"),
        # The last: whoever is told of what comes after it has to know that it has a gap before it.
        or_(_visible, _e.status == HIDDEN, _e.status == OUTLIER, _e.notify >= FOLLOWS_GAP),
    )
    .order_by(_e.position)
)
NEAR_FORWARDS = statement(
    select(*_COLUMNS)
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.origin_server_ts >= bindparam("ts"),
        _e.position.is_not(None),
        _visible,
    )
    .order_by(_e.origin_server_ts, _e.position)
    .limit(bindparam("most"))
)
NEAR_BACKWARDS = statement(
    select(*_COLUMNS)
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.origin_server_ts <= bindparam("ts"),
        _e.position.is_not(None),
        _visible,
    )
    .order_by(desc(_e.origin_server_ts), desc(_e.position))
    .limit(bindparam("most"))
)
COMPLETE = statement(
    update(events)
    .where(_e.event_nid == bindparam("the_event"))
    .values(generation=bindparam("its_generation"), status=bindparam("its_status"))
)
PLACED_AFTER = statement(
    select(*_COLUMNS)
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.position > bindparam("after"),
        _e.state_root.is_not(None),
    )
    .order_by(_e.position)
    .limit(bindparam("most"))
)
MEMBERSHIPS_SET = statement(
    select(_e.event_nid, _e.event_id, _e.state_key, _e.sender, _e.membership).where(
        in_list(_e.event_nid, "event_nids"), _e.membership.is_not(None)
    )
)
REPLACE = statement(
    update(events)
    .where(_e.event_nid == bindparam("the_event"))
    .values({name: bindparam(name) for name in ("state_root", "root_after", "status", "replaces_nid")})
)
"""Gives an event another place among the room's states."""
PLACING = (
    "position",
    "state_root",
    "root_after",
    "generation",
    "is_outbound",
    "status",
    "notify",
    "thread_id",
    "replaces_nid",
)
PLACE = statement(
    update(events)
    .where(_e.event_nid == bindparam("the_event"))
    .values({name: bindparam(name) for name in PLACING})
)
"""Gives an outlier its place in the room's history."""
SHOW = statement(
    update(events)
    .where(_e.event_nid == bindparam("the_event"))
    .values(status=ACCEPTED, position=bindparam("position"))
)
"""What was hidden is shown; takes `position` when it is published."""
_of_member = (
    _e.room_nid == bindparam("room_nid"),
    _e.state_key == bindparam("user_id"),
    # As the index on membership events says it.
    _e.membership.is_not(None),
    _e.type == "m.room.member",
    _e.position.is_not(None),
    _visible,
)
JOINS = statement(
    select(func.min(_e.position), func.max(_e.position)).where(*_of_member, _e.membership == "join")
)


def of(tx: ReadTransaction, event_id: str) -> StoredEvent | None:
    """The event with this id."""
    row = tx.one(BY_ID, event_id=event_id)
    return None if row is None else StoredEvent(*row)


def of_ids(tx: ReadTransaction, event_ids: Collection[str]) -> dict[EventID, StoredEvent]:
    """Those of the events that are known."""
    return {row[1]: StoredEvent(*row) for row in tx.all(BY_IDS, event_ids=sorted(event_ids))}


def placed(tx: ReadTransaction, event_ids: Collection[str]) -> dict[EventID, Placed]:
    """The places of those of the events that are known."""
    if not event_ids:
        return {}
    return {row[1]: Placed(*row) for row in tx.all(PLACED, event_ids=sorted(event_ids))}


def of_nids(tx: ReadTransaction, event_nids: Collection[int]) -> dict[int, StoredEvent]:
    """The events with these numbers."""
    return {row[0]: StoredEvent(*row) for row in tx.all(BY_NIDS, event_nids=sorted(event_nids))}


def parsed(tx: ReadTransaction, event_nids: Collection[int], version: RoomVersion) -> dict[int, Event]:
    """The events with these numbers, decoded and cached: for the auth rules, not for clients.

    A cached event may have been redacted meanwhile; redaction keeps whatever the auth rules read.
    """
    cache = tx.caches.events
    found: dict[int, Event] = {}
    missing: list[int] = []
    for nid in event_nids:
        event = cache.get(nid)
        if event is None:
            missing.append(nid)
        else:
            found[nid] = event
    if missing:
        for row in tx.all(BY_NIDS, event_nids=missing):
            stored = StoredEvent(*row)
            event = Event.from_pdu(
                decode_object(stored.pdu),
                version,
                event_id=stored.event_id,
                rejected=stored.status == REJECTED,
            )
            tx.remember(cache, stored.event_nid, event)
            found[stored.event_nid] = event
    return found


def ids_of(tx: ReadTransaction, event_nids: Collection[int]) -> dict[int, EventID]:
    """The ids of these numbers."""
    return {row[0]: row[1] for row in tx.all(IDS, event_nids=sorted(event_nids))}


def first_depth(tx: ReadTransaction, room_nid: int) -> int:
    """The depth of the first event that came to this server as it happened; 0 if there is none."""
    depth: int | None = tx.value(FIRST_DEPTH, room_nid=room_nid)
    return depth or 0


def keys_of(tx: ReadTransaction, event_nids: Collection[int]) -> dict[int, StateKey]:
    """The entries of the state that those of the events set which are state events."""
    rows = tx.all(KEYS, event_nids=sorted(event_nids))
    return {row[0]: (row[1], row[2]) for row in rows}


def position_of(tx: ReadTransaction, event_id: str) -> tuple[int, int | None, str | None] | None:
    """The event's room number, position and thread, which a redacted one is in no more; `None` if it is not known."""
    row = tx.one(POSITION, event_id=event_id)
    return None if row is None else (row[0], row[1], row[2])


def page(
    tx: ReadTransaction,
    room_nid: int,
    *,
    after: int,
    newest: int,
    most: int,
    order: Literal["newest first", "oldest first"],
) -> list[StoredEvent]:
    """Up to `most` accepted events with `after < position <= newest`."""
    query = BACKWARDS if order == "newest first" else FORWARDS
    return [
        StoredEvent(*row) for row in tx.all(query, room_nid=room_nid, after=after, newest=newest, most=most)
    ]


def published(tx: ReadTransaction, *, after: int, upto: int) -> list[StoredEvent]:
    """All accepted events with `after < position <= upto`, of all rooms, in their order.

    And the memberships of users in rooms that this server is not in, which are outliers; and whatever follows a gap.
    """
    return [StoredEvent(*row) for row in tx.all(PUBLISHED, after=after, upto=upto)]


def near(tx: ReadTransaction, room_nid: int, ts: int, *, forwards: bool, most: int) -> list[StoredEvent]:
    """Up to `most` accepted events from `ts` (milliseconds) on in one direction, nearest first."""
    query = NEAR_FORWARDS if forwards else NEAR_BACKWARDS
    return [StoredEvent(*row) for row in tx.all(query, room_nid=room_nid, ts=ts, most=most)]


def complete(tx: WriteTransaction, event_nid: int, *, generation: int, status: int) -> None:
    """Note how high in the graph of auth events an outlier stands whose auth events have become known."""
    tx.execute(COMPLETE, the_event=event_nid, its_generation=generation, its_status=status)


def placed_after(tx: ReadTransaction, room_nid: int, *, after: int, most: int) -> list[StoredEvent]:
    """The first events of the room's history with a position above `after`, whatever their status, in order."""
    return [StoredEvent(*row) for row in tx.all(PLACED_AFTER, room_nid=room_nid, after=after, most=most)]


def memberships_set(tx: ReadTransaction, event_nids: Collection[int]) -> list[SetMembership]:
    """What those of these events set that are membership events."""
    return [SetMembership(*row) for row in tx.all(MEMBERSHIPS_SET, event_nids=sorted(event_nids))]


def joins_of(tx: ReadTransaction, room_nid: int, user_id: UserID) -> tuple[int, int] | None:
    """Where the user's first and last join of the room stand; `None` if there is none."""
    row = tx.one(JOINS, room_nid=room_nid, user_id=user_id)
    return None if row is None or row[0] is None else (row[0], row[1])
