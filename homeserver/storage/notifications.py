"""What notifies a user: the events themselves, and how many there are after a point."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import (
    and_,
    bindparam,
    case,
    delete,
    desc,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from homeserver.core.identifiers import UserID
from homeserver.core.threads import MAIN
from homeserver.database.statements import Statement, in_list, insert_into, statement
from homeserver.database.tables.events import events
from homeserver.database.tables.notifications import push_outcomes
from homeserver.database.transactions import ReadTransaction, WriteTransaction

NOTIFIES = 1
HIGHLIGHTS = 2
HAS_EXCEPTIONS = 4
"""In an event's own `notify`: for some members it means something else, see `push_outcomes`."""
RESETS_STATE = 8
"""In an event's own `notify`: with it the room's state changed in ways that it does not show, by resolution."""

_e = events.c
_o = push_outcomes.c
INSERT = insert_into(push_outcomes)
"""Takes `position` when it is published, with the event that it is about."""
_heard = not_(in_list(_e.sender, "ignored"))
_of_room = (_e.room_nid == bindparam("room_nid"), _e.position <= bindparam("upto"), _e.status == 0)
_notifies = and_(_e.notify > 0, _e.sender != bindparam("user_id"), _heard)
_sent = and_(_e.sender == bindparam("user_id"), _e.device_id.is_not(None))
ORDINARY = statement(
    union_all(
        select(_e.thread_id, func.max(_e.position), _e.notify, func.count(), literal_column("0"))
        .where(*_of_room, _e.position > bindparam("main_after"), _e.thread_id.is_(None), _notifies)
        .group_by(_e.thread_id, _e.notify),
        select(_e.thread_id, _e.position, _e.notify, literal_column("1"), case((_sent, 1), else_=0)).where(
            *_of_room, _e.position > bindparam("after"), _e.thread_id.is_not(None), or_(_notifies, _sent)
        ),
    )
)
"""Of the main timeline numbers; of threads the events one by one, with those that the user has sent."""
EXCEPTIONS = statement(
    select(_e.thread_id, _o.position, _o.notify, _e.notify)
    .select_from(push_outcomes.join(events, (_e.position == _o.position)))
    .where(
        _o.user_id == bindparam("user_id"),
        _o.room_nid == bindparam("room_nid"),
        _o.position > bindparam("after"),
        _o.position <= bindparam("upto"),
        _e.status == 0,
        _heard,
    )
)
OUTCOMES = statement(
    select(_o.position, _o.user_id, _o.notify).where(
        _o.position > bindparam("after"), _o.position <= bindparam("upto")
    )
)
BACKWARDS = statement(
    select(_e.position, _e.event_nid, _e.sender, _e.status, _e.thread_id, func.coalesce(_o.notify, _e.notify))
    .select_from(
        events.outerjoin(
            push_outcomes,
            and_(
                _o.user_id == bindparam("user_id"),
                _o.room_nid == bindparam("room_nid"),
                _o.position == _e.position,
            ),
        )
    )
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.position > bindparam("after"),
        _e.position <= bindparam("upto"),
    )
    .order_by(desc(_e.position))
    .limit(bindparam("most"))
)
FORGET = statement(
    delete(push_outcomes).where(
        _o.position == select(_e.position).where(_e.event_nid == bindparam("event_nid")).scalar_subquery()
    )
)


class Outcome(msgspec.Struct, frozen=True):
    """What an event of a room's timeline means to a user, as bits; the user's own events mean nothing."""

    position: int
    event_nid: int
    sender: UserID
    status: int
    thread_id: str | None
    notify: int


class Unread(msgspec.Struct, frozen=True):
    """How many unread events notify, and how many of them highlight."""

    notifications: int = 0
    highlights: int = 0


def unread(
    tx: ReadTransaction,
    user_id: UserID,
    room_nid: int,
    *,
    read_upto: int,
    threads_read_upto: Mapping[str, int],
    upto: int,
    ignored: Collection[str],
) -> dict[str | None, Unread]:
    """Unread counts per thread (`None`: the main timeline) of the events with a position up to `upto`.

    What the users `ignored` have sent does not count, whenever it was.

    `read_upto` is the position of the unthreaded receipt (or of the join); a thread's own receipt counts where it is
    further. Main's own receipt has the key `main`. What the user has sent in a thread counts like a receipt there; for
    the main timeline `receipts.own` has seen to that.
    """
    totals: dict[str | None, list[int]] = {}
    bounds = dict(threads_read_upto)
    parameters = {
        "room_nid": room_nid,
        "user_id": user_id,
        "after": read_upto,
        "upto": upto,
        "ignored": list(ignored),
    }
    rows = tx.all(ORDINARY, **parameters, main_after=max(read_upto, bounds.get(MAIN, read_upto)))
    for thread_id, position, _, _, is_sent in rows:
        if is_sent:
            bounds[thread_id] = max(position, bounds.get(thread_id, position))
    for thread_id, position, notify, count, is_sent in rows:
        if not is_sent and (thread_id is None or position > bounds.get(thread_id, read_upto)):
            _add(totals, thread_id, notify, count)
    for thread_id, position, own, ordinary in tx.all(EXCEPTIONS, **parameters):
        if position > bounds.get(thread_id or MAIN, read_upto):
            _add(totals, thread_id, ordinary, -1)
            _add(totals, thread_id, own, 1)
    return {thread: Unread(*counts) for thread, counts in totals.items()}


def _add(totals: dict[str | None, list[int]], thread_id: str | None, notify: int, count: int) -> None:
    counts = totals.setdefault(thread_id, [0, 0])
    counts[0] += count * (notify & NOTIFIES)
    counts[1] += count * ((notify & HIGHLIGHTS) >> 1)


def outcomes(tx: ReadTransaction, *, after: int, upto: int) -> dict[int, dict[str, int]]:
    """The exceptions to the events' own `notify`, by position and user."""
    found: dict[int, dict[str, int]] = {}
    for position, user_id, notify in tx.all(OUTCOMES, after=after, upto=upto):
        found.setdefault(position, {})[user_id] = notify
    return found


def forget(tx: WriteTransaction, event_nid: int) -> None:
    """A stored event that is being redacted is nothing to anybody any more, whoever differs from the others."""
    tx.execute(FORGET, event_nid=event_nid)


def backwards(
    tx: ReadTransaction, user_id: UserID, room_nid: int, *, after: int, upto: int, most: int
) -> list[Outcome]:
    """What the last `most` events with `after < position <= upto` mean to the user, newest first.

    All events count, also those that are shown to nobody, so that the work is bounded.
    """
    rows = tx.all(BACKWARDS, user_id=user_id, room_nid=room_nid, after=after, upto=upto, most=most)
    return [Outcome(*row) for row in rows]


def exceptions_rows(
    room_nid: int, outcomes_of: Mapping[UserID, int]
) -> list[tuple[Statement, dict[str, object]]]:
    """The statements that store who differs from the event's own `notify`, for `publish(also=...)`."""
    return [
        (INSERT, {"user_id": user_id, "room_nid": room_nid, "notify": notify})
        for user_id, notify in outcomes_of.items()
    ]
