"""Run by the environment of this server: keys for devices, which are read as a list of pairs of user and device."""

import hashlib
import json
import sys
from base64 import b64encode

from nacl.signing import SigningKey


def text_of(data: bytes) -> str:
    """Unpadded Base64."""
    return b64encode(data).decode().rstrip("=")


def keys_of(user_id: str, device_id: str) -> dict[str, object]:
    """The keys of a device, signed by it."""
    key = SigningKey(hashlib.sha256(f"{user_id} {device_id}".encode()).digest())
    keys: dict[str, object] = {
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "device_id": device_id,
        "keys": {
            f"curve25519:{device_id}": text_of(hashlib.sha256(device_id.encode()).digest()),
            f"ed25519:{device_id}": text_of(bytes(key.verify_key)),
        },
        "user_id": user_id,
    }
    canonical = json.dumps(keys, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return {**keys, "signatures": {user_id: {f"ed25519:{device_id}": text_of(key.sign(canonical).signature)}}}


json.dump([keys_of(*each) for each in json.load(sys.stdin)], sys.stdout)
