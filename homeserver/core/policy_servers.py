"""Policy servers: what a room says about its own, and their signatures. Spec: server-server API, "Policy Servers"."""

from typing import Final, Self

import msgspec

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.event import StateKey
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion
from homeserver.core.signing import verify_event

POLICY: Final[StateKey] = ("m.room.policy", "")

KEY_ID: Final = "ed25519:policy_server"
"""It is always called so, whatever the server calls its other keys."""

MOST_SIGNATURE_CHARACTERS: Final = 88
"""An ed25519 signature in Base64, padded or not."""


class PolicyServer(msgspec.Struct, frozen=True):
    """The server that is asked about events of a room, and the key (in Base64) with which it says yes."""

    via: ServerName
    public_key: str

    @classmethod
    def of(cls, content: JsonObject) -> Self | None:
        """Read the content of `m.room.policy`, `None` if that is not valid.

        A room uses the server only if that has a joined user there, too.
        Spec: "Determining if a Policy Server is enabled in a room".
        """
        via, keys = content.get("via"), content.get("public_keys")
        key = keys.get("ed25519") if isinstance(keys, dict) else None
        if not isinstance(via, str) or not isinstance(key, str):
            return None
        try:
            return cls(parse_server_name(via), key)
        except InvalidParam:
            # No user can be of such a server.
            return None

    def recommends(self, pdu: JsonObject, room_version: RoomVersion) -> bool:
        """Whether the event has the server's valid signature. Spec: "Validating Policy Server signatures"."""
        try:
            verify_event(pdu, room_version, self.via, KEY_ID, decode_base64(self.public_key))
        except (InvalidSignature, BadJson, ValueError):
            return False
        return True

    def signature_in(self, answer: JsonObject) -> str | None:
        """The signature in what the server answers when it is asked to sign, `None` if there is none."""
        signatures = answer.get(self.via)
        signature = signatures.get(KEY_ID) if isinstance(signatures, dict) else None
        if not isinstance(signature, str) or len(signature) > MOST_SIGNATURE_CHARACTERS:
            return None
        return signature

    def add(self, pdu: JsonObject, signature: str) -> JsonObject:
        """A copy of the event with the server's signature; all others stay."""
        signatures = pdu.get("signatures")
        others = signatures if isinstance(signatures, dict) else {}
        own = others.get(self.via)
        mine = own if isinstance(own, dict) else {}
        return {**pdu, "signatures": {**others, self.via: {**mine, KEY_ID: signature}}}


def is_asked_about(type: str, state_key: str | None) -> bool:
    """Whether policy servers are asked about such an event: about all but the one that names the policy server."""
    return (type, state_key) != POLICY
