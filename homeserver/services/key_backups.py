"""Backups of room keys. Spec: client-server API, "Server-side key backups"."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from homeserver.core.endpoint_errors import WrongRoomKeysVersion
from homeserver.core.errors import InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, encode
from homeserver.core.key_backups import KeyBackup, RoomKey, is_better
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.storage import key_backups, room_keys

MAX_ALGORITHM_BYTES: Final = 255
MAX_AUTH_DATA_BYTES: Final = 65_536
MAX_SESSION_ID_BYTES: Final = 255
MAX_SESSION_DATA_BYTES: Final = 32_768
"""A megolm session is exported in less than 2,000, unless dozens of devices have handed it on."""

STORED_AT_ONCE: Final = 500
"""Keys in one transaction; all other writes wait for it."""

REMOVED_AT_ONCE: Final = 500

PAGE: Final = 200
"""Keys that are in memory at once when a whole backup is read."""

LEASE_MS: Final = 60_000

_MAX_DIGITS: Final = 18
_UNKNOWN: Final = "Unknown backup version"


class KeyBackups(msgspec.Struct, frozen=True):
    """Keeps backups. A version that is not one of the requester's is NotFound, everywhere."""

    database: Database
    clock: Clock

    # Versions

    async def create(self, requester: Requester, algorithm: str, auth_data: JsonObject) -> str:
        """Make a backup, which is the latest from now on; its version.

        Errors: InvalidParam, TooLarge.
        """
        if not 0 < len(algorithm.encode()) <= MAX_ALGORITHM_BYTES:
            raise InvalidParam(f"the name of an algorithm has 1 to {MAX_ALGORITHM_BYTES} bytes")
        version = await self.database.write(
            key_backups.create,
            requester.user_id,
            algorithm=algorithm,
            auth_data=_encoded_auth_data(auth_data),
        )
        return str(version)

    async def latest(self, requester: Requester) -> KeyBackup:
        """The most recently created backup. Errors: NotFound if there is none."""
        found = await self.database.look_up(key_backups.latest, requester.user_id)
        if found is None:
            raise NotFound("No current backup version")
        return found

    async def find(self, requester: Requester, version: str) -> KeyBackup:
        """The backup of that version. Errors: NotFound."""
        return await self.database.look_up(_find, requester.user_id, _number(version))

    async def set_auth_data(
        self, requester: Requester, version: str, algorithm: str, auth_data: JsonObject
    ) -> None:
        """Replace the backup's `auth_data`. Errors: NotFound; InvalidParam if the algorithm is another; TooLarge."""
        encoded = _encoded_auth_data(auth_data)
        await self.database.write(
            _set_auth_data, requester.user_id, _number(version), algorithm=algorithm, auth_data=encoded
        )

    async def remove(self, requester: Requester, version: str) -> None:
        """Remove the backup with all its keys, if that has not been done before.

        Errors: NotFound if there has never been one of that version.
        """
        await self.database.write(_remove, requester.user_id, _number(version))

    # Keys

    async def put_keys(self, requester: Requester, version: str, keys: Sequence[RoomKey]) -> KeyBackup:
        """Store those keys that are better than what the backup has for their sessions; the backup as it is then.

        Some may have been stored if there is an error; the same keys can be sent again.
        Errors: NotFound; WrongRoomKeysVersion if there is a later backup; InvalidParam, TooLarge.
        """
        number = _number(version)
        for key in keys:
            _check(key)
        chunks = [keys[start : start + STORED_AT_ONCE] for start in range(0, len(keys), STORED_AT_ONCE)]
        for chunk in chunks[:-1]:
            await self.database.write(_put_keys, requester.user_id, number, chunk)
        return await self.database.write(_put_keys, requester.user_id, number, chunks[-1] if chunks else ())

    async def key(self, requester: Requester, version: str, room_id: RoomID, session_id: str) -> RoomKey:
        """The key of a session. Errors: NotFound."""
        return await self.database.read(
            _key_of, requester.user_id, _number(version), room_id, _session_id(session_id)
        )

    async def keys(
        self, requester: Requester, version: str, room_id: RoomID | None
    ) -> AsyncGenerator[list[RoomKey], None]:
        """The keys of a room, or with `None` of all rooms, one after the other: in parts of up to `PAGE`.

        What is stored while they are read may or may not be among them. Errors, before the first part: NotFound.
        """
        backup_nid, first = await self.database.read(
            _first_page, requester.user_id, _number(version), room_id
        )
        return self._pages(backup_nid, room_id, first)

    async def remove_all_keys(self, requester: Requester, version: str) -> KeyBackup:
        """Remove all keys; the backup as it is then. Errors: NotFound."""
        return await self.database.write(_remove_all_keys, requester.user_id, _number(version))

    async def remove_keys_of_room(self, requester: Requester, version: str, room_id: RoomID) -> KeyBackup:
        """Remove the keys of a room; the backup as it is then. Errors: NotFound."""
        is_done = False
        while not is_done:
            backup, is_done = await self.database.write(
                _remove_some_of_room, requester.user_id, _number(version), room_id
            )
        return backup

    async def remove_key(
        self, requester: Requester, version: str, room_id: RoomID, session_id: str
    ) -> KeyBackup:
        """Remove the key of a session, if there is one; the backup as it is then. Errors: NotFound."""
        return await self.database.write(
            _remove_key, requester.user_id, _number(version), room_id, _session_id(session_id)
        )

    # Upkeep

    async def purge(self) -> None:
        """Remove keys that no backup has any more, in small steps. A loop's work; any process may go on with it."""
        while (backup_nid := await self._claim()) is not None:
            while await self.database.write_soon(
                _remove_discarded, backup_nid, until_ts=self.clock.now_ts() + LEASE_MS
            ):
                pass
            await self.database.write(key_backups.discarded_is_removed, backup_nid)

    async def _claim(self) -> int | None:
        now_ts = self.clock.now_ts()
        return await self.database.write(
            key_backups.claim_discarded, now_ts=now_ts, until_ts=now_ts + LEASE_MS
        )

    async def _pages(
        self, backup_nid: int, room_id: RoomID | None, page: list[RoomKey]
    ) -> AsyncGenerator[list[RoomKey], None]:
        while page:
            yield page
            page = await self.database.look_up(_page, backup_nid, room_id, page[-1])


def _number(version: str) -> int:
    """The version as it is stored; 0, which no backup has, for what cannot be one. Errors: none."""
    is_number = version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS
    return int(version) if is_number and not version.startswith("0") else 0


def _encoded_auth_data(auth_data: JsonObject) -> bytes:
    encoded = encode(auth_data)
    if len(encoded) > MAX_AUTH_DATA_BYTES:
        raise TooLarge(f"auth_data have at most {MAX_AUTH_DATA_BYTES} bytes")
    return encoded


def _session_id(session_id: str) -> str:
    """Errors: InvalidParam if it cannot be one."""
    if "\0" in session_id or not 0 < len(session_id.encode()) <= MAX_SESSION_ID_BYTES:
        raise InvalidParam(f"a session ID has 1 to {MAX_SESSION_ID_BYTES} bytes, and no NUL")
    return session_id


def _check(key: RoomKey) -> None:
    _session_id(key.session_id)
    if len(key.session_data) > MAX_SESSION_DATA_BYTES:
        raise TooLarge(f"session_data have at most {MAX_SESSION_DATA_BYTES} bytes")


def _find(tx: ReadTransaction, user_id: UserID, version: int) -> KeyBackup:
    backup = key_backups.of(tx, user_id, version)
    if backup is None:
        raise NotFound(_UNKNOWN)
    return backup


def _set_auth_data(
    tx: WriteTransaction, user_id: UserID, version: int, *, algorithm: str, auth_data: bytes
) -> None:
    if _find(tx, user_id, version).algorithm != algorithm:
        raise InvalidParam("Algorithm does not match")
    key_backups.set_auth_data(tx, user_id, version, auth_data)


def _remove(tx: WriteTransaction, user_id: UserID, version: int) -> None:
    backup = key_backups.of(tx, user_id, version)
    if backup is not None:
        key_backups.remove(tx, user_id, backup)
    elif not key_backups.has_existed(tx, user_id, version):
        raise NotFound(_UNKNOWN)


def _put_keys(tx: WriteTransaction, user_id: UserID, version: int, keys: Sequence[RoomKey]) -> KeyBackup:
    backup = _find(tx, user_id, version)
    latest = key_backups.latest(tx, user_id)
    if latest is not None and latest.version != version:
        raise WrongRoomKeysVersion("Wrong backup version.", current_version=str(latest.version))
    known = room_keys.metadata_of(tx, backup.backup_nid, keys)
    stored = []
    added = 0
    for key in keys:
        kept = known.get((key.room_id, key.session_id))
        if kept is None or is_better(key.metadata, kept):
            stored.append(key)
            added += kept is None
    if not stored:
        return backup
    room_keys.put_later(tx, backup.backup_nid, stored)
    return key_backups.keys_changed(tx, user_id, backup, key_count=backup.key_count + added)


def _key_of(tx: ReadTransaction, user_id: UserID, version: int, room_id: RoomID, session_id: str) -> RoomKey:
    backup = _find(tx, user_id, version)
    found = room_keys.of(tx, backup.backup_nid, room_id, session_id)
    if found is None:
        raise NotFound("Key not found")
    return found


def _first_page(
    tx: ReadTransaction, user_id: UserID, version: int, room_id: RoomID | None
) -> tuple[int, list[RoomKey]]:
    backup_nid = _find(tx, user_id, version).backup_nid
    return backup_nid, _page(tx, backup_nid, room_id, None)


def _page(
    tx: ReadTransaction, backup_nid: int, room_id: RoomID | None, after: RoomKey | None
) -> list[RoomKey]:
    if room_id is None:
        return room_keys.page(tx, backup_nid, after, most=PAGE)
    return room_keys.page_of_room(tx, backup_nid, room_id, after, most=PAGE)


def _remove_all_keys(tx: WriteTransaction, user_id: UserID, version: int) -> KeyBackup:
    backup = _find(tx, user_id, version)
    return key_backups.empty(tx, user_id, backup) if backup.key_count else backup


def _remove_some_of_room(
    tx: WriteTransaction, user_id: UserID, version: int, room_id: RoomID
) -> tuple[KeyBackup, bool]:
    """The backup as it is then, and whether that were all."""
    backup = _find(tx, user_id, version)
    removed = room_keys.remove_some_of_room(tx, backup.backup_nid, room_id, most=REMOVED_AT_ONCE)
    return _without(tx, user_id, backup, removed), removed < REMOVED_AT_ONCE


def _remove_key(
    tx: WriteTransaction, user_id: UserID, version: int, room_id: RoomID, session_id: str
) -> KeyBackup:
    backup = _find(tx, user_id, version)
    removed = room_keys.remove(tx, backup.backup_nid, room_id, session_id)
    return _without(tx, user_id, backup, removed)


def _without(tx: WriteTransaction, user_id: UserID, backup: KeyBackup, removed: int) -> KeyBackup:
    """The backup, when so many of its keys have been removed."""
    if not removed:
        return backup
    return key_backups.keys_changed(tx, user_id, backup, key_count=backup.key_count - removed)


def _remove_discarded(tx: WriteTransaction, backup_nid: int, *, until_ts: int) -> bool:
    """Whether there may be more."""
    key_backups.keep_discarded(tx, backup_nid, until_ts=until_ts)
    return room_keys.remove_some(tx, backup_nid, most=REMOVED_AT_ONCE) > 0
