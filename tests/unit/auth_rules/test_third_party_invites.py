"""Room versions, "Authorisation rules": invites that redeem a third-party invite."""

import time
from typing import Any

import nacl.signing
import pytest

from homeserver.core.event import Event
from homeserver.core.hashes import encode_base64
from homeserver.core.signing import SigningKey, sign_json
from tests.unit.event_factory import (
    ALICE,
    BOB,
    CAROL,
    VERSIONS,
    allows,
    create_event,
    make_event,
    member,
)

KEY = SigningKey.generate("0", seed=b"identity server key: thirty-two!")
OTHER_KEY = SigningKey.generate("0", seed=b"not the identity server's key...")
# A key whose Base64 needs both of the characters that the alphabets spell differently.
URL_KEY = next(
    key
    for key in (SigningKey.generate("0", seed=seed.to_bytes(32)) for seed in range(10_000))
    if {"+", "/"} <= set(encode_base64(key.verify_key))
)


def public(key: SigningKey) -> str:
    return encode_base64(key.verify_key)


def issued(version: str, sender: str = ALICE, token: str = "token", **keys: Any) -> Event:
    content = {"display_name": "b...", **(keys or {"public_key": public(KEY)})}
    return make_event(version, "m.room.third_party_invite", sender, content, token)


def proof(key: SigningKey = KEY, **fields: Any) -> dict[str, Any]:
    return dict(sign_json({"mxid": BOB, "token": "token", **fields}, "id.example", key))


def redeemed(version: str, signed: Any, sender: str = ALICE) -> Event:
    invite = {"display_name": "b...", "signed": signed}
    content = {"membership": "invite", "third_party_invite": invite}
    return make_event(version, "m.room.member", sender, content, BOB)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_proven_invite_is_allowed_whatever_the_sender_is_now(version: str) -> None:
    for membership in ("join", "leave", "ban"):
        state = [create_event(version), member(version, ALICE, membership), issued(version)]
        assert allows(redeemed(version, proof()), *state)
    levels = make_event(version, "m.room.power_levels", ALICE, {"invite": 100}, "")
    assert allows(redeemed(version, proof()), create_event(version), issued(version), levels)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_condition(version: str) -> None:
    create = create_event(version)
    state = [create, issued(version)]
    banned = member(version, BOB, "ban")
    assert not allows(redeemed(version, proof()), *state, banned, why="banned")
    for invite in (None, 1, {}, {"signed": None}, {"signed": "proof"}):
        content = {"membership": "invite", "third_party_invite": invite}
        event = make_event(version, "m.room.member", ALICE, content, BOB)
        assert not allows(event, *state, member(version, ALICE, "join"), why="signed proof")
    for missing in ("mxid", "token"):
        signed = proof()
        del signed[missing]
        assert not allows(redeemed(version, signed), *state, why="an mxid and a token")
    assert not allows(redeemed(version, proof(mxid=CAROL)), *state, why="about the invited user")
    for token in ("other", "", 1, None, ["token"]):
        assert not allows(redeemed(version, proof(token=token)), *state, why="has the third-party invite")
    assert not allows(redeemed(version, proof(), sender=CAROL), *state, why="in the name of its sender")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_signature_is_by_one_of_the_keys(version: str) -> None:
    create = create_event(version)
    wrong, right = public(OTHER_KEY), public(KEY)
    key_sets: list[tuple[dict[str, Any], bool]] = [
        ({"public_key": right}, True),
        ({"public_key": right + "="}, True),
        ({"public_key": wrong}, False),
        ({"public_key": wrong, "public_keys": [{"public_key": right}]}, True),
        ({"public_keys": [{"public_key": wrong}, {"public_key": right}]}, True),
        ({"public_keys": [{"public_key": wrong}]}, False),
        ({"public_keys": [right]}, False),
        ({"public_keys": {"public_key": right}}, False),
        ({"public_keys": [None, 1, {"public_key": 1}, {"public_key": "?"}, {"public_key": right}]}, True),
        ({"public_key": right[:20]}, False),
        ({"display_name": "no key"}, False),
    ]
    for keys, expected in key_sets:
        assert allows(redeemed(version, proof()), create, issued(version, **keys)) is expected, keys


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_come_in_either_alphabet(version: str) -> None:
    url_safe = public(URL_KEY).replace("+", "-").replace("/", "_")
    for spelling in (public(URL_KEY), url_safe):
        state = [create_event(version), issued(version, public_key=spelling)]
        assert allows(redeemed(version, proof(URL_KEY)), *state)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_signed_cannot_be_changed(version: str) -> None:
    state = [create_event(version), issued(version)]
    forged = {**proof(mxid=CAROL), "mxid": BOB}
    assert not allows(redeemed(version, forged), *state, why="signed by one of its keys")
    unsigned = {"mxid": BOB, "token": "token"}
    malformed: list[Any] = [None, [], {"id.example": "?"}, {"id.example": {"ed25519:0": "?"}}]
    for signatures in malformed:
        signed = {**unsigned, "signatures": signatures}
        assert not allows(redeemed(version, signed), *state, why="signed by one of its keys")
    other_algorithm = {**unsigned, "signatures": {"id.example": {"rsa:0": "aaaa"}}}
    assert not allows(redeemed(version, other_algorithm), *state)


def test_one_good_signature_among_bad_ones_is_enough() -> None:
    signed = sign_json(proof(OTHER_KEY), "other.example", KEY)
    assert allows(redeemed("11", signed), create_event("11"), issued("11"))


def test_a_heap_of_keys_and_signatures_costs_no_time() -> None:
    """A hundred thousand pairs of a key and a signature would be verified for seconds."""
    seeds = (number.to_bytes(32) for number in range(300))
    keys = [{"public_key": encode_base64(bytes(nacl.signing.SigningKey(seed).verify_key))} for seed in seeds]
    signed = proof(OTHER_KEY)
    signature = signed["signatures"]["id.example"]["ed25519:0"]
    signed["signatures"] = {"id.example": {f"ed25519:{number}": signature for number in range(300)}}
    state = [create_event("11"), issued("11", public_keys=keys)]
    started = time.process_time()
    assert not allows(redeemed("11", signed), *state, why="few keys and signatures")
    assert time.process_time() - started < 0.5
