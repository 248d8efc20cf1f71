"""Client-server API, `profile.yaml`."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.api.server import Client, TestServer, path_of, room_path

MXC = "mxc://example.org/SEsfnsuifSDFSSEF"


async def member_of(reader: Client, room: str, user_id: str) -> Any:
    return (await reader.get(room_path(room, "state", "m.room.member", user_id))).ok()


async def test_fields_are_set_read_and_deleted(server: TestServer, alice: Client) -> None:
    path = path_of("profile", alice.user_id)
    stranger = server.anonymous()
    profile: dict[str, object] = {
        "displayname": "Älice 💜",
        "avatar_url": MXC,
        "m.tz": "Europe/London",
        "org.example.list": [1, 1.5, None, {"a": ""}],
        "org.example.nothing": None,
    }
    for key, value in profile.items():
        assert (await alice.put(f"{path}/{key}", {key: value})).ok() == {}
        assert (await stranger.get(f"{path}/{key}")).ok() == {key: value}
    assert (await stranger.get(path)).ok() == profile
    for key in profile:
        for _ in range(2):  # the second time there is nothing to delete
            assert (await alice.delete(f"{path}/{key}")).ok() == {}
        (await stranger.get(f"{path}/{key}")).error(404, "M_NOT_FOUND")
    assert (await stranger.get(path)).ok() == {}


async def test_a_new_name_is_told_to_the_rooms(alice: Client, bob: Client) -> None:
    """Client-server API, "Events on Change of Profile Information"."""
    rooms = [await alice.create_room(preset="public_chat") for _ in range(2)]
    for room in rooms:
        await bob.join(room)
    since = (await bob.sync())["next_batch"]
    (await alice.put(path_of("profile", alice.user_id, "displayname"), {"displayname": "Alice"})).ok()
    (await alice.put(path_of("profile", alice.user_id, "avatar_url"), {"avatar_url": MXC})).ok()
    expected = {"membership": "join", "displayname": "Alice", "avatar_url": MXC}
    pending = set(rooms)
    while pending:
        answer = await Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
        since = answer["next_batch"]
        for room, section in answer.get("rooms", {}).get("join", {}).items():
            if any(event["content"] == expected for event in section["timeline"]["events"]):
                pending.discard(room)
    for room in rooms:
        assert await member_of(bob, room, alice.user_id) == expected
    later = await alice.create_room()
    assert await member_of(alice, later, alice.user_id) == expected


async def test_the_empty_string_takes_the_avatar_away(alice: Client) -> None:
    """As clients have always done it."""
    path = path_of("profile", alice.user_id, "avatar_url")
    (await alice.put(path, {"avatar_url": MXC})).ok()
    (await alice.put(path, {"avatar_url": ""})).ok()
    (await alice.get(path)).error(404, "M_NOT_FOUND")


async def test_a_profile_that_is_not_there(server: TestServer, alice: Client) -> None:
    stranger = server.anonymous()
    for user_id, status, errcode in (
        ("@nobody:test.example", 404, "M_NOT_FOUND"),
        ("@somebody:127.0.0.1:1", 502, "M_UNKNOWN"),
    ):
        (await stranger.get(path_of("profile", user_id))).error(status, errcode)
        (await stranger.get(path_of("profile", user_id, "displayname"))).error(status, errcode)
    (await stranger.get(path_of("profile", "alice"))).error(400, "M_INVALID_PARAM")
    (await stranger.get(path_of("profile", alice.user_id, "Not a key"))).error(400, "M_INVALID_PARAM")
    (await stranger.get(path_of("profile", alice.user_id, "org.example.none"))).error(404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("key", "body", "errcode"),
    [
        ("displayname", b"{", "M_NOT_JSON"),
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", b"", "M_MISSING_PARAM"),
        ("displayname", ["displayname"], "M_BAD_JSON"),
        ("displayname", {"displayname": 5}, "M_BAD_JSON"),
        ("displayname", {"displayname": "x" * 257}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "https://example.org/a.png"}, "M_INVALID_PARAM"),
        ("Not a key", {"Not a key": 1}, "M_INVALID_PARAM"),
        ("a" * 256, {"a" * 256: 1}, "M_KEY_TOO_LARGE"),
        ("org.example", {"org.example": "x" * 65_536}, "M_PROFILE_TOO_LARGE"),
    ],
)
async def test_what_is_refused(alice: Client, key: str, body: object, errcode: str) -> None:
    before = (await alice.get(path_of("profile", alice.user_id))).ok()
    (await alice.put(path_of("profile", alice.user_id, key), body)).error(400, errcode)
    assert (await alice.get(path_of("profile", alice.user_id))).ok() == before


async def test_whose_profile_it_is(server: TestServer, alice: Client, bob: Client) -> None:
    path = path_of("profile", alice.user_id, "displayname")
    for body in ({"displayname": "x"}, {"displayname": ""}):
        (await server.anonymous().put(path, body)).error(401, "M_MISSING_TOKEN")
        (await bob.put(path, body)).error(403, "M_FORBIDDEN")
    (await server.anonymous().delete(path)).error(401, "M_MISSING_TOKEN")
    (await bob.delete(path)).error(403, "M_FORBIDDEN")


async def test_guests_have_a_display_name_only(guest: Client) -> None:
    path = path_of("profile", guest.user_id)
    (await guest.put(f"{path}/displayname", {"displayname": "G"})).ok()
    assert (await guest.get(path)).ok()["displayname"] == "G"
    (await guest.delete(f"{path}/displayname")).ok()
    forbidden = "M_GUEST_ACCESS_FORBIDDEN"
    (await guest.put(f"{path}/avatar_url", {"avatar_url": MXC})).error(403, forbidden)
    (await guest.delete(f"{path}/avatar_url")).error(403, forbidden)
    (await guest.put(f"{path}/m.tz", {"m.tz": "UTC"})).error(403, forbidden)
