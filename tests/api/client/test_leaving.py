"""Client-server API, `leaving.yaml`."""

from typing import Any

from tests.api.server import Client, path_of, room_path


async def rooms(client: Client, section: str, **query: Any) -> Any:
    return (await client.sync(**query)).get("rooms", {}).get(section, {})


async def forget(client: Client, room: str) -> Any:
    return await client.post(room_path(room, "forget"))


async def test_who_has_left_sees_no_more(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    (await bob.post(room_path(room, "leave"), {"reason": "tired"})).ok()
    await alice.send(room, "a secret")
    await alice.set_state(room, "m.room.name", {"name": "later"})
    state = (await bob.get(room_path(room, "state"))).ok()
    assert "m.room.name" not in {event["type"] for event in state}
    own = (await bob.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert own == {"membership": "leave", "displayname": "bob", "reason": "tired"}
    assert (await bob.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}
    (await bob.put(room_path(room, "send", "m.room.message", "1"), {})).error(403, "M_FORBIDDEN")


async def test_leaving_again_changes_nothing(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    await bob.leave(room)
    since = (await alice.sync())["next_batch"]
    await bob.leave(room)
    assert "rooms" not in await alice.sync(since)


async def test_an_invitation_is_rejected_by_leaving(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.leave(room)
    assert await rooms(bob, "invite") == {}
    member = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert member["membership"] == "leave"
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")


async def test_one_cannot_leave_where_one_has_not_been(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room()
    (await bob.post(room_path(room, "leave"))).error(403, "M_FORBIDDEN")
    (await alice.post(room_path(room, "ban"), {"user_id": carol.user_id})).ok()
    (await carol.post(room_path(room, "leave"))).error(403, "M_FORBIDDEN")
    (await bob.post(room_path("!nowhere:test.example", "leave"))).error(404, "M_NOT_FOUND")


async def test_a_room_must_be_left_before_it_is_forgotten(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    (await forget(alice, room)).error(400, "M_UNKNOWN")
    (await forget(bob, room)).error(400, "M_UNKNOWN")
    outside = await alice.create_room()
    (await forget(bob, outside)).error(400, "M_UNKNOWN")


async def test_a_forgotten_room_is_not_shown_and_not_read(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    await bob.leave(room)
    with_left = {"filter": {"room": {"include_leave": True}}}
    assert room in await rooms(bob, "leave", **with_left)
    (await forget(bob, room)).ok()
    assert room not in await rooms(bob, "leave", **with_left)
    (await bob.get(room_path(room, "state"))).error(403, "M_FORBIDDEN")
    (await bob.get(room_path(room, "state", "m.room.create", ""))).error(403, "M_FORBIDDEN")
    (await forget(bob, room)).ok()


async def test_a_ban_does_not_bring_a_forgotten_room_back_but_an_invitation_does(
    alice: Client, bob: Client
) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    await bob.leave(room)
    (await forget(bob, room)).ok()
    since = (await bob.sync())["next_batch"]
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    (await alice.post(room_path(room, "unban"), {"user_id": bob.user_id})).ok()
    assert "rooms" not in await bob.sync(since)
    await alice.invite(room, bob.user_id)
    assert room in (await bob.sync(since))["rooms"]["invite"]


async def test_who_was_banned_after_leaving_sees_nothing_of_the_time_between(
    alice: Client, bob: Client
) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    await bob.leave(room)
    await alice.set_state(room, "m.room.topic", {"topic": "about bob"})
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    state = (await bob.get(room_path(room, "state"))).ok()
    assert "m.room.topic" not in {event["type"] for event in state}


async def test_forgetting_what_is_not_there_is_no_error(alice: Client) -> None:
    """The answer to the first request may have been lost, and the room removed since."""
    (await forget(alice, "!nowhere:test.example")).ok()
