"""Room versions, "Authorisation rules": the rule for `m.room.member`."""

from typing import Any

import pytest

from homeserver.core.event import Event
from tests.unit.event_factory import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    VERSIONS,
    allows,
    create_event,
    make_event,
    member,
    versions_with,
    versions_without,
)

MEMBERSHIPS = [None, "invite", "join", "knock", "leave", "ban", "unheard"]
ON_INVITATION = frozenset({"invite", "join"})


def change(version: str, sender: str, target: str, membership: Any, **content: Any) -> Event:
    return make_event(version, "m.room.member", sender, {"membership": membership, **content}, target)


def room(
    version: str,
    *members: tuple[str, str | None],
    join_rule: str | None = None,
    levels: dict[str, Any] | None = None,
) -> list[Event]:
    """The state of a room that Alice made (and left, unless she is among the members)."""
    state = [create_event(version)]
    state += [member(version, user, membership) for user, membership in members if membership is not None]
    if join_rule is not None:
        state.append(make_event(version, "m.room.join_rules", ALICE, {"join_rule": join_rule}, ""))
    if levels is not None:
        state.append(make_event(version, "m.room.power_levels", ALICE, levels, ""))
    return state


# The event itself


@pytest.mark.parametrize("version", VERSIONS)
def test_it_has_a_state_key_and_a_membership(version: str) -> None:
    why = "has a state key and a membership"
    state = room(version, (ALICE, "join"), join_rule="public")
    without_key = make_event(version, "m.room.member", ALICE, {"membership": "join"}, None)
    assert not allows(without_key, *state, why=why)
    assert not allows(make_event(version, "m.room.member", ALICE, {}, ALICE), *state, why=why)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("membership", ["unheard", "", "JOIN", None, 1, ["join"], {"join": 1}])
def test_its_membership_is_a_known_one(version: str, membership: Any) -> None:
    state = room(version, (ALICE, "join"), join_rule="public")
    assert not allows(change(version, ALICE, ALICE, membership), *state, why="one that the room version")


@pytest.mark.parametrize("version", VERSIONS)
def test_there_must_be_a_create_event(version: str) -> None:
    state = room(version, join_rule="public")[1:]
    assert not allows(change(version, BOB, BOB, "join"), *state, why="has a create event")


# Join


@pytest.mark.parametrize("version", VERSIONS)
def test_the_creator_joins_right_after_the_create_event(version: str) -> None:
    create = create_event(version)
    content = {"membership": "join"}

    def join(user: str, *prev: str) -> Event:
        return make_event(version, "m.room.member", user, content, user, prev=prev)

    assert allows(join(ALICE, create.event_id), create)
    assert not allows(join(BOB, create.event_id), create)
    assert not allows(join(ALICE, "$other:a.example"), create)
    assert not allows(join(ALICE, create.event_id, "$other:a.example"), create)
    assert not allows(join(ALICE), create)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_creator_is_content_creator_or_the_sender(version: str) -> None:
    create = create_event(version, creator=BOB)
    by_content = version not in ("11", "12")
    create.content["creator"] = ALICE
    create.content["additional_creators"] = [CAROL]
    for user, expected in ((ALICE, by_content), (BOB, not by_content), (CAROL, False)):
        join = make_event(
            version, "m.room.member", user, {"membership": "join"}, user, prev=[create.event_id]
        )
        assert allows(join, create) is expected


@pytest.mark.parametrize("version", VERSIONS)
def test_one_joins_for_oneself(version: str) -> None:
    state = room(version, (ALICE, "join"), (BOB, "invite"), join_rule="public")
    assert not allows(change(version, ALICE, BOB, "join"), *state, why="for themselves only")
    assert not allows(change(version, ALICE, CAROL, "join"), *state, why="for themselves only")


def who_may_join(version: str, join_rule: str | None) -> frozenset[str | None]:
    """The memberships from which one may join, with nobody vouching."""
    number = int(version)
    since = {
        "public": (1, frozenset(MEMBERSHIPS) - {"ban"}),
        "invite": (1, ON_INVITATION),
        None: (1, ON_INVITATION),
        "knock": (7, ON_INVITATION),
        "restricted": (8, ON_INVITATION),
        "knock_restricted": (10, ON_INVITATION),
    }
    first, memberships = since.get(join_rule, (99, frozenset()))
    return memberships if number >= first else frozenset()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "join_rule", [None, "public", "invite", "knock", "restricted", "knock_restricted", "private", "unheard"]
)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_joining_under_each_join_rule(version: str, join_rule: str | None, membership: str | None) -> None:
    state = room(version, (ALICE, "join"), (BOB, membership), join_rule=join_rule)
    expected = membership in who_may_join(version, join_rule)
    assert allows(change(version, BOB, BOB, "join"), *state) is expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("value", [None, 1, ["public"], {"public": True}])
def test_a_join_rule_that_is_no_string_lets_nobody_join(version: str, value: Any) -> None:
    rules = make_event(version, "m.room.join_rules", ALICE, {"join_rule": value}, "")
    assert not allows(change(version, BOB, BOB, "join"), *room(version, (BOB, "invite")), rules)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("join_rule", ["restricted", "knock_restricted"])
@pytest.mark.parametrize(
    ("authoriser", "membership", "level", "vouches"),
    [
        (CAROL, "join", 50, True),
        (CAROL, "join", 49, False),
        (CAROL, "invite", 50, False),
        (CAROL, "leave", 50, False),
        (CAROL, None, 50, False),
        (None, None, 50, False),
        (1, None, 50, False),
    ],
)
def test_a_restricted_join_is_authorised_by_a_member_who_can_invite(
    version: str, join_rule: str, authoriser: Any, membership: str | None, level: int, vouches: bool
) -> None:
    state = room(
        version,
        (BOB, "leave"),
        (CAROL, membership),
        join_rule=join_rule,
        levels={"users": {CAROL: level}, "invite": 50},
    )
    content = {} if authoriser is None else {"join_authorised_via_users_server": authoriser}
    known = version in versions_with("restricted_joins" if join_rule == "restricted" else "knock_restricted")
    assert allows(change(version, BOB, BOB, "join", **content), *state) is (vouches and known)


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_can_vouch_for_a_banned_user(version: str) -> None:
    state = room(version, (ALICE, "join"), (BOB, "ban"), join_rule="restricted")
    event = change(version, BOB, BOB, "join", join_authorised_via_users_server=ALICE)
    assert not allows(event, *state, why="banned")


# Invite


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sender_membership", MEMBERSHIPS)
def test_only_the_joined_invite(version: str, sender_membership: str | None) -> None:
    state = room(version, (BOB, sender_membership))
    assert allows(change(version, BOB, CAROL, "invite"), *state) is (sender_membership == "join")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target_membership", MEMBERSHIPS)
def test_only_who_is_outside_is_invited(version: str, target_membership: str | None) -> None:
    state = room(version, (BOB, "join"), (CAROL, target_membership))
    expected = target_membership not in ("join", "ban")
    assert allows(change(version, BOB, CAROL, "invite"), *state) is expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("levels", "allowed"),
    [
        (None, True),
        ({}, True),
        ({"invite": 50}, False),
        ({"invite": 50, "users": {BOB: 50}}, True),
        ({"invite": 50, "users": {BOB: 49}}, False),
        ({"invite": 50, "users_default": 50}, True),
        ({"users": {BOB: -1}}, False),
        ({"invite": -2, "users": {BOB: -1}}, True),
    ],
)
def test_inviting_needs_the_invite_level(version: str, levels: dict[str, Any] | None, allowed: bool) -> None:
    state = room(version, (BOB, "join"), levels=levels)
    assert allows(change(version, BOB, CAROL, "invite"), *state) is allowed


# Leave: by oneself


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_leaving(version: str, membership: str | None) -> None:
    state = room(version, (ALICE, "join"), (BOB, membership))
    can_leave = {"invite", "join"} | ({"knock"} if version in versions_with("knocking") else set())
    assert allows(change(version, BOB, BOB, "leave"), *state) is (membership in can_leave)


# Leave: kick and unban; ban

POWER = [
    # sender, target, kick, ban: kick allowed, unban allowed, ban allowed
    (50, 0, 50, 50, True, True, True),
    (49, 0, 50, 50, False, False, False),
    (50, 50, 50, 50, False, False, False),
    (50, 49, 50, 50, True, True, True),
    (60, 0, 50, 70, True, False, False),
    (60, 0, 70, 50, False, False, True),
    (100, 99, 0, 0, True, True, True),
    (0, -1, 0, 0, True, True, True),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("sender", "target", "kick", "ban", "may_kick", "may_unban", "may_ban"), POWER)
def test_kick_unban_and_ban_by_power(
    version: str,
    sender: int,
    target: int,
    kick: int,
    ban: int,
    may_kick: bool,
    may_unban: bool,
    may_ban: bool,
) -> None:
    levels = {"users": {BOB: sender, CAROL: target}, "kick": kick, "ban": ban}
    for membership in ("join", "invite", "knock", "leave", None):
        state = room(version, (BOB, "join"), (CAROL, membership), levels=levels)
        assert allows(change(version, BOB, CAROL, "leave"), *state) is may_kick
        assert allows(change(version, BOB, CAROL, "ban"), *state) is may_ban
    banned = room(version, (BOB, "join"), (CAROL, "ban"), levels=levels)
    assert allows(change(version, BOB, CAROL, "leave"), *banned) is may_unban
    assert allows(change(version, BOB, CAROL, "ban"), *banned) is may_ban


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_only_the_joined_kick_and_ban(version: str, membership: str | None) -> None:
    state = room(version, (BOB, membership), (CAROL, "join"), levels={"users": {BOB: 100}})
    assert allows(change(version, BOB, CAROL, "leave"), *state) is (membership == "join")
    assert allows(change(version, BOB, CAROL, "ban"), *state) is (membership == "join")


@pytest.mark.parametrize("version", VERSIONS)
def test_one_cannot_ban_oneself(version: str) -> None:
    state = room(version, (BOB, "join"), levels={"users": {BOB: 100}})
    assert not allows(change(version, BOB, BOB, "ban"), *state)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_power_levels_the_creator_rules(version: str) -> None:
    state = room(version, (ALICE, "join"), (BOB, "join"), (CAROL, "join"))
    for membership in ("leave", "ban"):
        assert allows(change(version, ALICE, BOB, membership), *state)
        assert not allows(change(version, BOB, CAROL, membership), *state)
        assert not allows(change(version, BOB, ALICE, membership), *state)


@pytest.mark.parametrize("version", VERSIONS)
def test_creators_cannot_be_removed_where_they_are_privileged(version: str) -> None:
    create = create_event(version, additional_creators=[DAVE])
    levels = make_event(version, "m.room.power_levels", ALICE, {"users": {BOB: 2**53 - 1}}, "")
    joined = [member(version, user, "join") for user in (ALICE, BOB, DAVE)]
    privileged = version == "12"
    for membership in ("leave", "ban"):
        for creator in (ALICE, DAVE):
            by_bob = change(version, BOB, creator, membership)
            assert allows(by_bob, create, levels, *joined) is not privileged
        by_creator = change(version, DAVE, BOB, membership)
        assert allows(by_creator, create, levels, *joined) is privileged
        # Nobody has more power than they: not even another creator.
        assert not allows(change(version, DAVE, ALICE, membership), create, levels, *joined)


# Knock


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "join_rule", [None, "public", "invite", "knock", "restricted", "knock_restricted", "private"]
)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_knocking(version: str, join_rule: str | None, membership: str | None) -> None:
    state = room(version, (ALICE, "join"), (BOB, membership), join_rule=join_rule)
    under = {"knock": 7, "knock_restricted": 10}
    expected = int(version) >= under.get(join_rule or "", 99) and membership not in ("ban", "invite", "join")
    assert allows(change(version, BOB, BOB, "knock"), *state) is expected
    assert not allows(change(version, ALICE, BOB, "knock"), *state)


# Other servers in a room that is not federated


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("federate", "open_to_all"), [(False, False), (True, True), (None, True), ("false", True), (0, True)]
)
def test_a_room_can_keep_other_servers_out(version: str, federate: Any, open_to_all: bool) -> None:
    create = create_event(version, content={"m.federate": federate})
    rules = make_event(version, "m.room.join_rules", ALICE, {"join_rule": "public"}, "")
    neighbour = "@neighbour:a.example"
    assert allows(change(version, neighbour, neighbour, "join"), create, rules)
    assert allows(change(version, BOB, BOB, "join"), create, rules) is open_to_all
    joined = [member(version, ALICE, "join"), member(version, BOB, "join")]
    said = make_event(version, "m.room.message", BOB)
    assert allows(said, create, rules, *joined) is open_to_all


@pytest.mark.parametrize("version", versions_without("knocking"))
def test_a_knocking_member_of_old_rooms_cannot_be(version: str) -> None:
    state = room(version, (ALICE, "join"), join_rule="knock")
    assert not allows(change(version, BOB, BOB, "knock"), *state, why="one that the room version knows")
