"""Rules for invites that redeem a third-party invite.

Spec: room versions, "Authorisation rules": the rule for `m.room.member`, membership `invite`; client-server
API, "Third-party invites".
"""

from typing import Final

import msgspec

from homeserver.core.auth_rules.not_allowed import NotAllowed
from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson
from homeserver.core.event import Event, StateMap
from homeserver.core.hashes import decode_base64
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.signing import key_ids_of, verify_json

MAX_VERIFICATIONS: Final = 100
"""How many pairs of a signature and a key are tried. One event can hold hundreds of each, and trying every
pair would take most of a minute; a real invite has one or two. An event with more pairs is refused, whatever
their order."""

_URL_SAFE_TO_STANDARD: Final = str.maketrans("-_", "+/")


class InviteKey(msgspec.Struct, frozen=True):
    """A key of a third-party invite, as the event spells it and as bytes.

    `validity_url` is where to ask whether it is still valid, whatever the event has there; None if it has nothing.
    """

    public_key: str
    verify_key: bytes
    validity_url: str | None


def check_third_party_invite(
    event: Event, target: str, state: StateMap[Event], target_membership: JsonValue
) -> None:
    """Whether an invite with `third_party_invite` in its content redeems a third-party invite of the room.

    Errors: NotAllowed.
    """
    # The target is not banned.
    if target_membership == "ban":
        raise NotAllowed("A user who is banned cannot be invited")
    # third_party_invite has a property signed.
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    if not isinstance(signed, dict):
        raise NotAllowed("A redeemed third-party invite has the signed proof")
    # signed has properties mxid and token.
    if "mxid" not in signed or "token" not in signed:
        raise NotAllowed("The proof of a third-party invite has an mxid and a token")
    # mxid is the state key.
    if signed["mxid"] != target:
        raise NotAllowed("The proof of a third-party invite is about the invited user")
    # The room has a third-party invite with that token.
    token = signed["token"]
    issued = state.get(("m.room.third_party_invite", token)) if isinstance(token, str) else None
    if issued is None:
        raise NotAllowed("The room has the third-party invite that is redeemed")
    # Its sender is the sender of this event.
    if issued.sender != event.sender:
        raise NotAllowed("A third-party invite is redeemed in the name of its sender")
    # One of the signatures of signed is by one of the keys of the third-party invite.
    if signing_key(signed, issued.content) is None:
        raise NotAllowed("The proof of a third-party invite is signed by one of its keys")


def signing_key(signed: JsonObject, content: JsonObject) -> InviteKey | None:
    """The key of a third-party invite with this content by which the proof `signed` is signed, None for none.

    Errors: NotAllowed for more keys and signatures than can be tried.
    """
    signatures = signed.get("signatures")
    if not isinstance(signatures, dict):
        return None
    keys = _keys(content)
    claims = [(server, key_id) for server in signatures for key_id in key_ids_of(signed, server)]
    if len(claims) * len(keys) > MAX_VERIFICATIONS:
        raise NotAllowed("A third-party invite and its proof have few keys and signatures")
    return next((key for key in keys if any(_is_signed(signed, *claim, key) for claim in claims)), None)


def _keys(content: JsonObject) -> list[InviteKey]:
    """The keys of a third-party invite: its `public_key`, and that of each of its `public_keys`."""
    listed = content.get("public_keys")
    entries = listed if isinstance(listed, list) else []
    keys: dict[bytes, InviteKey] = {}
    for entry in (content, *entries):
        text = entry.get("public_key") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(text, str):
            continue
        try:
            # Either alphabet is allowed here.
            key = decode_base64(text.translate(_URL_SAFE_TO_STANDARD))
        except ValueError:
            continue
        if len(key) == 32 and key not in keys:
            url = entry.get("key_validity_url")
            keys[key] = InviteKey(text, key, None if url is None else str(url))
    return list(keys.values())


def _is_signed(signed: JsonObject, server: str, key_id: str, key: InviteKey) -> bool:
    try:
        verify_json(signed, server, key_id, key.verify_key)
    except (InvalidSignature, BadJson):
        return False
    return True
