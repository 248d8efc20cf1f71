"""The redaction algorithm of each room version."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.hashes import reference_hash
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS

VERSIONS = list(ROOM_VERSIONS)

# The lists of the specification, which has them on the pages of versions 1, 6, 8, 9 and 11.
TOP_UNTIL_10 = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "prev_state",
    "auth_events",
    "origin",
    "origin_server_ts",
    "membership",
]
TOP_SINCE_11 = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
]
POWER_LEVELS = [
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
]

EVERY_TOP_KEY = {
    *TOP_UNTIL_10,
    "redacts",
    "unsigned",
    "age_ts",
    "prev_content",
    "replaces_state",
    "org.example",
}
EVERY_CONTENT_KEY = {
    *POWER_LEVELS,
    *("membership", "creator", "join_rule", "aliases", "history_visibility", "allow", "redacts", "invite"),
    *("join_authorised_via_users_server", "notifications", "room_version", "displayname", "body", "reason"),
}
ALL_KEYS = sorted(EVERY_CONTENT_KEY)

# Kept keys of `content` by event type, from the given version on.
CONTENT: dict[str, dict[int, list[str]]] = {
    "m.room.member": {
        1: ["membership"],
        9: ["membership", "join_authorised_via_users_server"],
    },
    "m.room.create": {1: ["creator"], 11: ALL_KEYS},
    "m.room.join_rules": {1: ["join_rule"], 8: ["join_rule", "allow"]},
    "m.room.power_levels": {1: POWER_LEVELS, 11: [*POWER_LEVELS, "invite"]},
    "m.room.aliases": {1: ["aliases"], 6: []},
    "m.room.history_visibility": {1: ["history_visibility"]},
    "m.room.redaction": {1: [], 11: ["redacts"]},
    "m.room.message": {1: []},
    "m.room.name": {1: []},
    "m.room.server_acl": {1: []},
    "m.room.third_party_invite": {1: []},
    "org.example.type": {1: []},
}


@pytest.mark.parametrize("identifier", VERSIONS)
def test_kept_top_level_keys(identifier: str) -> None:
    pdu: JsonObject = dict.fromkeys(EVERY_TOP_KEY, "value")
    pdu["content"] = {}
    kept = TOP_SINCE_11 if int(identifier) >= 11 else TOP_UNTIL_10
    assert redact(pdu, ROOM_VERSIONS[identifier]) == {key: pdu[key] for key in kept}


@pytest.mark.parametrize("identifier", VERSIONS)
@pytest.mark.parametrize("event_type", CONTENT)
def test_kept_keys_of_content(identifier: str, event_type: str) -> None:
    content: JsonObject = {key: {"of": key} for key in EVERY_CONTENT_KEY}
    kept = [keys for since, keys in CONTENT[event_type].items() if since <= int(identifier)][-1]
    redacted = redact({"type": event_type, "content": content}, ROOM_VERSIONS[identifier])
    assert redacted == {"type": event_type, "content": {key: content[key] for key in kept}}


@pytest.mark.parametrize("identifier", VERSIONS)
def test_third_party_invite_keeps_signed_only(identifier: str) -> None:
    """Since version 11."""
    version = ROOM_VERSIONS[identifier]

    def kept(invite: JsonValue) -> JsonValue:
        content: JsonObject = {"membership": "invite", "third_party_invite": invite}
        redacted = redact({"type": "m.room.member", "content": content}, version)["content"]
        assert isinstance(redacted, dict)
        return redacted.get("third_party_invite", "nothing")

    signed: JsonObject = {"mxid": "@a:b", "token": "t", "signatures": {}}
    since_11 = int(identifier) >= 11
    assert kept({"display_name": "A", "signed": signed}) == ({"signed": signed} if since_11 else "nothing")
    assert kept({"display_name": "A"}) == ({} if since_11 else "nothing")
    assert kept("not an object") == "nothing"
    assert kept(["signed"]) == "nothing"


@pytest.mark.parametrize("identifier", VERSIONS)
def test_odd_events_are_redacted_too(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    assert redact({}, version) == {}
    assert redact({"type": ["m.room.create"], "content": {"creator": "@a:b"}}, version) == {
        "type": ["m.room.create"],
        "content": {},
    }
    assert redact({"content": {"membership": "join"}}, version) == {"content": {}}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["signed", "ban", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
CONTENTS = st.dictionaries(st.sampled_from([*ALL_KEYS, "third_party_invite"]), VALUES, max_size=8)
PDUS = st.fixed_dictionaries(
    {"type": st.sampled_from(list(CONTENT)), "content": CONTENTS},
    optional=dict.fromkeys(EVERY_TOP_KEY - {"type", "content"}, VALUES),
)


@given(pdu=PDUS, identifier=st.sampled_from(VERSIONS))
def test_redacting_twice_is_redacting_once(pdu: JsonObject, identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    once = redact(pdu, version)
    assert redact(once, version) == once


@given(pdu=PDUS, identifier=st.sampled_from(VERSIONS))
def test_redaction_keeps_the_reference_hash(pdu: JsonObject, identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    assert reference_hash(redact(pdu, version), version) == reference_hash(pdu, version)


@given(pdu=PDUS, identifier=st.sampled_from(VERSIONS))
def test_the_event_itself_is_left_alone(pdu: JsonObject, identifier: str) -> None:
    before = copy.deepcopy(pdu)
    redact(pdu, ROOM_VERSIONS[identifier])
    reference_hash(pdu, ROOM_VERSIONS[identifier])
    assert pdu == before
