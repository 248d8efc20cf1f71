"""Messages that wait for devices of this server's users, in the order in which they came.

`to_device_shares` says of each device how much waits for it, and of whom; every change of the messages changes it, too.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    select,
    tuple_,
)

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.to_device import ALL_DEVICES
from homeserver.core.topics import inbox_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import given_rows, in_list, insert_rows, rows_parameter, statement
from homeserver.database.tables.accounts import devices, users
from homeserver.database.tables.to_device import to_device_messages, to_device_shares
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction

_m = to_device_messages.c
_s = to_device_shares.c
_d = devices.c


class Inbox(msgspec.Struct, frozen=True):
    """A device, how much waits for it, and how much of that is of one source."""

    user_id: UserID
    device_id: DeviceID
    messages: int
    bytes: int
    messages_of_source: int
    bytes_of_source: int


class Letter(msgspec.Struct, frozen=True):
    """A message for a device, as JSON; `source` says in whose share of the inbox it is."""

    user_id: UserID
    device_id: DeviceID
    source: str
    message: bytes


class Waiting(msgspec.Struct, frozen=True):
    """A message that waits for the device that asks."""

    position: int
    sender: UserID
    message: bytes


def _sum(value: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(value), 0), BigInteger)


_OF_SOURCE = _s.source == bindparam("source")
_INBOXES = (
    select(
        _d.user_id,
        _d.device_id,
        _sum(_s.messages),
        _sum(_s.bytes),
        _sum(case((_OF_SOURCE, _s.messages), else_=0)),
        _sum(case((_OF_SOURCE, _s.bytes), else_=0)),
    )
    .where(users.c.is_deactivated == 0)
    .group_by(_d.user_id, _d.device_id)
)
_OF_DEVICE = and_(_s.user_id == _d.user_id, _s.device_id == _d.device_id)
INBOXES = statement(
    _INBOXES.select_from(
        users.join(devices, _d.user_id == users.c.user_id).outerjoin(to_device_shares, _OF_DEVICE)
    ).where(in_list(users.c.user_id, "user_ids"))
)
_given, (_user_id, _device_id) = given_rows(2)
INBOXES_OF_DEVICES = statement(
    _INBOXES.select_from(
        _given.join(devices, and_(_d.user_id == _user_id, _d.device_id == _device_id))
        .join(users, users.c.user_id == _d.user_id)
        .outerjoin(to_device_shares, _OF_DEVICE)
    )
)
PUT = insert_rows(to_device_messages, "user_id", "device_id", "source", "message", "size")
"""Takes `position` when it is published."""
SHARE = insert_rows(
    to_device_shares, "user_id", "device_id", "source", "messages", "bytes", add_to=("messages", "bytes")
)
_THIS = (_m.user_id == bindparam("user_id"), _m.device_id == bindparam("device_id"))
WAITING = statement(
    select(_m.position, _m.sender, _m.message, _m.size)
    .where(*_THIS, _m.position > bindparam("after"), _m.position <= bindparam("upto"))
    .order_by(_m.position)
    .limit(bindparam("most"))
)
IS_ANY = statement(select(exists().where(*_THIS, _m.position <= bindparam("upto"))))
REMOVE = statement(
    delete(to_device_messages).where(*_THIS, _m.position <= bindparam("upto")).returning(_m.source, _m.size)
)
REMOVE_EMPTY_SHARES = statement(
    delete(to_device_shares).where(
        _s.user_id == bindparam("user_id"), _s.device_id == bindparam("device_id"), _s.messages <= 0
    )
)
REMOVE_ALL = statement(
    delete(to_device_messages).where(_m.user_id == bindparam("user_id"), in_list(_m.device_id, "device_ids"))
)
REMOVE_SHARES = statement(
    delete(to_device_shares).where(_s.user_id == bindparam("user_id"), in_list(_s.device_id, "device_ids"))
)
OLDEST = statement(select(_m.position).where(*_THIS).order_by(_m.position).limit(1).offset(bindparam("but")))
UNSEEN = statement(
    select(_s.user_id, _s.device_id, _sum(_s.messages))
    .select_from(to_device_shares.join(devices, and_(_d.user_id == _s.user_id, _d.device_id == _s.device_id)))
    .where(
        tuple_(_s.user_id, _s.device_id) > tuple_(bindparam("after_user"), bindparam("after_device")),
        func.coalesce(_d.last_seen_ts, _d.created_ts) < bindparam("before_ts"),
    )
    .group_by(_s.user_id, _s.device_id)
    .having(func.sum(_s.messages) > bindparam("more_than"))
    .order_by(_s.user_id, _s.device_id)
    .limit(bindparam("most"))
)
NEW = statement(
    select(_m.position, _m.user_id, _m.device_id)
    .where(_m.position > bindparam("after"), _m.position <= bindparam("upto"))
    .order_by(_m.position)
)


def inboxes(tx: ReadTransaction, device_ids: Mapping[UserID, Collection[str]], *, source: str) -> list[Inbox]:
    """These devices of those of the users who have an account here that is not closed: all, where `*` is among them."""
    everything = sorted(user_id for user_id, asked in device_ids.items() if ALL_DEVICES in asked)
    # None has a NUL in its name, which PostgreSQL would refuse.
    named = [
        (user_id, device_id)
        for user_id, asked in device_ids.items()
        if ALL_DEVICES not in asked
        for device_id in asked
        if "\0" not in device_id
    ]
    rows = tx.all(INBOXES, user_ids=everything, source=source) if everything else []
    if named:
        rows += tx.all(INBOXES_OF_DEVICES, rows=rows_parameter(named), source=source)
    return [Inbox(*row) for row in rows]


def put(tx: WriteTransaction, sender: UserID, letters: Sequence[Letter]) -> None:
    """Have the messages wait for their devices, of which each is named once at most; their users are told."""
    if not letters:
        return
    rows = [
        (each.user_id, each.device_id, each.source, each.message.decode(), len(each.message))
        for each in letters
    ]
    shares = [(user_id, device_id, source, 1, size) for user_id, device_id, source, _, size in rows]
    tx.publish(
        PUT,
        kind=Kind.TO_DEVICE,
        to=sorted({inbox_topic(each.user_id) for each in letters}),
        also=[(SHARE, {"rows": rows_parameter(shares)})],
        sender=sender,
        rows=rows_parameter(rows),
    )


def waiting(
    tx: ReadTransaction,
    user_id: UserID,
    device_id: str,
    *,
    after: int,
    upto: int,
    most: int,
    most_bytes: int,
) -> tuple[list[Waiting], bool]:
    """The oldest messages with `after < position <= upto`, and whether there are more than these.

    Up to `most`, and up to `most_bytes`, but one at least.
    """
    rows = tx.all(WAITING, user_id=user_id, device_id=device_id, after=after, upto=upto, most=most + 1)
    found: list[Waiting] = []
    for position, sender, message, size in rows:
        most_bytes -= size
        if len(found) == most or (found and most_bytes < 0):
            return found, True
        found.append(Waiting(position, sender, message.encode()))
    return found, False


def is_any(tx: ReadTransaction, user_id: UserID, device_id: str, *, upto: int) -> bool:
    """Whether there are messages up to a position."""
    return bool(tx.value(IS_ANY, user_id=user_id, device_id=device_id, upto=upto))


def remove(tx: WriteTransaction, user_id: UserID, device_id: str, *, upto: int) -> int:
    """The device has the messages up to a position, or is not to have them; gives how many there were."""
    rows = tx.returning(REMOVE, user_id=user_id, device_id=device_id, upto=upto)
    if rows:
        _take_from_shares(tx, user_id, device_id, rows)
    return len(rows)


def remove_oldest(tx: WriteTransaction, user_id: UserID, device_id: str, *, number: int) -> int:
    """As `remove`, of the `number` oldest messages."""
    position = tx.value(OLDEST, user_id=user_id, device_id=device_id, but=number - 1)
    return 0 if position is None else remove(tx, user_id, device_id, upto=position)


def remove_of_devices(tx: WriteTransaction, user_id: UserID, device_ids: Collection[str]) -> None:
    """Nothing waits for these devices of the user any more."""
    tx.execute(REMOVE_ALL, user_id=user_id, device_ids=list(device_ids))
    tx.execute(REMOVE_SHARES, user_id=user_id, device_ids=list(device_ids))


def unseen(
    tx: ReadTransaction, *, before_ts: int, more_than: int, after: tuple[str, str], most: int
) -> list[tuple[UserID, DeviceID, int]]:
    """Devices not seen since `before_ts` for which `more_than` messages wait, and how many do.

    In the order of users and devices, from those `after` on.
    """
    rows = tx.all(
        UNSEEN,
        after_user=after[0],
        after_device=after[1],
        before_ts=before_ts,
        more_than=more_than,
        most=most,
    )
    return [(row[0], row[1], row[2]) for row in rows]


def between(tx: ReadTransaction, *, after: int, upto: int) -> list[tuple[int, UserID, DeviceID]]:
    """Which devices got messages with `after < position <= upto` that still wait; with the positions, in order."""
    return [(row[0], row[1], row[2]) for row in tx.all(NEW, after=after, upto=upto)]


def _take_from_shares(tx: WriteTransaction, user_id: UserID, device_id: str, rows: Sequence[Row]) -> None:
    messages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for source, size in rows:
        messages[source] += 1
        sizes[source] += size
    less = [(user_id, device_id, source, -messages[source], -sizes[source]) for source in messages]
    tx.execute(SHARE, rows=rows_parameter(less))
    tx.execute(REMOVE_EMPTY_SHARES, user_id=user_id, device_id=device_id)
