"""Server-server API, "Policy Servers": what a room says of its own, and the signatures."""

from typing import Any

import pytest

from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.core.policy_servers import KEY_ID, PolicyServer, is_asked_about
from homeserver.core.redaction import redact
from homeserver.core.room_versions import get_room_version
from homeserver.core.signing import SigningKey, sign_event, signed_bytes

KEY = SigningKey.generate("any", seed=b"p" * 32)
OTHER_KEY = SigningKey.generate("other", seed=b"q" * 32)
VIA = ServerName("policy.example")
VERSION = get_room_version("11")
SERVER = PolicyServer(VIA, encode_base64(KEY.verify_key))


def event() -> JsonObject:
    pdu: JsonObject = {
        "type": "m.room.message",
        "content": {"body": "hello"},
        "room_id": "!room:x",
        "sender": "@alice:x",
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        "origin_server_ts": 1,
    }
    return sign_event(pdu, VERSION, "x", OTHER_KEY)


def signature(pdu: JsonObject, key: SigningKey = KEY) -> str:
    return key.sign(signed_bytes(redact(pdu, VERSION)))


def test_what_a_valid_policy_says() -> None:
    assert PolicyServer.of({"via": VIA, "public_keys": {"ed25519": "abc", "later": "x"}}) == PolicyServer(
        VIA, "abc"
    )


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": VIA},
        {"via": VIA, "public_keys": {}},
        {"via": VIA, "public_keys": {"ed25519": 5}},
        {"via": VIA, "public_keys": "abc"},
        {"via": 5, "public_keys": {"ed25519": "abc"}},
        {"via": "no server", "public_keys": {"ed25519": "abc"}},
        {"public_keys": {"ed25519": "abc"}},
    ],
)
def test_what_is_no_valid_policy(content: Any) -> None:
    assert PolicyServer.of(content) is None


def test_a_signature_with_the_rooms_key_recommends_an_event() -> None:
    pdu = event()
    assert not SERVER.recommends(pdu, VERSION)
    signed = SERVER.add(pdu, signature(pdu))
    assert SERVER.recommends(signed, VERSION)
    # As that of any other server, it covers the redacted event.
    assert SERVER.recommends(redact(signed, VERSION), VERSION)


def test_other_signatures_recommend_nothing() -> None:
    pdu = event()
    assert not SERVER.recommends(SERVER.add(pdu, signature(pdu, OTHER_KEY)), VERSION)
    assert not SERVER.recommends(SERVER.add(pdu, "nonsense"), VERSION)
    assert not SERVER.recommends(SERVER.add(pdu, signature({**pdu, "depth": 2})), VERSION)
    # The published key of the server is another one: its own events need both.
    assert not SERVER.recommends(sign_event(pdu, VERSION, VIA, KEY), VERSION)


def test_a_key_that_is_none_recommends_nothing() -> None:
    pdu = event()
    assert not PolicyServer(VIA, "!").recommends(SERVER.add(pdu, signature(pdu)), VERSION)


def test_a_signature_is_added_to_the_others() -> None:
    """ "Existing signatures might not be returned by the policy server, but should be retained.\""""
    pdu = sign_event(event(), VERSION, VIA, OTHER_KEY)
    added = SERVER.add(pdu, "abc")["signatures"]
    assert isinstance(added, dict)
    assert added.keys() == {"x", VIA}
    assert added[VIA] == {**pdu["signatures"][VIA], KEY_ID: "abc"}  # type: ignore[index,call-overload,dict-item]  # JSON


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {VIA: {}},
        {VIA: "abc"},
        {VIA: {KEY_ID: 5}},
        {VIA: {KEY_ID: "a" * 89}},
        {"other.example": {KEY_ID: "abc"}},
    ],
)
def test_what_is_no_signature_in_an_answer(answer: Any) -> None:
    assert SERVER.signature_in(answer) is None


def test_the_signature_in_an_answer() -> None:
    assert SERVER.signature_in({VIA: {KEY_ID: "abc", "ed25519:other": "def"}}) == "abc"


def test_all_but_the_policy_itself_is_asked_about() -> None:
    assert not is_asked_about("m.room.policy", "")
    assert is_asked_about("m.room.policy", "other")
    assert is_asked_about("m.room.policy", None)
    assert is_asked_about("m.room.member", "")
