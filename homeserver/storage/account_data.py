"""Account data: what clients keep for their user, for the whole account or for a room."""

from collections.abc import Collection
from typing import Final

import msgspec
from sqlalchemy import bindparam, select

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.topics import user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, insert_into, statement, upsert
from homeserver.database.tables.account_data import account_data
from homeserver.database.transactions import ReadTransaction, WriteTransaction

GLOBAL: Final = RoomID("")
"""In place of a room: the data belong to the whole account."""


class AccountData(msgspec.Struct, frozen=True):
    """One piece of account data; `content` is the JSON of an object."""

    room_id: RoomID
    type: str
    content: bytes


_a = account_data.c
_one = (
    _a.user_id == bindparam("user_id"),
    _a.room_id == bindparam("room_id"),
    _a.type == bindparam("type"),
)
CONTENT = statement(select(_a.content).where(*_one))
CONTENT_LOCKED = statement(select(_a.content).where(*_one).with_for_update())
SINCE = statement(
    select(_a.room_id, _a.type, _a.content)
    .where(
        _a.user_id == bindparam("user_id"),
        _a.position > bindparam("since"),
        _a.position <= bindparam("upto"),
    )
    .order_by(_a.position)
)
OF_ROOMS = statement(
    select(_a.room_id, _a.type, _a.content)
    .where(
        _a.user_id == bindparam("user_id"),
        in_list(_a.room_id, "room_ids"),
        _a.position <= bindparam("upto"),
    )
    .order_by(_a.position)
)
OF_USERS = statement(
    select(_a.user_id, _a.content).where(
        in_list(_a.user_id, "user_ids"), _a.room_id == "", _a.type == bindparam("type")
    )
)
OF_ALL_ROOMS = statement(
    select(_a.room_id, _a.content).where(_a.user_id == bindparam("user_id"), _a.type == bindparam("type"))
)
RESERVE = insert_into(account_data, ignore_conflict=True)
SET = upsert(account_data, key=["user_id", "room_id", "type"])


def of(tx: ReadTransaction, user_id: UserID, room_id: RoomID, type: str) -> bytes | None:
    """The content, `None` if there is none of this type; `room_id` may be `GLOBAL`."""
    content: bytes | None = tx.value(CONTENT, user_id=user_id, room_id=room_id, type=type)
    return content


def of_users(tx: ReadTransaction, user_ids: Collection[UserID], type: str) -> dict[UserID, bytes]:
    """The global contents of this type of those users who have it."""
    return {row[0]: row[1] for row in tx.all(OF_USERS, user_ids=list(user_ids), type=type)}


def of_all_rooms(tx: ReadTransaction, user_id: UserID, type: str) -> dict[RoomID, bytes]:
    """The user's contents of this type by room; the global one is under `GLOBAL`."""
    return {row[0]: row[1] for row in tx.all(OF_ALL_ROOMS, user_id=user_id, type=type)}


def all_of(tx: ReadTransaction, user_id: UserID, *, upto: int) -> list[AccountData]:
    """All of the user's data, global and of all rooms, oldest change first."""
    return since(tx, user_id, since=-1, upto=upto)


def since(tx: ReadTransaction, user_id: UserID, *, since: int, upto: int) -> list[AccountData]:
    """The user's data, global and of all rooms, with `since < position <= upto`, in their order."""
    return [AccountData(*row) for row in tx.all(SINCE, user_id=user_id, since=since, upto=upto)]


def of_rooms(
    tx: ReadTransaction, user_id: UserID, room_ids: Collection[RoomID], *, upto: int
) -> list[AccountData]:
    """All of the user's data in these rooms: what a client needs that is new to them."""
    return [
        AccountData(*row) for row in tx.all(OF_ROOMS, user_id=user_id, room_ids=list(room_ids), upto=upto)
    ]


def lock(tx: WriteTransaction, user_id: UserID, room_id: RoomID, type: str) -> bytes:
    """As `of`, to be changed: nobody else changes it until the commit. An empty object if there is none.

    Follow it with `put`, since the row is there from now on.
    """
    tx.execute(RESERVE, user_id=user_id, room_id=room_id, type=type, content=b"{}", position=0)
    content: bytes = tx.value(CONTENT_LOCKED, user_id=user_id, room_id=room_id, type=type)
    return content


def put(tx: WriteTransaction, user_id: UserID, room_id: RoomID, type: str, content: bytes) -> None:
    """Set the content; the user's devices are told."""
    tx.publish(
        SET,
        kind=Kind.ACCOUNT_DATA,
        to=[user_topic(user_id)],
        user_id=user_id,
        room_id=room_id,
        type=type,
        content=content,
    )
