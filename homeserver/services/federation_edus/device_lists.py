"""`m.device_list_update` and `m.signing_key_update`: users of other servers have other devices, or other keys.

Spec: server-server API, "Device Management" and "End-to-End Encryption".

Whoever shares a room with the user is told at once, whatever becomes of the update: clients ask for the keys again, and
get those of the user's server while what is kept here is in doubt.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from twisted.internet.threads import deferToThread

from homeserver.core.device_lists import MOST_DEVICES, DeviceUpdate, read_update, read_user_keys
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.identity_keys import read_user_key
from homeserver.core.json import decode
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.content import read_each, user_of
from homeserver.storage import device_lists, remote_device_lists
from homeserver.storage.remote_device_lists import RemoteList

_log = structlog.get_logger(__name__)

BATCH: Final = 50


class _Update(msgspec.Struct, frozen=True):
    """An update about one user; `update` is None if it cannot be used."""

    user_id: UserID
    update: DeviceUpdate | None


class _NewKeys(msgspec.Struct, frozen=True):
    """Cross-signing keys that a user is said to have, not looked at yet; None: they are not spoken of."""

    user_id: UserID
    master: object
    self_signing: object


class IncomingDeviceLists(msgspec.Struct, frozen=True):
    """Updates of lists that are followed; any doubt leads to the whole list being asked for."""

    database: Database
    clock: Clock

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """As `EduKind.receive`; what is told is on disk when this is done."""
        # Signatures take their time.
        updates = await deferToThread(read_each, _update_in, origin, contents, what="m.device_list_update")
        for first in range(0, len(updates), BATCH):
            await self.database.write(
                apply_updates, updates[first : first + BATCH], now_ts=self.clock.now_ts()
            )


class IncomingUserKeys(msgspec.Struct, frozen=True):
    """New cross-signing keys of users who are followed."""

    database: Database
    clock: Clock

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """As `EduKind.receive`; what is told is on disk when this is done."""
        changes = read_each(_keys_in, origin, contents, what="m.signing_key_update")
        for first in range(0, len(changes), BATCH):
            await self.database.write(apply_keys, changes[first : first + BATCH], now_ts=self.clock.now_ts())


def apply_updates(tx: WriteTransaction, updates: Sequence[_Update], *, now_ts: int) -> None:
    """Bring what is kept up to date, or doubt it, and tell those who share a room with the users."""
    by_user: dict[UserID, list[DeviceUpdate | None]] = {}
    for each in updates:
        by_user.setdefault(each.user_id, []).append(each.update)
    # In one order in all transactions, since each waits for the others' rows.
    for user_id, of_user in sorted(by_user.items()):
        known = remote_device_lists.lock(tx, user_id)
        is_news = known is None
        for update in of_user if known is not None else ():
            is_news = _apply(tx, user_id, update, now_ts=now_ts) or is_news
        if is_news and remote_device_lists.shares_room(tx, user_id):
            device_lists.tell(tx, user_id)


def apply_keys(tx: WriteTransaction, changes: Sequence[_NewKeys], *, now_ts: int) -> None:
    """As `apply_updates`, for cross-signing keys; of one user the last word counts."""
    for user_id, change in sorted({each.user_id: each for each in changes}.items()):
        known = remote_device_lists.lock(tx, user_id)
        if known is not None:
            _apply_keys(tx, known, change, now_ts=now_ts)
        if remote_device_lists.shares_room(tx, user_id):
            device_lists.tell(tx, user_id)


def _apply(tx: WriteTransaction, user_id: UserID, update: DeviceUpdate | None, *, now_ts: int) -> bool:
    """Apply one update to a list that there is; whether it said anything new."""
    known = remote_device_lists.of(tx, user_id)
    if known is None:
        return True
    if known.stream_id is not None and known.due_ts is None and update is not None:
        if update.repeats(known.stream_id):
            return False
        is_room = update.device is None or _has_room(tx, known, update)
        if is_room and update.follows(known.stream_id):
            remote_device_lists.apply(tx, known, update.stream_id, update.device_id, update.device)
            return True
    remote_device_lists.doubt(tx, known, now_ts=now_ts)
    return True


def _has_room(tx: ReadTransaction, known: RemoteList, update: DeviceUpdate) -> bool:
    """Whether the list is not too long with that device."""
    devices = remote_device_lists.device_ids_of(tx, known.user_id)
    return update.device_id in devices or len(devices) < MOST_DEVICES


def _apply_keys(tx: WriteTransaction, known: RemoteList, change: _NewKeys, *, now_ts: int) -> None:
    if known.stream_id is not None and known.due_ts is None and change.master is not None:
        kept = remote_device_lists.user_keys_of(tx, [known.user_id]).get(known.user_id, {})
        before = None
        if "master" in kept:
            before = read_user_key(decode(kept["master"]), known.user_id, "master")
        found, refused = read_user_keys(
            change.master, change.self_signing, known.user_id, known_master=before
        )
        # Another master key makes the old self-signing key void.
        is_whole = len(found) == 2 or (
            before is not None and bool(found) and found[0].public_key == before.public_key
        )
        if not refused and is_whole:
            remote_device_lists.apply_user_keys(tx, known, found)
            return
    remote_device_lists.doubt(tx, known, now_ts=now_ts)


def _update_in(origin: ServerName, content: Any) -> _Update:
    user_id = _user_in(origin, content)
    try:
        return _Update(user_id, read_update(content, user_id))
    except MatrixError as error:
        _log.info("an update of a device could not be used", user=user_id, reason=error.message)
        return _Update(user_id, None)


def _keys_in(origin: ServerName, content: Any) -> _NewKeys:
    user_id = _user_in(origin, content)
    return _NewKeys(user_id, content.get("master_key"), content.get("self_signing_key"))


def _user_in(origin: ServerName, content: object) -> UserID:
    user_id = content.get("user_id") if isinstance(content, dict) else None
    if not isinstance(user_id, str):
        raise BadJson("user_id must be a text")
    return user_of(origin, user_id)
