"""Server-server API, "Auth events selection"."""

from typing import Any

import pytest

from homeserver.core.auth_events import select_auth_event_keys
from homeserver.core.room_versions import ROOM_VERSIONS
from tests.unit.event_factory import ALICE, BOB, CAROL, VERSIONS

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")


def member(user: str) -> tuple[str, str]:
    return ("m.room.member", user)


def selected(
    version: str, type: str, sender: str, state_key: str | None, **content: Any
) -> set[tuple[str, str]]:
    keys = select_auth_event_keys(type, sender, state_key, content, ROOM_VERSIONS[version])
    assert len(keys) == len(set(keys))
    assert keys == select_auth_event_keys(type, sender, state_key, content, ROOM_VERSIONS[version])
    return set(keys)


def base(version: str, sender: str) -> set[tuple[str, str]]:
    always = {POWER_LEVELS, member(sender)}
    return always if version == "12" else always | {CREATE}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_create_event_cites_nothing(version: str) -> None:
    assert selected(version, "m.room.create", ALICE, "") == set()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("type", "key"), [("m.room.message", None), ("m.room.topic", ""), ("m.room.x", BOB)])
def test_most_events_cite_what_gives_the_sender_power(version: str, type: str, key: str | None) -> None:
    content = {"membership": "join", "third_party_invite": {"signed": {"token": "t"}}}
    assert selected(version, type, ALICE, key, **content) == base(version, ALICE)


@pytest.mark.parametrize("version", VERSIONS)
def test_membership_events_cite_the_target_and_what_lets_them_in(version: str) -> None:
    own, others = base(version, ALICE), base(version, ALICE) | {member(BOB)}
    for membership in ("join", "knock"):
        assert selected(version, "m.room.member", ALICE, ALICE, membership=membership) == own | {JOIN_RULES}
    assert selected(version, "m.room.member", ALICE, BOB, membership="invite") == others | {JOIN_RULES}
    assert selected(version, "m.room.member", ALICE, ALICE, membership="leave") == own
    assert selected(version, "m.room.member", ALICE, BOB, membership="leave") == others
    assert selected(version, "m.room.member", ALICE, BOB, membership="ban") == others


@pytest.mark.parametrize("version", VERSIONS)
def test_redeeming_cites_the_third_party_invite(version: str) -> None:
    expected = base(version, ALICE) | {member(BOB), JOIN_RULES}

    def invite(third_party_invite: Any, membership: str = "invite") -> set[tuple[str, str]]:
        content = {"membership": membership, "third_party_invite": third_party_invite}
        return selected(version, "m.room.member", ALICE, BOB, **content)

    assert invite({"signed": {"token": "t"}}) == expected | {("m.room.third_party_invite", "t")}
    assert invite({"signed": {"token": "t"}}, "join") == expected
    malformed_invites: list[Any] = [None, 1, [], {}, {"signed": 1}, {"signed": {}}, {"signed": {"token": 1}}]
    for malformed in malformed_invites:
        assert invite(malformed) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_a_restricted_join_cites_who_authorises_it(version: str) -> None:
    own = base(version, ALICE) | {JOIN_RULES}

    def join(authoriser: Any, membership: str = "join") -> set[tuple[str, str]]:
        content = {"membership": membership, "join_authorised_via_users_server": authoriser}
        return selected(version, "m.room.member", ALICE, ALICE, **content)

    assert join(CAROL) == (own | {member(CAROL)} if int(version) >= 8 else own)
    assert join(ALICE) == own
    assert join(1) == own
    assert join(CAROL, "invite") == own
    assert join(CAROL, "leave") == own - {JOIN_RULES}
