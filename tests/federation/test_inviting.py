"""Inviting users of other servers. Server-server API, "Inviting to a room" and "Leaving Rooms"."""

import pytest

from tests.api.server import Client, path_of, room_path
from tests.federation.conftest import Two
from tests.federation.harness import cut, until
from tests.federation.meetings import VERSIONS, join_via, membership, section, sees, state_of


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invitation_is_shown_and_accepted(two: Two, version: str) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(room_version=version, name="Club")
    await alice.invite(room, bob.user_id)
    shown = (await section(bob, room, "invite"))["invite_state"]["events"]
    state = {(event["type"], event["state_key"]): event for event in shown}
    assert all(event.keys() == {"type", "state_key", "sender", "content"} for event in shown)
    assert state["m.room.name", ""]["content"] == {"name": "Club"}
    assert state["m.room.create", ""]["sender"] == alice.user_id
    assert shown[-1]["content"]["membership"] == "invite"
    assert shown[-1]["sender"] == alice.user_id
    assert await membership(alice, room, bob.user_id) == "invite"
    await bob.join(room)
    assert await state_of(bob, room) == await state_of(alice, room)
    assert room not in (await bob.sync())["rooms"].get("invite", {})


async def test_a_waiting_sync_learns_of_the_invitation(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    since = (await bob.sync())["next_batch"]
    await alice.invite(room, bob.user_id)
    synced = await bob.sync(since, timeout=20_000)
    assert room in synced["rooms"]["invite"]


async def test_an_invitation_is_rejected(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await alice.invite(room, bob.user_id)
    await section(bob, room, "invite")
    await bob.leave(room)
    assert await membership(alice, room, bob.user_id) == "leave"
    synced = await bob.sync(filter={"room": {"include_leave": True}})
    assert room not in synced["rooms"].get("invite", {})
    timeline = synced["rooms"]["leave"][room]["timeline"]["events"]
    assert [event["content"]["membership"] for event in timeline] == ["leave"]
    (await bob.post(room_path(room, "forget"))).ok()
    assert "rooms" not in await bob.sync(filter={"room": {"include_leave": True}})


async def test_an_invitation_is_rejected_though_nobody_hears_it(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await alice.invite(room, bob.user_id)
    await section(bob, room, "invite")
    cut(two.one, two.other)
    await bob.leave(room)
    assert await membership(alice, room, bob.user_id) == "invite"
    await section(bob, room, "leave")
    assert room not in (await bob.sync())["rooms"].get("invite", {}) if "rooms" in await bob.sync() else True


async def test_who_is_not_invited_has_nothing_to_reject(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    (await bob.post(room_path(room, "leave"))).error(404, "M_NOT_FOUND")
    carol = await two.other.user("carol")
    await alice.invite(room, carol.user_id)
    await section(carol, room, "invite")
    (await bob.post(room_path(room, "leave"))).error(403, "M_FORBIDDEN")
    await carol.leave(room)
    await carol.leave(room)


async def test_an_invitation_is_taken_back(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await alice.invite(room, bob.user_id)
    await section(bob, room, "invite")
    (await alice.post(room_path(room, "kick"), {"user_id": bob.user_id})).ok()
    await section(bob, room, "leave")
    (await bob.post(path_of("join", room), via=[two.one.server_name])).error(403, "M_FORBIDDEN")


async def test_a_new_room_has_its_guests_from_elsewhere(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    preset = "trusted_private_chat"
    room = await alice.create_room(preset=preset, invite=[bob.user_id], is_direct=True)
    shown = (await section(bob, room, "invite"))["invite_state"]["events"]
    assert shown[-1]["content"]["is_direct"] is True
    await bob.join(room)
    await bob.set_state(room, "m.room.topic", {"topic": "as equals"})


async def test_a_room_is_made_though_a_guest_cannot_be_asked(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    cut(two.one, two.other)
    room = await alice.create_room(invite=[bob.user_id])
    assert await membership(alice, room, bob.user_id) is None
    (await alice.post(room_path(room, "invite"), {"user_id": bob.user_id})).error(502, "M_UNKNOWN")


async def block_invites(client: Client) -> None:
    path = path_of("user", client.user_id, "account_data", "m.invite_permission_config")
    (await client.put(path, {"default_action": "block"})).ok()


async def test_a_refusal_reaches_the_inviter(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await block_invites(bob)
    (await alice.post(room_path(room, "invite"), {"user_id": bob.user_id})).error(403, "M_INVITE_BLOCKED")
    nobody = f"@nobody:{two.other.server_name}"
    (await alice.post(room_path(room, "invite"), {"user_id": nobody})).error(403, "M_FORBIDDEN")
    assert await membership(alice, room, bob.user_id) is None
    assert await membership(alice, room, nobody) is None


async def test_who_may_not_invite_troubles_nobody(two: Two) -> None:
    alice, bob, carol = await two.one.user("alice"), await two.other.user("bob"), await two.one.user("carol")
    room = await alice.create_room(power_level_content_override={"invite": 50})
    await alice.invite(room, carol.user_id)
    await carol.join(room)
    path = room_path(room, "invite")
    (await carol.post(path, {"user_id": bob.user_id})).error(403, "M_FORBIDDEN")
    assert "rooms" not in await bob.sync()
    await alice.invite(room, bob.user_id)
    await alice.invite(room, bob.user_id)
    (await carol.post(path, {"user_id": bob.user_id})).error(403, "M_FORBIDDEN")


async def test_a_user_of_a_server_in_the_room_is_invited(two: Two) -> None:
    alice, bob, carol = (
        await two.one.user("alice"),
        await two.other.user("bob"),
        await two.other.user("carol"),
    )
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    await alice.invite(room, carol.user_id)
    await section(carol, room, "invite")
    await sees(bob, room, carol.user_id, "invite")
    await carol.join(room)
    await sees(alice, room, carol.user_id, "join")


async def test_a_knock_is_answered_by_an_invitation(two: Two) -> None:
    """Server-server API, "Knocking upon a room"."""
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    rule = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room = await alice.create_room(initial_state=rule, name="Club")
    answer = await bob.post(path_of("knock", room), {"reason": "please"}, via=[two.one.server_name])
    assert answer.ok() == {"room_id": room}
    shown = (await section(bob, room, "knock"))["knock_state"]["events"]
    assert {"m.room.create", "m.room.name", "m.room.join_rules"} <= {event["type"] for event in shown}
    assert shown[-1]["content"] == {"membership": "knock", "reason": "please"} | _names(shown[-1]["content"])
    assert await membership(alice, room, bob.user_id) == "knock"
    await alice.invite(room, bob.user_id)
    await section(bob, room, "invite")
    await bob.join(room)
    assert await state_of(bob, room) == await state_of(alice, room)


def _names(content: dict[str, str]) -> dict[str, str]:
    return {key: content[key] for key in ("displayname", "avatar_url") if key in content}


async def test_a_knock_is_taken_back(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    rule = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room = await alice.create_room(initial_state=rule)
    (await bob.post(path_of("knock", room), via=[two.one.server_name])).ok()
    await bob.leave(room)
    assert await membership(alice, room, bob.user_id) == "leave"
    await section(bob, room, "leave")


async def test_where_one_cannot_knock(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    (await bob.post(path_of("knock", room), via=[two.one.server_name])).error(403, "M_FORBIDDEN")
    old = await alice.create_room(room_version="6")
    (await bob.post(path_of("knock", old), via=[two.one.server_name])).error(403, "M_FORBIDDEN")


async def test_the_last_one_leaves_and_the_others_see_it(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    await bob.leave(room)
    await sees(alice, room, bob.user_id, "leave")
    synced = await bob.sync(filter={"room": {"include_leave": True}})
    assert room in synced["rooms"]["leave"]


async def test_an_account_that_is_closed_rejects_its_invitations(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room()
    await alice.invite(room, bob.user_id)
    await section(bob, room, "invite")
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": bob.user_id}}
    auth["password"] = "a password of the tests"
    (await bob.post(path_of("account", "deactivate"), {"auth": auth})).ok()

    async def is_gone() -> bool:
        return await membership(alice, room, bob.user_id) == "leave"

    await until(is_gone, what="the invitation is rejected")
