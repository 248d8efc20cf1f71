"""Events that stick: which are shown to clients, which are not yet, and which other servers are to be sent.

Spec: MSC4354. What has expired counts as gone, whether or not its row has been removed.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, case, delete, func, or_, select, update

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.topics import room_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import rooms
from homeserver.database.tables.sticky_events import sticky_events
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class StickyEvent(msgspec.Struct, frozen=True):
    """An event that is shown to the members of its room, at `position` in the stream."""

    event_nid: int
    room_nid: int
    sender: UserID
    position: int
    expires_ts: int


class WaitingEvent(msgspec.Struct, frozen=True):
    """An event that is not shown yet."""

    event_nid: int
    sender: UserID


class Shown(msgspec.Struct, frozen=True):
    """How many events of a room are shown, and how many of them are of one sender."""

    in_room: int
    of_sender: int


_s = sticky_events.c
_COLUMNS = (_s.event_nid, _s.room_nid, _s.sender, _s.position, _s.expires_ts)
_sticks = _s.expires_ts > bindparam("now_ts")
INSERT = insert_into(sticky_events, ignore_conflict=True)
"""Takes `position` when it is published, with the event; or is run with `None`, for one that is not shown yet."""
SHOWN = statement(
    select(*_COLUMNS)
    .where(
        in_list(_s.room_nid, "room_nids"),
        _s.position > bindparam("since"),
        _s.position <= bindparam("upto"),
        _sticks,
    )
    .order_by(_s.position)
)
EXPIRIES = statement(
    select(_s.event_nid, _s.expires_ts).where(in_list(_s.event_nid, "event_nids"), _s.position.is_not(None))
)
COUNT = statement(
    select(
        func.count(), func.coalesce(func.sum(case((_s.sender == bindparam("sender"), 1), else_=0)), 0)
    ).where(_s.room_nid == bindparam("room_nid"), _s.position.is_not(None), _sticks)
)
_waits = (_s.position.is_(None), _s.due_ts <= bindparam("now_ts"), _sticks)
_undecided = or_(_s.refused_in_root.is_(None), _s.refused_in_root != rooms.c.state_root)
WAITING_ROOMS = statement(
    select(rooms.c.room_id)
    .select_from(sticky_events.join(rooms, rooms.c.room_nid == _s.room_nid))
    .where(*_waits, _undecided)
    .distinct()
    .limit(bindparam("most"))
)
WAITING = statement(
    select(_s.event_nid, _s.sender)
    .select_from(sticky_events.join(rooms, rooms.c.room_nid == _s.room_nid))
    .where(_s.room_nid == bindparam("room_nid"), *_waits, _undecided)
    .order_by(_s.event_nid)
    .limit(bindparam("most"))
)
SHOW = statement(
    update(sticky_events)
    .where(_s.event_nid == bindparam("the_event"), _s.position.is_(None))
    .values(position=bindparam("position"))
)
"""Takes `position` when it is published."""
REFUSE = statement(
    update(sticky_events)
    .where(_s.event_nid == bindparam("the_event"))
    .values(position=None, refused_in_root=bindparam("state_root"))
)
PUT_OFF = statement(
    update(sticky_events).where(_s.event_nid == bindparam("the_event")).values(due_ts=bindparam("until_ts"))
)
PUT_OFF_ROOM = statement(
    update(sticky_events)
    .where(
        _s.room_nid
        == select(rooms.c.room_nid).where(rooms.c.room_id == bindparam("the_room")).scalar_subquery(),
        _s.position.is_(None),
    )
    .values(due_ts=bindparam("until_ts"))
)
HIDE = statement(
    update(sticky_events)
    .where(in_list(_s.event_nid, "event_nids"))
    .values(position=None, refused_in_root=None, due_ts=0)
)
REMOVE = statement(delete(sticky_events).where(in_list(_s.event_nid, "event_nids")))
OWN = statement(
    select(_s.event_nid)
    .select_from(sticky_events.join(events, events.c.event_nid == _s.event_nid))
    .where(
        _s.room_nid == bindparam("room_nid"),
        _s.is_own == 1,
        _sticks,
        events.c.position > bindparam("after"),
        events.c.position < bindparam("before"),
    )
    .order_by(events.c.position)
)
_expired = select(_s.event_nid).where(_s.expires_ts <= bindparam("now_ts")).limit(bindparam("most"))
EXPIRE = statement(delete(sticky_events).where(_s.event_nid.in_(_expired)))


def row(
    event_nid: int,
    room_nid: int,
    sender: UserID,
    *,
    is_own: bool,
    expires_ts: int,
    refused_in_root: int | None = None,
    due_ts: int = 0,
) -> dict[str, object]:
    """The parameters of `INSERT`, but for `position`."""
    return {
        "event_nid": event_nid,
        "room_nid": room_nid,
        "sender": sender,
        "is_own": int(is_own),
        "refused_in_root": refused_in_root,
        "due_ts": due_ts,
        "expires_ts": expires_ts,
    }


def add_waiting(tx: WriteTransaction, waiting: dict[str, object]) -> None:
    """An event that is not shown yet, as `row` gives it; one that is known stays as it is."""
    tx.execute(INSERT, position=None, **waiting)


def shown(
    tx: ReadTransaction, room_nids: Collection[int], *, since: int, upto: int, now_ts: int
) -> list[StickyEvent]:
    """The events of these rooms that stick and were shown with `since < position <= upto`, in that order."""
    rows = tx.all(SHOWN, room_nids=list(room_nids), since=since, upto=upto, now_ts=now_ts)
    return [StickyEvent(*row) for row in rows]


def expiries(tx: ReadTransaction, event_nids: Collection[int]) -> dict[int, int]:
    """Until when those of the events stick that are shown as such, by number."""
    return {row[0]: row[1] for row in tx.all(EXPIRIES, event_nids=sorted(event_nids))}


def count(tx: ReadTransaction, room_nid: int, sender: UserID, *, now_ts: int) -> Shown:
    """How many events of the room are shown that stick."""
    in_room, of_sender = tx.one(COUNT, room_nid=room_nid, sender=sender, now_ts=now_ts) or (0, 0)
    return Shown(in_room, of_sender)


def waiting_rooms(tx: ReadTransaction, *, now_ts: int, most: int) -> list[RoomID]:
    """Up to `most` rooms of which some event, not shown yet, is to be looked at."""
    return [row[0] for row in tx.all(WAITING_ROOMS, now_ts=now_ts, most=most)]


def waiting(tx: ReadTransaction, room_nid: int, *, now_ts: int, most: int) -> list[WaitingEvent]:
    """Up to `most` events of a room, not shown yet, that are to be looked at, in the order in which they came."""
    return [WaitingEvent(*row) for row in tx.all(WAITING, room_nid=room_nid, now_ts=now_ts, most=most)]


def show(tx: WriteTransaction, event_nid: int, room_id: RoomID) -> None:
    """Show an event to the members of its room."""
    tx.publish(SHOW, kind=Kind.STICKY_EVENTS, to=[room_topic(room_id)], the_event=event_nid)


def refuse(tx: WriteTransaction, event_nid: int, *, state_root: int) -> None:
    """The room's state with this root does not allow the event: it is not shown as long as that is the state."""
    tx.execute(REFUSE, the_event=event_nid, state_root=state_root)


def put_off(tx: WriteTransaction, event_nid: int, *, until_ts: int) -> None:
    """The event is not to be looked at before."""
    tx.execute(PUT_OFF, the_event=event_nid, until_ts=until_ts)


def put_off_room(tx: WriteTransaction, room_id: RoomID, *, until_ts: int) -> None:
    """Those of the room's events that are not shown yet are not to be looked at before."""
    tx.execute(PUT_OFF_ROOM, the_room=room_id, until_ts=until_ts)


def hide(tx: WriteTransaction, event_nids: Collection[int]) -> None:
    """Show these of the events no more, unless the room's state is found to allow them."""
    tx.execute(HIDE, event_nids=list(event_nids))


def remove(tx: WriteTransaction, event_nids: Collection[int]) -> None:
    """These events are not sticky any more, if they were."""
    tx.execute(REMOVE, event_nids=list(event_nids))


def own(tx: ReadTransaction, room_nid: int, *, after: int, before: int, now_ts: int) -> list[int]:
    """The events of this server's users in the room that stick, with `after < position < before`, oldest first."""
    rows = tx.all(OWN, room_nid=room_nid, after=after, before=before, now_ts=now_ts)
    return [row[0] for row in rows]


def expire(tx: WriteTransaction, *, now_ts: int, most: int) -> int:
    """Forget up to `most` events that do not stick any more; gives how many there were."""
    return tx.execute(EXPIRE, now_ts=now_ts, most=most)
