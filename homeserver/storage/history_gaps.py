"""Where a room's history, as far as this server has it, is broken: gaps, each right before the event at a position.

The gap before the room's first event is the beginning of what is here. Fetched history stands at positions that were
left free below the gap's own, descending as it goes further back; at the beginning these are negative.
"""

from sqlalchemy import bindparam, case, desc, func, select

from homeserver.core.identifiers import EventID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import backward_extremities, events
from homeserver.database.transactions import ReadTransaction

_b = backward_extremities.c
_e = events.c
# Outliers may have a position, but no place in the history.
_in_room = (_e.room_nid == bindparam("room_nid"), _e.state_root.is_not(None))
_within = (
    _b.room_nid == bindparam("room_nid"),
    _b.position > bindparam("after"),
    _b.position <= bindparam("upto"),
)

NEWEST = statement(select(func.max(_b.position)).where(*_within))
OLDEST = statement(select(func.min(_b.position)).where(*_within))
LISTED = statement(
    select(_b.position).where(*_within).distinct().order_by(desc(_b.position)).limit(bindparam("most"))
)
MISSING = statement(
    select(_b.event_id)
    .select_from(backward_extremities.join(events, _e.event_nid == _b.child_nid))
    .where(_b.room_nid == bindparam("room_nid"), _b.position == bindparam("position"))
    .group_by(_b.event_id)
    # What has been fetched of it leads further.
    .order_by(case((func.min(_e.position).is_(None), 1), else_=0), func.min(_e.position), _b.event_id)
    .limit(bindparam("most"))
)
PLACES = statement(
    select(func.min(_b.places)).where(
        _b.room_nid == bindparam("room_nid"), _b.position == bindparam("position")
    )
)
OF_MISSING = statement(
    select(func.min(_b.position)).where(
        _b.room_nid == bindparam("room_nid"), in_list(_b.event_id, "event_ids")
    )
)
AT_DEPTH = statement(
    select(func.max(_b.position))
    .select_from(
        backward_extremities.join(events, (_e.room_nid == _b.room_nid) & (_e.position == _b.position))
    )
    .where(
        _b.room_nid == bindparam("room_nid"),
        _e.depth >= bindparam("least_depth"),
        _e.depth <= bindparam("most_depth"),
    )
)
FIRST = statement(select(func.min(_e.position)).where(*_in_room))
BELOW = statement(select(func.max(_e.position)).where(*_in_room, _e.position < bindparam("position")))
ABOVE = statement(select(func.min(_e.position)).where(*_in_room, _e.position > bindparam("position")))
RECENT = statement(
    select(_e.position)
    .where(*_in_room, _e.position.is_not(None))
    .order_by(desc(_e.position))
    .limit(1)
    .offset(bindparam("most"))
)
TS = statement(select(_e.origin_server_ts).where(*_in_room, _e.position == bindparam("position")).limit(1))


def newest(tx: ReadTransaction, room_nid: int, *, after: int, upto: int) -> int | None:
    """The last of the room's gaps with `after < position <= upto`."""
    found: int | None = tx.value(NEWEST, room_nid=room_nid, after=after, upto=upto)
    return found


def oldest(tx: ReadTransaction, room_nid: int, *, after: int, upto: int) -> int | None:
    """The first of the room's gaps with `after < position <= upto`."""
    found: int | None = tx.value(OLDEST, room_nid=room_nid, after=after, upto=upto)
    return found


def listed(tx: ReadTransaction, room_nid: int, *, after: int, upto: int, most: int) -> list[int]:
    """The last `most` of the room's gaps with `after < position <= upto`, the last one first."""
    return [row[0] for row in tx.all(LISTED, room_nid=room_nid, after=after, upto=upto, most=most)]


def missing(tx: ReadTransaction, room_nid: int, position: int, *, most: int) -> list[EventID]:
    """Up to `most` of the missing events that are the newest of a gap; none if it is no gap."""
    return [row[0] for row in tx.all(MISSING, room_nid=room_nid, position=position, most=most)]


def places(tx: ReadTransaction, room_nid: int, position: int) -> int | None:
    """How many positions are free in a gap; `None` if it is none. Of no interest at the beginning of the history."""
    found: int | None = tx.value(PLACES, room_nid=room_nid, position=position)
    return found


def of_missing(tx: ReadTransaction, room_nid: int, event_ids: list[EventID]) -> int | None:
    """The first gap to which one of these missing events belongs."""
    found: int | None = tx.value(OF_MISSING, room_nid=room_nid, event_ids=event_ids)
    return found


def at_depth(tx: ReadTransaction, room_nid: int, *, least: int, most: int) -> int | None:
    """The last gap right after which an event of a depth from `least` to `most` stands."""
    found: int | None = tx.value(AT_DEPTH, room_nid=room_nid, least_depth=least, most_depth=most)
    return found


def first_position(tx: ReadTransaction, room_nid: int) -> int | None:
    """The position of the first event of the room's history that is here; `None` if there is none."""
    position: int | None = tx.value(FIRST, room_nid=room_nid)
    return position


def below(tx: ReadTransaction, room_nid: int, position: int) -> int | None:
    """The position of the last event of the room's history before this position."""
    found: int | None = tx.value(BELOW, room_nid=room_nid, position=position)
    return found


def above(tx: ReadTransaction, room_nid: int, position: int) -> int | None:
    """The position of the first event of the room's history after this position."""
    found: int | None = tx.value(ABOVE, room_nid=room_nid, position=position)
    return found


def is_recent(tx: ReadTransaction, room_nid: int, position: int, *, most: int) -> bool:
    """Whether no more than `most` events of the room's history stand after this position."""
    beyond: int | None = tx.value(RECENT, room_nid=room_nid, most=most)
    return beyond is None or position >= beyond


def sent_at(tx: ReadTransaction, room_nid: int, position: int) -> int | None:
    """When the event at a position was sent, by its sender's clock (milliseconds)."""
    ts: int | None = tx.value(TS, room_nid=room_nid, position=position)
    return ts
