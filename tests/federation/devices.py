"""Devices and cross-signing keys as clients would make them, and what servers keep of them."""

import hashlib
from typing import Any

import attrs
from nacl.signing import SigningKey as Ed25519
from sqlalchemy import bindparam, select

from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import canonical
from homeserver.core.signing import SigningKey, sign_json
from homeserver.database.statements import statement
from homeserver.database.tables.encryption import device_lists
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.remote_keys import FoundKeys, read_kept
from homeserver.storage import device_changes, remote_device_lists
from homeserver.storage.device_changes import USER_KEYS
from homeserver.storage.remote_device_lists import PUT_DEVICE, PUT_USER_KEY, RemoteList
from tests.federation.harness import FederatedServer, until

Keys = dict[str, Any]

TOLD = statement(select(device_lists.c.position).where(device_lists.c.user_id == bindparam("user_id")))


def _ed25519(name: str) -> Ed25519:
    return Ed25519(hashlib.sha256(f"the key {name}".encode()).digest())


def public(name: str) -> str:
    return encode_base64(bytes(_ed25519(name).verify_key))


def signed(value: Keys, user_id: str, key_id: str, name: str) -> Keys:
    """The object, signed with the key of that name."""
    key = SigningKey(f"ed25519:{key_id}", _ed25519(name))
    return sign_json(value, user_id, key)


def device_keys(user_id: str, device_id: str, *, key: str | None = None, **changes: Any) -> Keys:
    """The keys of a device, signed by itself with the key `key`; `changes` come before the signature."""
    name = key or f"{user_id} {device_id}"
    keys = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{device_id}": public(name), f"curve25519:{device_id}": public(f"{name} curve")},
        **changes,
    }
    return signed(keys, user_id, device_id, name)


@attrs.frozen
class Identity:
    """Cross-signing keys of a user; another `name` stands for others after a reset."""

    user_id: str
    name: str = "first"

    @property
    def master(self) -> Keys:
        return self._key("master")

    @property
    def self_signing(self) -> Keys:
        master = f"{self.user_id} {self.name} master"
        return signed(self._key("self_signing"), self.user_id, public(master), master)

    def _key(self, usage: str) -> Keys:
        key = public(f"{self.user_id} {self.name} {usage}")
        return {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{key}": key}}


def upload(tx: WriteTransaction, user_id: UserID, *devices: Keys) -> None:
    """As if the user's devices had uploaded these."""
    for keys in devices:
        tx.execute(
            PUT_DEVICE,
            user_id=user_id,
            device_id=keys["device_id"],
            keys=canonical(keys),
            display_name=None,
        )
    device_changes.put(tx, user_id, [DeviceID(keys["device_id"]) for keys in devices])


def upload_identity(tx: WriteTransaction, user_id: UserID, identity: Identity) -> None:
    """As if one of the user's devices had uploaded these, and a user-signing key beside them."""
    for usage, keys in (
        ("master", identity.master),
        ("self_signing", identity.self_signing),
        ("user_signing", {"secret": True}),
    ):
        tx.execute(PUT_USER_KEY, user_id=user_id, usage=usage, keys=canonical(keys))  # type: ignore[arg-type]
    device_changes.put(tx, user_id, [USER_KEYS])


async def give_keys(server: FederatedServer, user_id: str, *device_ids: str, **options: Any) -> None:
    """Have devices of a user of the server upload keys."""
    devices = [device_keys(user_id, device_id, **options) for device_id in device_ids]
    await server.running.server.database.write(upload, UserID(user_id), *devices)


async def query(
    server: FederatedServer, user_id: str, *device_ids: str, patience_ms: int = 10_000
) -> FoundKeys:
    """What a client of the server would be told, asked for or not."""
    wanted = {UserID(user_id): [DeviceID(each) for each in device_ids]}
    return await server.running.server.services.following.remote_keys.query(wanted, patience_ms=patience_ms)


async def queried(server: FederatedServer, user_id: str) -> set[str]:
    """The devices of which a client would be told; no server may fail."""
    found = await query(server, user_id)
    assert not found.failures, found.failures
    return {*found.users[UserID(user_id)].devices}


async def kept(server: FederatedServer, user_id: str) -> set[str] | None:
    """The devices of which a client would be told without anybody being asked; None: the user's server would be."""
    found, _ = await server.running.server.database.read(read_kept, {UserID(user_id): []})
    of_user = found.users.get(UserID(user_id))
    return None if of_user is None else {*of_user.devices}


async def keeps(server: FederatedServer, user_id: str, *device_ids: str) -> None:
    """Wait until the server keeps exactly these devices, and does not doubt them."""

    async def is_so() -> bool:
        return await kept(server, user_id) == {*device_ids}

    await until(is_so, what=f"{server.server_name} keeps {device_ids} of {user_id}")


async def kept_master(server: FederatedServer, user_id: str) -> bytes | None:
    """The master key that the server keeps and does not doubt."""
    found, _ = await server.running.server.database.read(read_kept, {UserID(user_id): []})
    of_user = found.users.get(UserID(user_id))
    return None if of_user is None else of_user.user_keys.get("master")


async def row(server: FederatedServer, user_id: str) -> RemoteList | None:
    """What the server knows of the user's list."""
    return await server.running.server.database.read(remote_device_lists.of, UserID(user_id))


def _told(tx: ReadTransaction, user_id: UserID) -> int:
    return tx.value(TOLD, user_id=user_id) or 0


async def told(server: FederatedServer, user_id: str) -> int:
    """Where clients of the server were last told that the user's devices have changed; 0: never."""
    return await server.running.server.database.read(_told, UserID(user_id))
