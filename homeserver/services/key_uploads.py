"""What devices upload of their keys. Spec: client-server API, "Uploading keys"."""

from collections import Counter

import msgspec

from homeserver.core.errors import Forbidden, InvalidParam, UnknownToken
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import DeviceKeys
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.key_signatures import (
    is_same,
    name_of,
    signatures_on,
    verified,
    verify_key_of_device,
    verify_key_of_user,
    with_signatures,
)
from homeserver.core.key_uploads import KeyUpload, OneTimeKey, read_upload
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import (
    cross_signing,
    device_changes,
    device_keys,
    device_lists,
    devices,
    one_time_keys,
)
from homeserver.storage.one_time_keys import KeyCounts

MOST_HELD = 5_000
"""One-time keys of a device that nobody has claimed yet."""


class KeyUploads(msgspec.Struct, frozen=True, eq=False):
    """Takes the keys of the requester's device."""

    database: Database

    async def upload(
        self,
        requester: Requester,
        *,
        device_keys: JsonObject | None,
        one_time_keys: JsonObject,
        fallback_keys: JsonObject,
    ) -> KeyCounts:
        """Store the keys; what the device has then.

        One-time keys that are there already, or have been handed out, are passed over: the client repeats a request.
        Errors: as `core.key_uploads.read_upload`; Forbidden if the device is called like a cross-signing key;
        InvalidParam if another key has the name of a one-time key, or the device has too many.
        """
        device_id = requester.device_id
        if device_id is None:
            raise InvalidParam("keys belong to a device, and the request names none: device_id is missing")
        upload = read_upload(
            requester.user_id,
            device_id,
            device_keys=device_keys,
            one_time_keys=one_time_keys,
            fallback_keys=fallback_keys,
        )
        return await self.database.write(store, requester.user_id, device_id, upload)


def store(tx: WriteTransaction, user_id: UserID, device_id: DeviceID, upload: KeyUpload) -> KeyCounts:
    """Store what was uploaded; gives what the device has then. Errors: UnknownToken, Forbidden, InvalidParam."""
    if not devices.lock(tx, user_id, device_id):
        raise UnknownToken("the device has been deleted meanwhile")
    if upload.device is not None:
        _store_device(tx, user_id, upload.device)
    if upload.fallback_keys:
        one_time_keys.set_fallback_keys(tx, user_id, device_id, upload.fallback_keys)
    counts = one_time_keys.counts(tx, user_id, device_id)
    new = _new_keys(tx, user_id, device_id, upload.one_time_keys) if upload.one_time_keys else []
    if new:
        if sum(counts.one_time_keys.values()) + len(new) > MOST_HELD:
            raise InvalidParam(f"a device has at most {MOST_HELD} one-time keys that nobody has claimed")
        one_time_keys.add(tx, user_id, device_id, new)
    total = Counter(counts.one_time_keys) + Counter(key.algorithm for key in new)
    return msgspec.structs.replace(counts, one_time_keys=total)


def _new_keys(
    tx: WriteTransaction, user_id: UserID, device_id: DeviceID, keys: tuple[OneTimeKey, ...]
) -> list[OneTimeKey]:
    known = one_time_keys.known(tx, user_id, device_id, keys)
    for key in keys:
        if known.get(key.name, key.key_hash) != key.key_hash:
            raise InvalidParam(f"there is, or was, another one-time key that is called {key.name}")
    return [key for key in keys if key.name not in known]


def _store_device(tx: WriteTransaction, user_id: UserID, device: DeviceKeys) -> None:
    device_id = device.device_id
    user_keys = cross_signing.of_users(tx, [user_id]).get(user_id, {})
    # "Servers MUST not allow devices to have the same IDs as cross-signing keys".
    if any(name_of(verify_key_of_user(keys)) == device_id for keys in user_keys.values()):
        raise Forbidden("a cross-signing key of the user is called like the device")
    kept = device_keys.find(tx, user_id, device_id)
    signing = [verify_key_of_device(device.keys, device_id)]
    if "self_signing" in user_keys:
        signing.append(verify_key_of_user(user_keys["self_signing"]))
    signatures = verified(device.keys, user_id, {key.key_id: key for key in signing})
    if kept is not None and is_same(kept, device.keys):
        signatures = signatures_on(kept, user_id) | signatures
    keys = with_signatures(device.keys, {user_id: signatures})
    if keys == kept:
        return
    if kept is not None and decode_object(kept)["keys"] != decode_object(keys)["keys"]:
        # Nobody could do anything with what the old ones have signed.
        one_time_keys.remove(tx, user_id, [device_id])
        one_time_keys.tell(tx, user_id, device_id)
    device_keys.put(tx, user_id, device_id, keys)
    device_changes.put(tx, user_id, [device_id])
    device_lists.tell(tx, user_id)
