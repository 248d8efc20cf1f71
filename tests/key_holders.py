"""Devices and users with keys, as clients make them."""

import hashlib
from typing import Any

import attrs
from nacl.signing import SigningKey as Ed25519

from homeserver.core.hashes import encode_base64
from homeserver.core.signing import SigningKey, sign_json
from tests.api.server import Answer, Client, path_of

Keys = dict[str, Any]

ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
SIGNED = "signed_curve25519"

UPLOAD = path_of("keys", "upload")
QUERY = path_of("keys", "query")
CLAIM = path_of("keys", "claim")
CHANGES = path_of("keys", "changes")
DEVICE_SIGNING = path_of("keys", "device_signing", "upload")
SIGNATURES = path_of("keys", "signatures", "upload")


def _ed25519(name: str) -> Ed25519:
    return Ed25519(hashlib.sha256(f"the key {name}".encode()).digest())


def public(name: str) -> str:
    """The public key that the name stands for."""
    return encode_base64(bytes(_ed25519(name).verify_key))


def signed(value: Keys, user_id: str, key_id: str, name: str) -> Keys:
    """The object with one more signature, by the key of that name."""
    return sign_json(value, user_id, SigningKey(f"ed25519:{key_id}", _ed25519(name)))


@attrs.frozen
class Device:
    """A device's keys; another `name` stands for others."""

    user_id: str
    device_id: str
    name: str = "first"

    @property
    def key_name(self) -> str:
        return f"{self.user_id} {self.device_id} {self.name}"

    def keys(self, **changes: Any) -> Keys:
        """Identity keys, signed; `changes` come before the signature."""
        keys = {
            "user_id": self.user_id,
            "device_id": self.device_id,
            "algorithms": ALGORITHMS,
            "keys": {
                f"ed25519:{self.device_id}": public(self.key_name),
                f"curve25519:{self.device_id}": public(f"{self.key_name} curve"),
            },
            **changes,
        }
        return self.signed(keys)

    def signed(self, value: Keys) -> Keys:
        return signed(value, self.user_id, self.device_id, self.key_name)

    def one_time_keys(self, *key_ids: str, fallback: bool = False) -> Keys:
        extra = {"fallback": True} if fallback else {}
        return {
            f"{SIGNED}:{key_id}": self.signed({"key": public(f"{self.key_name} {key_id}"), **extra})
            for key_id in key_ids
        }


@attrs.frozen
class Identity:
    """A user's cross-signing keys; another `name` stands for others."""

    user_id: str
    name: str = "first"

    def key_name(self, usage: str) -> str:
        return f"{self.user_id} {self.name} {usage}"

    def public(self, usage: str) -> str:
        return public(self.key_name(usage))

    def key(self, usage: str) -> Keys:
        key = self.public(usage)
        value: Keys = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{key}": key}}
        return value if usage == "master" else self.signed("master", value)

    def signed(self, usage: str, value: Keys) -> Keys:
        """Signed by the key of that usage."""
        return signed(value, self.user_id, self.public(usage), self.key_name(usage))

    def upload(self, *usages: str) -> Keys:
        """The body that sets the keys, all of them if none are named."""
        chosen = usages or ("master", "self_signing", "user_signing")
        return {f"{usage}_key": self.key(usage) for usage in chosen}


def device_of(client: Client) -> Device:
    return Device(client.user_id, client.device_id)


async def upload(client: Client, *key_ids: str, fallback: str | None = None) -> Device:
    """Have the client's device upload its keys, and one-time keys with these IDs."""
    device = device_of(client)
    body: Keys = {"device_keys": device.keys()}
    if key_ids:
        body["one_time_keys"] = device.one_time_keys(*key_ids)
    if fallback is not None:
        body["fallback_keys"] = device.one_time_keys(fallback, fallback=True)
    (await client.post(UPLOAD, body)).ok()
    return device


async def query(client: Client, *user_ids: str) -> Any:
    return (await client.post(QUERY, {"device_keys": {user_id: [] for user_id in user_ids}})).ok()


async def claim(client: Client, other: Client, algorithm: str = SIGNED) -> Keys:
    """The key that the client gets of the other's device; empty if there is none."""
    body = {"one_time_keys": {other.user_id: {other.device_id: algorithm}}}
    answer = (await client.post(CLAIM, body)).ok()
    assert not answer.get("failures")
    key: Keys = answer["one_time_keys"].get(other.user_id, {}).get(other.device_id, {})
    return key


async def refused(client: Client, path: str, body: object) -> Answer:
    """The answer to a request that the specification's schema may not allow."""
    return await client.request("POST", path, body, check=False)
