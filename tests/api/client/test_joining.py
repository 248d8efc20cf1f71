"""Client-server API, `joining.yaml`, and "Restricted rooms"."""

from typing import Any

import pytest

from tests.api.server import SERVER_NAME, Client, path_of, room_path


async def member(client: Client, room: str, user_id: str) -> Any:
    return (await client.get(room_path(room, "state", "m.room.member", user_id))).ok()


async def restricted(client: Client, *allowed: str, version: str = "12", rule: str = "restricted") -> str:
    """A room that members of other rooms may join."""
    allow = [{"type": "m.room_membership", "room_id": room} for room in allowed]
    return await client.create_room(
        room_version=version,
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}}],
    )


async def test_a_public_room_is_joined_by_id_or_alias(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(preset="public_chat", room_alias_name="pub")
    assert (await bob.post(room_path(room, "join"))).ok() == {"room_id": room}
    assert (await carol.post(path_of("join", f"#pub:{SERVER_NAME}"))).ok() == {"room_id": room}
    assert (await carol.post(path_of("join", room), via="elsewhere.example")).ok() == {"room_id": room}
    assert (await member(alice, room, bob.user_id)) == {"membership": "join", "displayname": "bob"}
    assert (await bob.get(path_of("joined_rooms"))).ok() == {"joined_rooms": [room]}


async def test_the_reason_and_the_profile_are_in_the_event(alice: Client, bob: Client) -> None:
    (await bob.put(path_of("profile", bob.user_id, "avatar_url"), {"avatar_url": "mxc://a/b"})).ok()
    room = await alice.create_room(preset="public_chat")
    (await bob.post(room_path(room, "join"), {"reason": "looking for help"})).ok()
    assert await member(alice, room, bob.user_id) == {
        "membership": "join",
        "displayname": "bob",
        "avatar_url": "mxc://a/b",
        "reason": "looking for help",
    }


async def test_joining_again_changes_nothing(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await alice.sync())["next_batch"]
    assert (await bob.post(room_path(room, "join"), {"reason": "again"})).ok() == {"room_id": room}
    assert "rooms" not in await alice.sync(since)


async def test_one_needs_an_invitation_where_one_needs_one(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")
    (await bob.get(room_path(room, "state"))).error(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    await bob.join(room)
    assert (await bob.get(room_path(room, "state"))).status == 200


async def test_who_has_left_needs_a_new_invitation(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    await bob.leave(room)
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")


async def test_who_is_banned_cannot_join(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("name", "status", "errcode"),
    [
        ("!nowhere:test.example", 404, "M_NOT_FOUND"),
        ("!nowhere:127.0.0.1:9", 502, "M_UNKNOWN"),
        ("#nowhere:test.example", 404, "M_NOT_FOUND"),
        ("#nowhere:127.0.0.1:9", 502, "M_UNKNOWN"),
        ("nowhere", 400, "M_INVALID_PARAM"),
        ("#nowhere", 400, "M_INVALID_PARAM"),
    ],
)
async def test_rooms_that_are_not_there(alice: Client, name: str, status: int, errcode: str) -> None:
    (await alice.post(path_of("join", name))).error(status, errcode)


async def test_rooms_are_named_by_id_where_an_id_is_wanted(alice: Client) -> None:
    await alice.create_room(preset="public_chat", room_alias_name="pub")
    (await alice.post(room_path(f"#pub:{SERVER_NAME}", "join"))).error(400, "M_INVALID_PARAM")


async def test_proofs_of_what_was_never_issued_are_refused(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    signed = {"sender": alice.user_id, "mxid": bob.user_id, "token": "t", "signatures": {}}
    (await bob.post(room_path(room, "join"), {"third_party_signed": signed})).error(403, "M_FORBIDDEN")
    malformed = signed | {"mxid": alice.user_id}
    (await bob.post(room_path(room, "join"), {"third_party_signed": malformed})).error(400, "M_INVALID_PARAM")
    (await bob.post(room_path(room, "join"), {"reason": 5})).error(400, "M_BAD_JSON")


@pytest.mark.parametrize(
    ("version", "rule"), [("8", "restricted"), ("10", "knock_restricted"), ("12", "restricted")]
)
async def test_members_of_another_room_may_join_a_restricted_one(
    alice: Client, bob: Client, carol: Client, version: str, rule: str
) -> None:
    club = await alice.create_room(invite=[bob.user_id])
    room = await restricted(alice, "!unknown:elsewhere.example", club, version=version, rule=rule)
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")  # invited to the club is not in it
    await bob.join(club)
    await bob.join(room)
    content = await member(alice, room, bob.user_id)
    assert content["join_authorised_via_users_server"] == alice.user_id
    (await carol.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")
    # The condition is for joining, not for staying; and an invitation makes it void.
    await bob.leave(club)
    assert room in (await bob.get(path_of("joined_rooms"))).ok()["joined_rooms"]
    await alice.invite(room, carol.user_id)
    await carol.join(room)
    assert "join_authorised_via_users_server" not in await member(alice, room, carol.user_id)


async def test_nobody_is_let_in_where_nobody_can_let_in(alice: Client, bob: Client, carol: Client) -> None:
    """The one with the power has left; the rest cannot invite."""
    club = await alice.create_room(invite=[bob.user_id, carol.user_id])
    await bob.join(club)
    await carol.join(club)
    room = await restricted(alice, club)
    await bob.join(room)
    await alice.set_state(room, "m.room.power_levels", {"invite": 50, "users": {}})
    await alice.leave(room)
    (await carol.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")


async def test_any_member_vouches_where_all_can_invite(alice: Client, bob: Client, carol: Client) -> None:
    club = await alice.create_room(invite=[bob.user_id, carol.user_id])
    await bob.join(club)
    await carol.join(club)
    room = await restricted(alice, club)
    await bob.join(room)
    await alice.leave(room)
    await carol.join(room)
    content = await member(carol, room, carol.user_id)
    assert content["join_authorised_via_users_server"] == bob.user_id


async def test_before_version_8_restricted_rooms_are_closed(alice: Client, bob: Client) -> None:
    club = await alice.create_room(invite=[bob.user_id])
    await bob.join(club)
    room = await restricted(alice, club, version="7")
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")
