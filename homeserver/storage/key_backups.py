"""Key backups: the versions that a user has, and those whose keys remain to be removed."""

import msgspec
from sqlalchemy import bindparam, delete, insert, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert as upserting

from homeserver.core.identifiers import UserID
from homeserver.core.key_backups import KeyBackup
from homeserver.database.statements import claim_due, insert_into, statement
from homeserver.database.tables.key_backups import discarded_key_backups, key_backup_versions, key_backups
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_b = key_backups.c
_v = key_backup_versions.c
_d = discarded_key_backups.c
_COLUMNS = [_b[name] for name in KeyBackup.__struct_fields__]
_one = (_b.user_id == bindparam("the_user"), _b.version == bindparam("the_version"))
ONE = statement(select(*_COLUMNS).where(*_one))
LATEST = statement(
    select(*_COLUMNS).where(_b.user_id == bindparam("the_user")).order_by(_b.version.desc()).limit(1)
)
LAST_VERSION = statement(select(_v.last_version).where(_v.user_id == bindparam("user_id")))
NEXT_VERSION = statement(
    upserting(key_backup_versions)
    .values(user_id=bindparam("user_id"), last_version=1)
    .on_conflict_do_update(index_elements=["user_id"], set_={"last_version": _v.last_version + 1})
    .returning(_v.last_version)
)
INSERT = insert_into(key_backups)
SET_AUTH_DATA = statement(update(key_backups).where(*_one).values(auth_data=bindparam("auth_data")))
SET_KEYS = statement(
    update(key_backups)
    .where(*_one)
    .values(
        backup_nid=bindparam("backup_nid"),
        key_count=bindparam("key_count"),
        etag=bindparam("etag"),
    )
)
DELETE = statement(delete(key_backups).where(*_one))
DELETE_ALL = statement(delete(key_backups).where(_b.user_id == bindparam("the_user")))
FORGET_VERSIONS = statement(delete(key_backup_versions).where(_v.user_id == bindparam("user_id")))
DISCARD = insert_into(discarded_key_backups)
DISCARD_ALL = statement(
    insert(discarded_key_backups).from_select(
        ["backup_nid", "due_ts"],
        select(_b.backup_nid, literal_column("0")).where(_b.user_id == bindparam("the_user")),
    )
)
CLAIM = claim_due(discarded_key_backups, _d.backup_nid, _d.backup_nid)
KEEP = statement(
    update(discarded_key_backups)
    .where(_d.backup_nid == bindparam("the_backup"))
    .values(due_ts=bindparam("until_ts"))
)
REMOVED = statement(delete(discarded_key_backups).where(_d.backup_nid == bindparam("backup_nid")))


def create(tx: WriteTransaction, user_id: UserID, *, algorithm: str, auth_data: bytes) -> int:
    """Make an empty backup, which is the user's latest; its version, higher than any before."""
    version: int = tx.returning(NEXT_VERSION, user_id=user_id)[0][0]
    tx.execute(
        INSERT,
        user_id=user_id,
        version=version,
        backup_nid=tx.new_nid(),
        algorithm=algorithm,
        auth_data=auth_data,
        key_count=0,
        etag=0,
    )
    return version


def of(tx: ReadTransaction, user_id: UserID, version: int) -> KeyBackup | None:
    """The backup of that version, `None` if there is none (any more)."""
    row = tx.one(ONE, the_user=user_id, the_version=version)
    return None if row is None else KeyBackup(*row)


def latest(tx: ReadTransaction, user_id: UserID) -> KeyBackup | None:
    """The most recently created backup that there is, `None` if there is none."""
    row = tx.one(LATEST, the_user=user_id)
    return None if row is None else KeyBackup(*row)


def has_existed(tx: ReadTransaction, user_id: UserID, version: int) -> bool:
    """Whether the user has a backup of that version, or has had one."""
    last: int | None = tx.value(LAST_VERSION, user_id=user_id)
    return last is not None and 1 <= version <= last


def set_auth_data(tx: WriteTransaction, user_id: UserID, version: int, auth_data: bytes) -> None:
    """Replace the backup's `auth_data`."""
    tx.execute(SET_AUTH_DATA, the_user=user_id, the_version=version, auth_data=auth_data)


def keys_changed(tx: WriteTransaction, user_id: UserID, backup: KeyBackup, *, key_count: int) -> KeyBackup:
    """Note that keys have come, gone or been replaced; the backup as it is now."""
    changed = msgspec.structs.replace(backup, key_count=key_count, etag=backup.etag + 1)
    _set_keys(tx, user_id, changed)
    return changed


def empty(tx: WriteTransaction, user_id: UserID, backup: KeyBackup) -> KeyBackup:
    """Have the backup begin anew without keys, those that it has being discarded; the backup as it is now."""
    tx.execute(DISCARD, backup_nid=backup.backup_nid, due_ts=0)
    changed = msgspec.structs.replace(backup, backup_nid=tx.new_nid(), key_count=0, etag=backup.etag + 1)
    _set_keys(tx, user_id, changed)
    return changed


def remove(tx: WriteTransaction, user_id: UserID, backup: KeyBackup) -> None:
    """Remove the backup; its keys are discarded."""
    tx.execute(DISCARD, backup_nid=backup.backup_nid, due_ts=0)
    tx.execute(DELETE, the_user=user_id, the_version=backup.version)


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Remove all backups of a user who will never make another; their keys are discarded."""
    tx.execute(DISCARD_ALL, the_user=user_id)
    tx.execute(DELETE_ALL, the_user=user_id)
    tx.execute(FORGET_VERSIONS, user_id=user_id)


def claim_discarded(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> int | None:
    """The `backup_nid` of keys that are to be removed, `None` if there are none.

    No other process gets it before `until_ts`.
    """
    rows = tx.returning(CLAIM, now_ts=now_ts, until_ts=until_ts)
    return rows[0][0] if rows else None


def keep_discarded(tx: WriteTransaction, backup_nid: int, *, until_ts: int) -> None:
    """Prolong the claim."""
    tx.execute(KEEP, the_backup=backup_nid, until_ts=until_ts)


def discarded_is_removed(tx: WriteTransaction, backup_nid: int) -> None:
    """The keys are all gone."""
    tx.execute(REMOVED, backup_nid=backup_nid)


def _set_keys(tx: WriteTransaction, user_id: UserID, backup: KeyBackup) -> None:
    tx.execute(
        SET_KEYS,
        the_user=user_id,
        the_version=backup.version,
        backup_nid=backup.backup_nid,
        key_count=backup.key_count,
        etag=backup.etag,
    )
