"""The keys in backups: one per session of a room, as a client has encrypted it."""

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, select, tuple_

from homeserver.core.identifiers import RoomID
from homeserver.core.key_backups import KeyMetadata, RoomKey
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.key_backups import room_keys
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_k = room_keys.c
_METADATA = (_k.first_message_index, _k.forwarded_count, _k.is_verified)
_COLUMNS = (_k.room_id, _k.session_id, *_METADATA, _k.session_data)
_in_backup = _k.backup_nid == bindparam("backup_nid")
_in_room = (_in_backup, _k.room_id == bindparam("room_id"))
_one = (*_in_room, _k.session_id == bindparam("session_id"))
ONE = statement(select(*_COLUMNS).where(*_one))
METADATA = statement(
    select(_k.session_id, *_METADATA).where(*_in_room, in_list(_k.session_id, "session_ids"))
)
PAGE = statement(
    select(*_COLUMNS)
    .where(
        _in_backup,
        tuple_(_k.room_id, _k.session_id) > tuple_(bindparam("after_room"), bindparam("after_session")),
    )
    .order_by(_k.room_id, _k.session_id)
    .limit(bindparam("most"))
)
PAGE_OF_ROOM = statement(
    select(*_COLUMNS)
    .where(*_in_room, _k.session_id > bindparam("after_session"))
    .order_by(_k.session_id)
    .limit(bindparam("most"))
)
SET = upsert(room_keys, key=["backup_nid", "room_id", "session_id"])
DELETE = statement(delete(room_keys).where(*_one))
DELETE_SOME_OF_ROOM = statement(
    delete(room_keys).where(
        *_in_room, _k.session_id.in_(select(_k.session_id).where(*_in_room).limit(bindparam("most")))
    )
)
DELETE_SOME = statement(
    delete(room_keys).where(
        _in_backup,
        tuple_(_k.room_id, _k.session_id).in_(
            select(_k.room_id, _k.session_id).where(_in_backup).limit(bindparam("most"))
        ),
    )
)


def of(tx: ReadTransaction, backup_nid: int, room_id: RoomID, session_id: str) -> RoomKey | None:
    """The key of the session, `None` if the backup has none."""
    row = tx.one(ONE, backup_nid=backup_nid, room_id=room_id, session_id=session_id)
    return None if row is None else _key(row)


def metadata_of(
    tx: ReadTransaction, backup_nid: int, keys: Iterable[RoomKey]
) -> dict[tuple[RoomID, str], KeyMetadata]:
    """What the backup has for the sessions of `keys`, by room and session."""
    by_room: dict[RoomID, list[str]] = {}
    for key in keys:
        by_room.setdefault(key.room_id, []).append(key.session_id)
    questions = {
        room_id: {"backup_nid": backup_nid, "room_id": room_id, "session_ids": session_ids}
        for room_id, session_ids in by_room.items()
    }
    tx.ask_ahead([(METADATA, question) for question in questions.values()])
    return {
        (room_id, row[0]): KeyMetadata(*row[1:])
        for room_id, question in questions.items()
        for row in tx.all(METADATA, **question)
    }


def page(tx: ReadTransaction, backup_nid: int, after: RoomKey | None, *, most: int) -> list[RoomKey]:
    """Up to `most` keys of the backup, the rooms one after the other, beginning after `after`."""
    after_room, after_session = ("", "") if after is None else (after.room_id, after.session_id)
    rows = tx.all(PAGE, backup_nid=backup_nid, after_room=after_room, after_session=after_session, most=most)
    return [_key(row) for row in rows]


def page_of_room(
    tx: ReadTransaction, backup_nid: int, room_id: RoomID, after: RoomKey | None, *, most: int
) -> list[RoomKey]:
    """As `page`, of one room."""
    after_session = "" if after is None else after.session_id
    rows = tx.all(
        PAGE_OF_ROOM, backup_nid=backup_nid, room_id=room_id, after_session=after_session, most=most
    )
    return [_key(row) for row in rows]


def put_later(tx: WriteTransaction, backup_nid: int, keys: Sequence[RoomKey]) -> None:
    """Store these keys, in place of what there is for their sessions, when the transaction function has returned."""
    for key in keys:
        tx.execute_later(
            SET,
            backup_nid=backup_nid,
            room_id=key.room_id,
            session_id=key.session_id,
            first_message_index=key.metadata.first_message_index,
            forwarded_count=key.metadata.forwarded_count,
            is_verified=int(key.metadata.is_verified),
            session_data=key.session_data,
        )


def remove(tx: WriteTransaction, backup_nid: int, room_id: RoomID, session_id: str) -> int:
    """Remove the key of the session; how many that were, 0 or 1."""
    return tx.execute(DELETE, backup_nid=backup_nid, room_id=room_id, session_id=session_id)


def remove_some_of_room(tx: WriteTransaction, backup_nid: int, room_id: RoomID, *, most: int) -> int:
    """Remove up to `most` keys of the room; how many that were."""
    return tx.execute(DELETE_SOME_OF_ROOM, backup_nid=backup_nid, room_id=room_id, most=most)


def remove_some(tx: WriteTransaction, backup_nid: int, *, most: int) -> int:
    """Remove up to `most` keys of the backup; how many that were."""
    return tx.execute(DELETE_SOME, backup_nid=backup_nid, most=most)


def _key(row: tuple[RoomID, str, int, int, int, bytes]) -> RoomKey:
    room_id, session_id, first_message_index, forwarded_count, is_verified, session_data = row
    metadata = KeyMetadata(first_message_index, forwarded_count, is_verified)
    return RoomKey(room_id, session_id, metadata, session_data)
