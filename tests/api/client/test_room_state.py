"""Client-server API, `room_state.yaml`, the reading of state in `rooms.yaml`, and "Guest Access"."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from homeserver.config.sections import Registration
from tests.api.server import (
    SERVER_NAME,
    SHARED_SECRET,
    Client,
    TestServer,
    path_of,
    room_path,
    running_server,
)
from tests.openapi import Specification


async def types_in(client: Client, room: str) -> set[str]:
    return {event["type"] for event in (await client.get(room_path(room, "state"))).ok()}


async def test_state_is_set_and_read(alice: Client) -> None:
    room = await alice.create_room()
    event_id = await alice.set_state(room, "m.room.name", {"name": "One"})
    assert (await alice.get(room_path(room, "state", "m.room.name"))).ok() == {"name": "One"}
    assert (await alice.get(room_path(room, "state", "m.room.name", ""))).ok() == {"name": "One"}
    event = (await alice.get(room_path(room, "state", "m.room.name", ""), format="event")).ok()
    assert event.pop("unsigned").keys() == {"age"}
    assert isinstance(event.pop("origin_server_ts"), int)
    assert event == {
        "event_id": event_id,
        "room_id": room,
        "sender": alice.user_id,
        "type": "m.room.name",
        "state_key": "",
        "content": {"name": "One"},
    }
    assert event_id in {each["event_id"] for each in (await alice.get(room_path(room, "state"))).ok()}


async def test_every_key_has_its_own_state(alice: Client) -> None:
    room = await alice.create_room()
    for key in ("", "a", "a/b", "#%?é 😀", "."):
        await alice.set_state(room, "org.example.t/t", {"key": key}, key)
    for key in ("", "a", "a/b", "#%?é 😀", "."):
        assert (await alice.get(room_path(room, "state", "org.example.t/t", key))).ok() == {"key": key}
    (await alice.get(room_path(room, "state", "org.example.t/t", "b"))).error(404, "M_NOT_FOUND")


async def test_the_key_may_be_left_out_with_or_without_its_slash(alice: Client) -> None:
    room = await alice.create_room()
    path = room_path(room, "state", "m.room.topic")
    first = (await alice.put(path, {"topic": "a"})).ok()["event_id"]
    second = (await alice.put(path + "/", {"topic": "b"})).ok()["event_id"]
    assert first != second
    assert (await alice.get(path + "/")).ok() == {"topic": "b"}
    old = path.replace("/v3/", "/r0/")
    assert (await alice.get(old)).ok() == {"topic": "b"}


async def test_setting_what_is_set_makes_no_event(alice: Client) -> None:
    room = await alice.create_room()
    first = await alice.set_state(room, "m.room.name", {"name": "One"})
    since = (await alice.sync())["next_batch"]
    assert await alice.set_state(room, "m.room.name", {"name": "One"}) == first
    assert "rooms" not in await alice.sync(since)


async def test_state_needs_power(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await bob.put(room_path(room, "state", "m.room.name", ""), {"name": "x"})).error(403, "M_FORBIDDEN")
    await bob.join(room)
    (await bob.put(room_path(room, "state", "m.room.name", ""), {"name": "x"})).error(403, "M_FORBIDDEN")
    key = room_path(room, "state", "org.example.mine", alice.user_id)
    levels = (await alice.get(room_path(room, "state", "m.room.power_levels", ""))).ok()
    levels["events"]["org.example.mine"] = 0
    await alice.set_state(room, "m.room.power_levels", levels)
    (await bob.put(key, {})).error(403, "M_FORBIDDEN")
    await bob.set_state(room, "org.example.mine", {"mine": True}, bob.user_id)


@pytest.mark.parametrize(
    ("event_type", "content", "status", "errcode"),
    [
        ("m.room.create", {}, 403, "M_FORBIDDEN"),
        ("m.room.create", {"creator": "@alice:test.example"}, 403, "M_FORBIDDEN"),
        ("m.room.power_levels", {"users": []}, 403, "M_FORBIDDEN"),
        ("m.room.encryption", {}, 400, "M_BAD_JSON"),
        ("m.room.encryption", {"algorithm": 1}, 400, "M_BAD_JSON"),
        ("m.room.server_acl", {"deny": ["evil.example"]}, 400, "M_INVALID_PARAM"),
        ("m.room.server_acl", {"allow": ["*"], "deny": ["test.*"]}, 400, "M_INVALID_PARAM"),
        ("m.room.server_acl", {"allow": "*"}, 400, "M_INVALID_PARAM"),
        ("m.room.server_acl", {"allow": ["*"], "deny": ["evil.example"]}, 200, ""),
        ("m.room.name", {"name": 1.5}, 400, "M_BAD_JSON"),
        ("m.room.name", {"name": "x" * 70_000}, 413, "M_TOO_LARGE"),
        ("x" * 256, {}, 413, "M_TOO_LARGE"),
    ],
)
async def test_content_that_has_no_place_in_a_room(
    alice: Client, event_type: str, content: Any, status: int, errcode: str
) -> None:
    room = await alice.create_room()
    answer = await alice.put(room_path(room, "state", event_type, ""), content)
    if status == 200:
        answer.ok()
    else:
        answer.error(status, errcode)


async def test_unknown_rooms(alice: Client) -> None:
    path = room_path("!nowhere:test.example", "state")
    (await alice.put(path + "/m.room.name", {})).error(404, "M_NOT_FOUND")
    (await alice.get(path)).error(403, "M_FORBIDDEN")
    (await alice.get(path + "/m.room.name")).error(403, "M_FORBIDDEN")


# Reading


async def test_strangers_read_world_readable_rooms_only(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await bob.get(room_path(room, "state"))).error(403, "M_FORBIDDEN")
    (await bob.get(room_path(room, "state", "m.room.create", ""))).error(403, "M_FORBIDDEN")
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert "m.room.create" in await types_in(bob, room)
    assert (await bob.get(room_path(room, "state", "m.room.join_rules", ""))).ok() == {"join_rule": "public"}


@pytest.mark.parametrize("visibility", ["shared", "invited", "World_readable", 5])
async def test_the_invited_do_not_read_state(alice: Client, bob: Client, visibility: object) -> None:
    room = await alice.create_room(
        invite=[bob.user_id],
        initial_state=[{"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}],
    )
    (await bob.get(room_path(room, "state"))).error(403, "M_FORBIDDEN")


async def test_who_comes_back_reads_the_current_state(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await bob.leave(room)
    await alice.set_state(room, "m.room.topic", {"topic": "while you were out"})
    await alice.invite(room, bob.user_id)
    assert "m.room.topic" not in await types_in(bob, room)  # invited, but not there yet
    await bob.join(room)
    assert "m.room.topic" in await types_in(bob, room)


async def test_the_format_is_one_of_two(alice: Client) -> None:
    room = await alice.create_room()
    path = room_path(room, "state", "m.room.create", "")
    assert (await alice.get(path, format="content")).ok() == {"room_version": "12"}
    (await alice.get(path, format="xml")).error(400, "M_INVALID_PARAM")


# Canonical aliases


async def set_aliases(client: Client, room: str, **content: object) -> Any:
    return await client.put(room_path(room, "state", "m.room.canonical_alias", ""), content)


async def test_new_aliases_must_lead_to_the_room(alice: Client) -> None:
    room = await alice.create_room(room_alias_name="here")
    await alice.create_room(room_alias_name="there")
    here, there = f"#here:{SERVER_NAME}", f"#there:{SERVER_NAME}"
    (await set_aliases(alice, room, alias=here)).ok()
    for bad in (there, f"#nowhere:{SERVER_NAME}", "#far:elsewhere.example"):
        (await set_aliases(alice, room, alias=bad)).error(400, "M_BAD_ALIAS")
        (await set_aliases(alice, room, alias=here, alt_aliases=[here, bad])).error(400, "M_BAD_ALIAS")
    for bad in ("here", "#here", "@here:test.example"):
        (await set_aliases(alice, room, alias=bad)).error(400, "M_INVALID_PARAM")
    answer = await alice.request(
        "PUT", room_path(room, "state", "m.room.canonical_alias", ""), {"alias": [here]}
    )
    answer.error(400, "M_INVALID_PARAM")
    answer = await alice.request(
        "PUT", room_path(room, "state", "m.room.canonical_alias", ""), {"alt_aliases": here}
    )
    answer.error(400, "M_INVALID_PARAM")
    (await set_aliases(alice, room)).ok()
    (await set_aliases(alice, room, alias="", alt_aliases=[])).ok()


async def test_aliases_that_are_there_may_stay_and_go(alice: Client, bob: Client) -> None:
    """Deleting the alias behind the state event's back does not lock the event."""
    room = await alice.create_room(room_alias_name="one", preset="public_chat")
    one, two = f"#one:{SERVER_NAME}", f"#two:{SERVER_NAME}"
    (await alice.put(path_of("directory", "room", two), {"room_id": room})).ok()
    (await set_aliases(alice, room, alias=one, alt_aliases=[two])).ok()
    # Somebody without power over the event deletes the alias that they have made.
    await bob.join(room)
    three = f"#three:{SERVER_NAME}"
    (await bob.put(path_of("directory", "room", three), {"room_id": room})).ok()
    (await set_aliases(alice, room, alias=one, alt_aliases=[two, three])).ok()
    (await bob.delete(path_of("directory", "room", three))).ok()
    (await set_aliases(alice, room, alias=three, alt_aliases=[three, two, one])).ok()
    (await set_aliases(alice, room, alias=one, alt_aliases=[two])).ok()
    (await set_aliases(alice, room, alias=three)).error(400, "M_BAD_ALIAS")


# Memberships as state


async def test_a_name_for_one_room(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    own = room_path(room, "state", "m.room.member", bob.user_id)
    (await bob.put(own, {"membership": "join", "displayname": "Bobby", "org.example.x": 1})).ok()
    assert (await bob.get(own)).ok() == {"membership": "join", "displayname": "Bobby", "org.example.x": 1}
    (await bob.put(own, {"membership": "join", "displayname": None})).ok()
    assert (await bob.get(own)).ok() == {"membership": "join", "displayname": None}
    (await bob.put(own, {"membership": "join"})).ok()
    assert (await bob.get(own)).ok() == {"membership": "join", "displayname": "bob"}
    (await bob.request("PUT", own, {"membership": "join", "displayname": 5})).error(400, "M_BAD_JSON")
    long = {"membership": "join", "displayname": "x" * 1000}
    (await bob.put(own, long)).error(400, "M_INVALID_PARAM")
    other = {"membership": "join", "avatar_url": "http://tracker.example/"}
    (await bob.put(own, other)).error(400, "M_INVALID_PARAM")


async def test_all_memberships_can_be_set_as_state(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    path = room_path(room, "state", "m.room.member", bob.user_id)
    (await bob.put(path, {"membership": "join"})).error(403, "M_FORBIDDEN")
    (await alice.put(path, {"membership": "join"})).error(403, "M_FORBIDDEN")
    (await alice.put(path, {"membership": "invite", "displayname": "Silly"})).ok()
    assert (await alice.get(path)).ok() == {"membership": "invite", "displayname": "bob"}
    (await bob.put(path, {"membership": "join"})).ok()
    (await bob.put(path, {"membership": "leave", "reason": "bye"})).ok()
    (await alice.put(path, {"membership": "ban"})).ok()
    (await bob.put(path, {"membership": "leave"})).error(403, "M_FORBIDDEN")
    (await alice.put(path, {"membership": "leave"})).ok()
    (await alice.put(path, {"membership": "invite"})).ok()
    (await alice.put(path, {"membership": "leave"})).ok()


@pytest.mark.parametrize(
    ("state_key", "content", "status", "errcode"),
    [
        ("bob", {"membership": "invite"}, 400, "M_INVALID_PARAM"),
        ("", {"membership": "invite"}, 400, "M_INVALID_PARAM"),
        ("@bob:test.example", {}, 400, "M_BAD_JSON"),
        ("@bob:test.example", {"membership": 5}, 400, "M_BAD_JSON"),
        ("@bob:test.example", {"membership": "friend"}, 403, "M_FORBIDDEN"),
        ("@bob:127.0.0.1:9", {"membership": "invite"}, 502, "M_UNKNOWN"),
    ],
)
async def test_memberships_that_cannot_be(
    alice: Client, state_key: str, content: Any, status: int, errcode: str
) -> None:
    room = await alice.create_room()
    path = room_path(room, "state", "m.room.member", state_key)
    (await alice.request("PUT", path, content)).error(status, errcode)


async def test_nobody_vouches_for_oneself(alice: Client, bob: Client) -> None:
    """`join_authorised_via_users_server` is the server's to write."""
    room = await alice.create_room(
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": []}}]
    )
    path = room_path(room, "state", "m.room.member", bob.user_id)
    forged = {"membership": "join", "join_authorised_via_users_server": alice.user_id}
    (await bob.put(path, forged)).error(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    (await bob.put(path, forged)).ok()
    assert "join_authorised_via_users_server" not in (await bob.get(path)).ok()


# Guests


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A server that takes guests."""
    registration = Registration(enabled=True, shared_secret=SHARED_SECRET, allow_guests=True)
    async with running_server(database_url, tmp_path, specification, registration=registration) as running:
        yield running


@pytest.fixture
async def guest(server: TestServer) -> Client:
    anonymous = server.anonymous()
    made = (await anonymous.post("/_matrix/client/v3/register", {}, kind="guest")).ok()
    return attrs.evolve(
        anonymous,
        user_id=made["user_id"],
        device_id=made["device_id"],
        access_token=made["access_token"],
    )


async def test_guests_join_where_they_may(alice: Client, guest: Client) -> None:
    closed = await alice.create_room(preset="public_chat")
    absent = await alice.create_room(
        preset="public_chat",
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "yes"}}],
    )
    for room in (closed, absent):
        (await guest.post(room_path(room, "join"))).error(403, "M_GUEST_ACCESS_FORBIDDEN")
        path = room_path(room, "state", "m.room.member", guest.user_id)
        (await guest.put(path, {"membership": "join"})).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    await alice.set_state(closed, "m.room.guest_access", {"guest_access": "can_join"})
    (await guest.post(room_path(closed, "join"))).ok()
    await guest.send(closed, "hello")
    await guest.leave(closed)


async def test_guests_go_when_they_are_no_longer_admitted(alice: Client, bob: Client, guest: Client) -> None:
    room = await alice.create_room(
        preset="public_chat",
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
    )
    await bob.join(room)
    (await guest.post(room_path(room, "join"))).ok()
    await alice.set_state(room, "m.room.guest_access", {"guest_access": "can_join", "really": True})
    path = room_path(room, "state", "m.room.member", guest.user_id)
    assert (await alice.get(path)).ok()["membership"] == "join"
    await alice.set_state(room, "m.room.guest_access", {"guest_access": "forbidden"})
    assert (await alice.get(path)).ok()["membership"] == "leave"
    # (The specification's schema for this answer permits no event, as every event is an object, too.)
    event = (await alice.request("GET", path, query={"format": "event"}, check=False)).ok()
    assert event["sender"] == guest.user_id
    own = room_path(room, "state", "m.room.member", bob.user_id)
    assert (await alice.get(own)).ok()["membership"] == "join"


async def test_guests_do_no_more_than_guests_may(alice: Client, bob: Client, guest: Client) -> None:
    room = await alice.create_room(
        preset="public_chat",
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
        power_level_content_override={"events": {}, "state_default": 0},
    )
    (await guest.post(room_path(room, "join"))).ok()
    await guest.set_state(room, "m.room.name", {"name": "by a guest"})
    assert "m.room.name" in await types_in(guest, room)
    forbidden = "M_GUEST_ACCESS_FORBIDDEN"
    path = room_path(room, "state", "m.room.member", bob.user_id)
    (await guest.put(path, {"membership": "invite"})).error(403, forbidden)
    target = {"user_id": bob.user_id}
    for what in ("invite", "kick", "ban", "unban"):
        (await guest.post(room_path(room, what), target)).error(403, forbidden)
    (await guest.post(path_of("createRoom"))).error(403, forbidden)
    (await guest.post(path_of("join", room))).error(403, forbidden)
    (await guest.post(path_of("knock", room))).error(403, forbidden)
    (await guest.post(room_path(room, "forget"))).error(403, forbidden)
    (await guest.get(room_path(room, "aliases"))).error(403, forbidden)
    alias = path_of("directory", "room", f"#guest:{SERVER_NAME}")
    (await guest.put(alias, {"room_id": room})).error(403, forbidden)
