"""Cross-signing: users' keys, and what they sign with them. Spec: client-server API, "Cross-signing"."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import Forbidden, MatrixError, MissingParam, NotFound, TooLarge
from homeserver.core.identifiers import DeviceID, ServerName, UserID, parse_user_id, server_of
from homeserver.core.identity_keys import Usage, UserKey, read_user_key
from homeserver.core.json import JsonObject
from homeserver.core.key_signatures import (
    VerifyKey,
    is_same,
    name_of,
    new_signature,
    signatures_on,
    signers,
    verified,
    verify_key_of_device,
    verify_key_of_user,
    with_signatures,
)
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.services.remote_keys import RemoteKeys
from homeserver.storage import cross_signing, device_changes, device_keys, device_lists, devices
from homeserver.storage.device_changes import USER_KEYS

MOST_SIGNED: Final = 1_000
"""Keys in one upload of signatures."""

PATIENCE_MS: Final = 10_000
"""For other servers whose users' keys are signed."""

Signed = Mapping[str, Mapping[str, JsonObject]]
"""Copies of keys with new signatures: by user, and by the device's ID or the key itself."""


def read_keys(user_id: UserID, given: Mapping[Usage, JsonObject | None]) -> dict[Usage, UserKey]:
    """The keys that a user uploads, as far as that can be told without knowing others. Errors: BadJson."""
    return {
        usage: read_user_key(value, user_id, usage) for usage, value in given.items() if value is not None
    }


class CrossSigning(msgspec.Struct, frozen=True, eq=False):
    """Takes cross-signing keys and signatures."""

    database: Database
    server_name: ServerName
    remote_keys: RemoteKeys

    async def upload(self, user_id: UserID, keys: Mapping[Usage, UserKey], *, is_authorised: bool) -> bool:
        """Set keys; False, and nothing done, if the user must be authenticated for it and `is_authorised` is not set.

        That is so where there is a master key and any of the keys is a new one.
        Errors: MissingParam if there is no master key, nor has there been one; InvalidSignature if it has not signed
        the others; Forbidden if a key is called like a device.
        """
        return await self.database.write(store, user_id, keys, is_authorised=is_authorised)

    async def sign(self, user_id: UserID, signed: Signed) -> JsonObject:
        """Add signatures; what could not be taken, by user and key, with the errors as clients get them.

        Errors: TooLarge.
        """
        if sum(map(len, signed.values())) > MOST_SIGNED:
            raise TooLarge(f"at most {MOST_SIGNED} keys can be signed at once")
        elsewhere = {each for each in signed if _server(each) not in (None, self.server_name)}
        masters: dict[UserID, bytes] = {}
        if elsewhere:
            asked: dict[UserID, Collection[DeviceID]] = {UserID(each): () for each in elsewhere}
            found = await self.remote_keys.query(asked, patience_ms=PATIENCE_MS)
            masters = {
                each: keys.user_keys["master"]
                for each, keys in found.users.items()
                if "master" in keys.user_keys
            }
        return await self.database.write(sign, user_id, signed, masters)


def store(
    tx: WriteTransaction, user_id: UserID, keys: Mapping[Usage, UserKey], *, is_authorised: bool
) -> bool:
    """As `CrossSigning.upload`."""
    own_devices = devices.ids_of_user(tx, user_id)
    for device_id in own_devices[:1]:
        # Two uploads at once: the second one sees what the first has done.
        devices.lock(tx, user_id, device_id)
    kept = cross_signing.of_users(tx, [user_id]).get(user_id, {})
    new = {
        usage: key for usage, key in keys.items() if usage not in kept or not is_same(kept[usage], key.keys)
    }
    master = keys["master"].keys if "master" in keys else kept.get("master")
    if master is None:
        raise MissingParam("master_key is missing, and there is none yet")
    _check(user_id, keys, verify_key_of_user(master), own_devices)
    if new and "master" in kept and not is_authorised:
        return False
    if "master" in new:
        # The others were signed by the old one.
        cross_signing.remove(tx, user_id, [usage for usage in kept if usage not in keys])
    for usage, key in new.items():
        signatures = _signatures(tx, user_id, key, verify_key_of_user(master))
        cross_signing.put(tx, user_id, usage, with_signatures(key.keys, {user_id: signatures}))
    if "user_signing" in new or "master" in new:
        cross_signing.forget_signatures(tx, user_id)
    if new:
        device_changes.put(tx, user_id, [USER_KEYS])
        device_lists.tell(tx, user_id)
    return True


def _check(
    user_id: UserID, keys: Mapping[Usage, UserKey], master: VerifyKey, own_devices: Collection[DeviceID]
) -> None:
    for usage, key in keys.items():
        if usage != "master" and not verified(key.keys, user_id, {master.key_id: master}):
            raise InvalidSignature(f"the master key has not signed {usage}_key")
        if key.public_key in own_devices:
            raise Forbidden("Key ID in use")


def _signatures(tx: WriteTransaction, user_id: UserID, key: UserKey, master: VerifyKey) -> dict[str, str]:
    """Those that are good: a master key may be signed by devices, the others are signed by it."""
    if key.usage != "master":
        return verified(key.keys, user_id, {master.key_id: master})
    known = {
        each.key_id: each
        for each in (
            verify_key_of_device(keys, device_id)
            for device_id, keys in device_keys.of_user(tx, user_id).items()
        )
    }
    return verified(key.keys, user_id, known)


def sign(
    tx: WriteTransaction, user_id: UserID, signed: Signed, masters: Mapping[UserID, bytes]
) -> JsonObject:
    """As `CrossSigning.sign`; `masters` are the master keys of users of other servers."""
    for device_id in devices.ids_of_user(tx, user_id)[:1]:
        devices.lock(tx, user_id, device_id)
    signing = _Signing(tx, user_id, masters)
    failures: JsonObject = {}
    for target, key_id, value in _each(signed):
        try:
            signing.take(target, key_id, value)
        except MatrixError as error:
            of_user = failures.setdefault(target, {})
            assert isinstance(of_user, dict)  # noqa: S101 - tells the type checker
            of_user[key_id] = {"errcode": error.errcode, "error": error.message}
    if signing.changed:
        device_changes.put(tx, user_id, signing.changed)
        device_lists.tell(tx, user_id)
    return failures


class _Signing:
    """One upload of signatures by one user; `changed` are the user's own devices and keys that have new ones."""

    def __init__(self, tx: WriteTransaction, user_id: UserID, masters: Mapping[UserID, bytes]) -> None:
        self.changed: set[DeviceID] = set()
        self._tx = tx
        self._user_id = user_id
        self._masters = masters
        self._own = cross_signing.of_users(tx, [user_id]).get(user_id, {})
        self._devices = device_keys.of_user(tx, user_id)

    def take(self, target: str, key_id: str, value: JsonObject) -> None:
        """Take the signature on one key. Errors: NotFound, InvalidSignature, BadJson."""
        if target != self._user_id:
            self._other(parse_user_id(target), key_id, value)
        elif DeviceID(key_id) in self._devices:
            self._device(DeviceID(key_id), value)
        else:
            self._master(key_id, value)

    def _device(self, device_id: DeviceID, value: JsonObject) -> None:
        keys, by = self._devices[device_id], self._key("self_signing")
        signature = new_signature(value, keys, self._user_id, by)
        own = verify_key_of_device(keys, device_id)
        kept = signatures_on(keys, self._user_id)
        # Those of earlier self-signing keys mean nothing any more.
        signatures = {own.key_id: kept[own.key_id], by.key_id: signature}
        if signatures != kept:
            self._devices[device_id] = with_signatures(keys, {self._user_id: signatures})
            device_keys.put(self._tx, self._user_id, device_id, self._devices[device_id])
            self.changed.add(device_id)

    def _master(self, key_id: str, value: JsonObject) -> None:
        keys = self._own.get("master")
        if keys is None or name_of(verify_key_of_user(keys)) != key_id:
            raise NotFound("there is no such device with keys, nor is it the master key")
        kept = signatures_on(keys, self._user_id)
        new = {
            by.key_id: new_signature(value, keys, self._user_id, by)
            for by in map(self._of_device, signers(value, self._user_id))
            if by is not None and by.key_id not in kept
        }
        if not new and not kept.keys() & set(signers(value, self._user_id)):
            raise InvalidSignature("none of the user's devices has signed it")
        if new:
            self._own["master"] = with_signatures(keys, {self._user_id: kept | new})
            cross_signing.put(self._tx, self._user_id, "master", self._own["master"])
            self.changed.add(USER_KEYS)

    def _other(self, target: UserID, key_id: str, value: JsonObject) -> None:
        keys = self._masters.get(target)
        if keys is None:
            keys = cross_signing.of_users(self._tx, [target]).get(target, {}).get("master")
        if keys is None or name_of(verify_key_of_user(keys)) != key_id:
            raise NotFound("it is not the user's master key")
        by = self._key("user_signing")
        signature = new_signature(value, keys, self._user_id, by)
        kept = cross_signing.signatures_by(self._tx, self._user_id, [target]).get((target, key_id), {})
        if kept.get(by.key_id) != signature:
            cross_signing.sign(self._tx, self._user_id, target, key_id, key_id=by.key_id, signature=signature)

    def _key(self, usage: Usage) -> VerifyKey:
        if usage not in self._own:
            raise InvalidSignature(f"the user has no {usage} key")
        return verify_key_of_user(self._own[usage])

    def _of_device(self, key_id: str) -> VerifyKey | None:
        device_id = DeviceID(key_id.partition(":")[2])
        keys = self._devices.get(device_id)
        by = None if keys is None else verify_key_of_device(keys, device_id)
        return by if by is not None and by.key_id == key_id else None


def _each(signed: Signed) -> Iterator[tuple[str, str, JsonObject]]:
    for target, keys in signed.items():
        for key_id, value in keys.items():
            yield target, key_id, value


def _server(text: str) -> ServerName | None:
    """The server of a user, None for what is no user ID."""
    try:
        return server_of(parse_user_id(text))
    except MatrixError:
        return None
