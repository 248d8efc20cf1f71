"""Events that are to be sent later: what is scheduled, and for a while what became of it."""

from collections.abc import Collection

import attrs
import msgspec
from sqlalchemy import bindparam, delete, exists, func, select, update

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, decode_object, encode
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.delayed_events import delayed_events
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction

MOST_FINALISED = 1_000
"""Of one user. Spec: MSC4140, "Retention of finalised delayed events"."""


@attrs.frozen(slots=True)
class Delayed:
    """An event to be sent; `state_key` is None for a message event. The delay counts from `since_ts`.

    With `sticky_duration_ms` it is to be a sticky event.
    """

    delay_id: str
    user_id: UserID
    room_id: RoomID
    type: str
    state_key: str | None
    content: bytes = attrs.field(repr=False)
    delay_ms: int
    since_ts: int
    sticky_duration_ms: int | None = None

    @property
    def due_ts(self) -> int:
        """When it is to be sent."""
        return self.since_ts + self.delay_ms


class Outcome(msgspec.Struct, frozen=True):
    """What became of it: the event that was sent, or the error; neither if its user has cancelled it."""

    finalised_ts: int
    event_id: EventID | None
    error: JsonObject | None


_d = delayed_events.c
_EVENT = (
    _d.delay_id,
    _d.user_id,
    _d.room_id,
    _d.type,
    _d.state_key,
    _d.content,
    _d.delay_ms,
    _d.since_ts,
    _d.sticky_duration_ms,
)
_THIS = _d.delay_id == bindparam("the_delay")
_SCHEDULED = _d.due_ts.is_not(None)

INSERT = insert_into(delayed_events)
SCHEDULED = statement(
    select(func.count(), func.min(_d.due_ts)).where(_d.user_id == bindparam("user_id"), _SCHEDULED)
)
OF_USER = statement(
    select(*_EVENT, _d.finalised_ts, _d.event_id, _d.error).where(_THIS, _d.user_id == bindparam("user_id"))
)
LIST = statement(select(*_EVENT).where(_d.user_id == bindparam("user_id"), _SCHEDULED).order_by(_d.due_ts))
_DUE = (_SCHEDULED, _d.due_ts <= bindparam("now_ts"))
IS_ANY_DUE = statement(select(exists().where(*_DUE, _d.leased_until_ts <= bindparam("now_ts"))))
CLAIM = statement(
    update(delayed_events)
    .where(
        _d.delay_id.in_(
            select(_d.delay_id)
            .where(*_DUE, _d.leased_until_ts <= bindparam("now_ts"))
            .order_by(_d.due_ts)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(leased_until_ts=bindparam("until_ts"))
    .returning(*_EVENT)
)
DUE = statement(select(*_EVENT).where(_THIS, *_DUE).with_for_update())
KEEP = statement(
    update(delayed_events)
    .where(in_list(_d.delay_id, "delay_ids"), _SCHEDULED)
    .values(leased_until_ts=bindparam("until_ts"))
)
RESTART = statement(
    update(delayed_events)
    .where(_THIS, _SCHEDULED)
    .values(since_ts=bindparam("from_ts"), due_ts=bindparam("from_ts") + _d.delay_ms, leased_until_ts=0)
)
FINALISE = statement(
    update(delayed_events)
    .where(_THIS, _SCHEDULED)
    .values(
        due_ts=None,
        finalised_ts=bindparam("at_ts"),
        event_id=bindparam("as_event"),
        error=bindparam("for_error"),
    )
)
REMOVE_OF_USER = statement(delete(delayed_events).where(_d.user_id == bindparam("user_id")))
PRUNE = statement(
    delete(delayed_events).where(_d.finalised_ts.is_not(None), _d.finalised_ts < bindparam("before_ts"))
)
_older = delayed_events.alias()
TRIM = statement(
    delete(delayed_events).where(
        _d.user_id == bindparam("user_id"),
        _d.finalised_ts.is_not(None),
        _d.finalised_ts
        <= select(_older.c.finalised_ts)
        .where(_older.c.user_id == bindparam("user_id"), _older.c.finalised_ts.is_not(None))
        .order_by(_older.c.finalised_ts.desc())
        .limit(1)
        .offset(bindparam("most"))
        .scalar_subquery(),
    )
)


def schedule(tx: WriteTransaction, delayed: Delayed, *, most_finalised: int = MOST_FINALISED) -> None:
    """Keep the event until it is due; of its user it is forgotten what became of any before the last so many."""
    tx.execute(
        INSERT,
        **attrs.asdict(delayed),
        due_ts=delayed.due_ts,
        leased_until_ts=0,
        finalised_ts=None,
        event_id=None,
        error=None,
    )
    tx.execute(TRIM, user_id=delayed.user_id, most=most_finalised)


def scheduled(tx: ReadTransaction, user_id: UserID) -> tuple[int, int | None]:
    """How many events the user has scheduled, and when the next of them is due."""
    count, next_ts = tx.one(SCHEDULED, user_id=user_id) or (0, None)
    return count, next_ts


def of_user(tx: ReadTransaction, user_id: UserID, delay_id: str) -> tuple[Delayed, Outcome | None] | None:
    """An event of the user, with its outcome unless it is scheduled still; None if there is no such."""
    row = tx.one(OF_USER, the_delay=delay_id, user_id=user_id)
    if row is None:
        return None
    finalised_ts, event_id, error = row[len(_EVENT) :]
    if finalised_ts is None:
        return _delayed(row), None
    return _delayed(row), Outcome(finalised_ts, event_id, None if error is None else decode_object(error))


def of_user_scheduled(tx: ReadTransaction, user_id: UserID) -> list[Delayed]:
    """What the user has scheduled, what is due next first."""
    return [_delayed(row) for row in tx.all(LIST, user_id=user_id)]


def is_any_due(tx: ReadTransaction, *, now_ts: int) -> bool:
    """Whether there is something to send that no process is at."""
    return bool(tx.value(IS_ANY_DUE, now_ts=now_ts))


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int, most: int) -> list[Delayed]:
    """Up to `most` events that are due, the longest due first; no other process gets them before `until_ts`."""
    claimed = tx.returning(CLAIM, now_ts=now_ts, until_ts=until_ts, most=most)
    return sorted(map(_delayed, claimed), key=lambda delayed: (delayed.due_ts, delayed.delay_id))


def due(tx: WriteTransaction, delay_id: str, *, now_ts: int) -> Delayed | None:
    """The event, locked; None if it is no longer to be sent by `now_ts`."""
    row = tx.one(DUE, the_delay=delay_id, now_ts=now_ts)
    return None if row is None else _delayed(row)


def keep(tx: WriteTransaction, delay_ids: Collection[str], *, until_ts: int) -> None:
    """No process gets these events before `until_ts`."""
    tx.execute(KEEP, delay_ids=list(delay_ids), until_ts=until_ts)


def restart(tx: WriteTransaction, delay_id: str, *, now_ts: int) -> bool:
    """Let the delay begin anew; whether the event was scheduled still."""
    return tx.execute(RESTART, the_delay=delay_id, from_ts=now_ts) > 0


def finalise(
    tx: WriteTransaction,
    delay_id: str,
    *,
    now_ts: int,
    event_id: EventID | None = None,
    error: JsonObject | None = None,
) -> bool:
    """It was sent as `event_id`, given up for `error`, or else cancelled; whether it was scheduled still."""
    return (
        tx.execute(
            FINALISE,
            the_delay=delay_id,
            at_ts=now_ts,
            as_event=event_id,
            for_error=None if error is None else encode(error),
        )
        > 0
    )


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Delete all events of a user, scheduled or not."""
    tx.execute(REMOVE_OF_USER, user_id=user_id)


def prune(tx: WriteTransaction, *, before_ts: int) -> int:
    """Forget what became of events before a time; gives of how many."""
    return tx.execute(PRUNE, before_ts=before_ts)


def _delayed(row: Row) -> Delayed:
    return Delayed(*row[: len(_EVENT)])
