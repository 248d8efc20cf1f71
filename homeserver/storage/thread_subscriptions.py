"""Which threads users are subscribed to. Spec: MSC4306."""

import attrs
from sqlalchemy import bindparam, desc, select

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.topics import user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import statement, upsert
from homeserver.database.tables.rooms import rooms
from homeserver.database.tables.thread_subscriptions import thread_subscriptions
from homeserver.database.transactions import ReadTransaction, WriteTransaction


@attrs.frozen(slots=True)
class ThreadSubscription:
    """A user's subscription to a thread, or that it has ended.

    `unsubscribed_position` is how far the stream was when the user last unsubscribed, `None` for never.
    """

    subscribed: bool = attrs.field(converter=bool)
    automatic: bool = attrs.field(converter=bool)
    unsubscribed_position: int | None


@attrs.frozen(slots=True)
class Change:
    """A subscription as it has become, and where in the stream."""

    position: int
    room_id: RoomID
    root_id: EventID
    subscribed: bool = attrs.field(converter=bool)
    automatic: bool = attrs.field(converter=bool)


_t = thread_subscriptions.c
ONE = statement(
    select(_t.subscribed, _t.automatic, _t.unsubscribed_position).where(
        _t.user_id == bindparam("user_id"),
        _t.room_nid == bindparam("room_nid"),
        _t.root_id == bindparam("root_id"),
    )
)
CHANGES = statement(
    select(_t.position, rooms.c.room_id, _t.root_id, _t.subscribed, _t.automatic)
    .select_from(thread_subscriptions.join(rooms, rooms.c.room_nid == _t.room_nid))
    .where(
        _t.user_id == bindparam("user_id"),
        _t.position > bindparam("after"),
        _t.position <= bindparam("upto"),
    )
    .order_by(desc(_t.position))
    .limit(bindparam("most"))
)
SET = upsert(thread_subscriptions, key=["user_id", "room_nid", "root_id"])


def of(tx: ReadTransaction, user_id: UserID, room_nid: int, root_id: EventID) -> ThreadSubscription | None:
    """The user's subscription to the thread; `None` if there has never been one."""
    row = tx.one(ONE, user_id=user_id, room_nid=room_nid, root_id=root_id)
    return None if row is None else ThreadSubscription(*row)


def put(
    tx: WriteTransaction, user_id: UserID, room_nid: int, root_id: EventID, new: ThreadSubscription
) -> None:
    """Change the subscription; the user's devices are told."""
    tx.publish(
        SET,
        kind=Kind.THREAD_SUBSCRIPTIONS,
        to=[user_topic(user_id)],
        user_id=user_id,
        room_nid=room_nid,
        root_id=root_id,
        subscribed=int(new.subscribed),
        automatic=int(new.automatic),
        unsubscribed_position=new.unsubscribed_position,
    )


def changes(tx: ReadTransaction, user_id: UserID, *, after: int, upto: int, most: int) -> list[Change]:
    """The newest `most` changes with `after < position <= upto`, newest first."""
    return [Change(*row) for row in tx.all(CHANGES, user_id=user_id, after=after, upto=upto, most=most)]
