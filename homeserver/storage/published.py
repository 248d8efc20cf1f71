"""What was published between two positions, of all rooms and users: for the tail, which follows the stream."""

from collections.abc import Mapping

import attrs
import msgspec
from sqlalchemy import and_, bindparam, case, func, select, union_all

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.receipts import Receipt
from homeserver.core.topics import keys_topic, room_topic, user_topic
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.account_data import account_data, push_rules
from homeserver.database.tables.encryption import device_lists, one_time_key_changes, user_signatures
from homeserver.database.tables.ephemeral import receipts, typing
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.tables.sticky_events import sticky_events
from homeserver.database.tables.thread_subscriptions import thread_subscriptions
from homeserver.database.tables.to_device import to_device_messages
from homeserver.database.transactions import ReadTransaction


class PublishedKeys(msgspec.Struct, frozen=True):
    """Something about devices and keys that a topic was told; `changed` is whose are to be looked at again."""

    position: int
    topic: str
    changed: UserID | None = None


class PublishedReceipt(msgspec.Struct, frozen=True):
    """A receipt as it was published."""

    position: int
    room_id: RoomID
    receipt: Receipt


@attrs.frozen(slots=True)
class PublishedSticky:
    """An event that was shown as sticky, and whether that was when it came."""

    position: int
    room_nid: int
    expires_ts: int
    is_new: bool = attrs.field(converter=bool)


_r = receipts.c
_t = typing.c
RECEIPTS = statement(
    select(_r.position, rooms.c.room_id, _r.user_id, _r.receipt_type, _r.thread_id, _r.event_id, _r.ts)
    .select_from(receipts.join(rooms, rooms.c.room_nid == _r.room_nid))
    .where(_r.position > bindparam("after"), _r.position <= bindparam("upto"))
    .order_by(_r.position)
)
TYPING = statement(
    select(_t.position, _t.room_nid, rooms.c.room_id)
    .select_from(typing.join(rooms, rooms.c.room_nid == _t.room_nid))
    .where(_t.position > bindparam("after"), _t.position <= bindparam("upto"))
    .order_by(_t.position)
)
ACCOUNT_DATA = statement(
    union_all(
        *(
            select(table.c.position, table.c.user_id).where(
                table.c.position > bindparam("after"), table.c.position <= bindparam("upto")
            )
            for table in (account_data, push_rules)
        )
    )
)
THREAD_SUBSCRIPTIONS = statement(
    select(thread_subscriptions.c.position, thread_subscriptions.c.user_id).where(
        thread_subscriptions.c.position > bindparam("after"),
        thread_subscriptions.c.position <= bindparam("upto"),
    )
)
DEVICE_LISTS = statement(
    select(device_lists.c.position, device_lists.c.user_id, rooms.c.room_id)
    .select_from(
        device_lists.outerjoin(
            memberships,
            and_(memberships.c.user_id == device_lists.c.user_id, memberships.c.membership == "join"),
        ).outerjoin(rooms, rooms.c.room_nid == memberships.c.room_nid)
    )
    .where(device_lists.c.position > bindparam("after"), device_lists.c.position <= bindparam("upto"))
    .order_by(device_lists.c.position)
    .limit(bindparam("most"))
)
SIGNATURES, ONE_TIME_KEYS = (
    statement(
        select(table.c.position, user)
        .where(table.c.position > bindparam("after"), table.c.position <= bindparam("upto"))
        .order_by(table.c.position)
        .limit(bindparam("most"))
    )
    for table, user in (
        (user_signatures, user_signatures.c.signer_user_id),
        (one_time_key_changes, one_time_key_changes.c.user_id),
    )
)
_s = sticky_events.c
STICKY = statement(
    select(_s.position, _s.room_nid, _s.expires_ts, case((events.c.position == _s.position, 1), else_=0))
    .select_from(sticky_events.join(events, events.c.event_nid == _s.event_nid))
    .where(_s.position > bindparam("after"), _s.position <= bindparam("upto"))
    .order_by(_s.position)
)
COUNT = statement(
    select(func.count()).select_from(
        union_all(
            *(
                select(
                    select(table.c.position)
                    .where(table.c.position > bindparam("after"), table.c.position <= bindparam("upto"))
                    .limit(bindparam("most"))
                    .subquery(f"rows_of_{table.name}")
                )
                for table in (
                    events,
                    receipts,
                    typing,
                    account_data,
                    push_rules,
                    thread_subscriptions,
                    to_device_messages,
                    device_lists,
                    user_signatures,
                    one_time_key_changes,
                )
            )
        ).subquery("rows_of_all")
    )
)
ROOMS = statement(
    select(rooms.c.room_nid, rooms.c.room_id, rooms.c.version).where(in_list(rooms.c.room_nid, "room_nids"))
)


def receipts_between(tx: ReadTransaction, *, after: int, upto: int) -> list[PublishedReceipt]:
    """The receipts with `after < position <= upto`."""
    return [
        PublishedReceipt(
            position, room_id, Receipt(UserID(user_id), receipt_type, thread_id, EventID(event_id), ts)
        )
        for position, room_id, user_id, receipt_type, thread_id, event_id, ts in tx.all(
            RECEIPTS, after=after, upto=upto
        )
    ]


def typing_between(tx: ReadTransaction, *, after: int, upto: int) -> dict[tuple[int, RoomID], int]:
    """The rooms in which typing changed, with the position of the last change."""
    return {(nid, room_id): position for position, nid, room_id in tx.all(TYPING, after=after, upto=upto)}


def account_data_between(tx: ReadTransaction, *, after: int, upto: int) -> list[tuple[int, UserID]]:
    """Whose account data or push rules changed, with the position."""
    return [(row[0], row[1]) for row in tx.all(ACCOUNT_DATA, after=after, upto=upto)]


def thread_subscriptions_between(tx: ReadTransaction, *, after: int, upto: int) -> list[tuple[int, UserID]]:
    """Whose thread subscriptions changed, with the position."""
    return [(row[0], row[1]) for row in tx.all(THREAD_SUBSCRIPTIONS, after=after, upto=upto)]


def keys_between(tx: ReadTransaction, *, after: int, upto: int, most: int) -> list[PublishedKeys]:
    """What was told of devices and keys with `after < position <= upto`, in order: up to `most`."""
    told: list[PublishedKeys] = []
    last = None
    for position, user_id, room_id in tx.all(DEVICE_LISTS, after=after, upto=upto, most=most):
        if position != last:
            told.append(PublishedKeys(position, user_topic(user_id), user_id))
            last = position
        if room_id is not None:
            told.append(PublishedKeys(position, room_topic(room_id), user_id))
    told += [
        PublishedKeys(position, user_topic(user_id))
        for position, user_id in tx.all(SIGNATURES, after=after, upto=upto, most=most)
    ]
    told += [
        PublishedKeys(position, keys_topic(user_id))
        for position, user_id in tx.all(ONE_TIME_KEYS, after=after, upto=upto, most=most)
    ]
    return sorted(told, key=lambda each: each.position)[:most]


def sticky_between(tx: ReadTransaction, *, after: int, upto: int) -> list[PublishedSticky]:
    """The events that were shown as sticky with `after < position <= upto`."""
    return [PublishedSticky(*row) for row in tx.all(STICKY, after=after, upto=upto)]


def count(tx: ReadTransaction, *, after: int, upto: int, most: int) -> int:
    """How many rows of all these kinds there are with `after < position <= upto`: exact up to `most`."""
    number: int = tx.value(COUNT, after=after, upto=upto, most=most + 1)
    return number


def rooms_of(tx: ReadTransaction, room_nids: set[int]) -> Mapping[int, tuple[RoomID, str]]:
    """Room id and room version by number; neither ever changes."""
    cache = tx.caches.room_names
    found: dict[int, tuple[RoomID, str]] = {}
    for nid in room_nids:
        name = cache.get(nid)
        if name is not None:
            found[nid] = name
    missing = room_nids - found.keys()
    if missing:
        for nid, room_id, version in tx.all(ROOMS, room_nids=sorted(missing)):
            found[nid] = name = (room_id, version)
            tx.remember(cache, nid, name)
    return found
