"""What clients ask of other servers: profiles of their users, and their room directories."""

from typing import Any

import attrs
import pytest

from homeserver.runtime.clock import SystemClock
from homeserver.services.remote_profiles import FRESH_MS
from tests.api.server import Answer, Client, path_of
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, cut, mend
from tests.federation.peer import Peer, Reply, federation

PROFILE = federation("v1", "query", "profile")


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, and what the test adds."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms


async def profile(client: Client, user_id: str, *field: str) -> Answer:
    return await client.get(path_of("profile", user_id, *field))


async def test_the_profile_of_a_user_of_another_server(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    (await bob.put(path_of("profile", bob.user_id, "displayname"), {"displayname": "Bob"})).ok()
    (await bob.put(path_of("profile", bob.user_id, "org.example"), {"org.example": {"a": 1}})).ok()
    assert (await profile(alice, bob.user_id)).ok() == {"displayname": "Bob", "org.example": {"a": 1}}
    assert (await profile(alice, bob.user_id, "displayname")).ok() == {"displayname": "Bob"}
    (await profile(alice, bob.user_id, "avatar_url")).error(404, "M_NOT_FOUND")
    (await profile(alice, f"@nobody:{two.other.server_name}")).error(404, "M_NOT_FOUND")
    # Without an account, too.
    assert (await profile(two.one.running.anonymous(), bob.user_id)).ok()["displayname"] == "Bob"


async def test_an_answer_is_given_again_for_a_while(servers: Servers, peer: Peer) -> None:
    clock = MovableClock()
    one = await servers.start(clock=clock)
    alice, bob = await one.user("alice"), f"@bob:{peer.server_name}"
    said: dict[str, Any] = {"displayname": "Bob"}
    peer.answer("GET", PROFILE, lambda _: Reply(said))
    assert (await profile(alice, bob)).ok() == {"displayname": "Bob"}
    assert (await profile(alice, bob, "displayname")).ok() == {"displayname": "Bob"}
    assert len(peer.heard_at("query/profile")) == 1
    assert peer.heard_at("query/profile")[0].query == {"user_id": [bob]}
    said = {"displayname": "Robert"}
    clock.ahead_ms = FRESH_MS + 1
    assert (await profile(alice, bob)).ok() == {"displayname": "Robert"}


async def test_what_clients_get_of_it(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    said = {"displayname": ["Bob"], "avatar_url": None, "org.example": [1.5], "org.none": None}
    peer.answer("GET", PROFILE, Reply(said))
    assert (await profile(alice, f"@bob:{peer.server_name}")).ok() == {"org.example": [1.5]}


@pytest.mark.parametrize(
    ("reply", "status", "errcode"),
    [
        (Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404), 404, "M_NOT_FOUND"),
        (Reply({"errcode": "M_FORBIDDEN", "error": "no"}, 403), 403, "M_FORBIDDEN"),
        (Reply({"errcode": "M_MISSING_PARAM", "error": "no"}, 400), 502, "M_UNKNOWN"),
        (Reply({"errcode": "M_UNKNOWN_TOKEN", "error": "no"}, 401), 502, "M_UNKNOWN"),
        (Reply(b"<html>", 500), 502, "M_UNKNOWN"),
        (Reply([]), 502, "M_UNKNOWN"),
        (Reply(b'{"displayname": "a", "displayname": "b"'), 502, "M_UNKNOWN"),
        (Reply({"org.example": "x" * 200_000}), 502, "M_UNKNOWN"),
    ],
)
async def test_answers_that_are_none(
    servers: Servers, peer: Peer, reply: Reply, status: int, errcode: str
) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    peer.answer("GET", PROFILE, reply)
    (await profile(alice, f"@bob:{peer.server_name}")).error(status, errcode)


async def test_a_server_that_cannot_be_reached(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    cut(two.one, two.other)
    (await profile(alice, bob.user_id)).error(502, "M_UNKNOWN")
    mend(two.one, two.other)
    (await profile(alice, "@bob:no port:x")).error(400, "M_INVALID_PARAM")


async def directory(client: Client, server: FederatedServer, **query: object) -> Answer:
    return await client.get(path_of("publicRooms"), server=server.server_name, **query)


async def test_the_directory_of_another_server(two: Two) -> None:
    """Client-server API, "Published room directory"."""
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    made = {
        await bob.create_room(visibility="public", preset="public_chat", name=f"Room {number}"): number
        for number in range(3)
    }
    await alice.create_room(visibility="public", name="not there")
    answer = (await directory(alice, two.other)).ok()
    assert {room["room_id"] for room in answer["chunk"]} == made.keys()
    assert answer["total_room_count_estimate"] == 3
    first = (await directory(alice, two.other, limit=2)).ok()
    second = (await directory(alice, two.other, limit=2, since=first["next_batch"])).ok()
    assert {room["room_id"] for room in first["chunk"] + second["chunk"]} == made.keys()
    assert "next_batch" not in second
    answer = await alice.request(
        "POST",
        path_of("publicRooms"),
        {"filter": {"generic_search_term": "room 1", "room_types": [None]}, "limit": 5},
        query={"server": two.other.server_name},
    )
    assert [room["name"] for room in answer.ok()["chunk"]] == ["Room 1"]
    (await directory(alice, two.other, since="nonsense")).error(400, "M_INVALID_PARAM")
    (await directory(alice, two.other, limit=0)).error(400, "M_INVALID_PARAM")
    # Its own name leads to its own rooms.
    assert [room["name"] for room in (await directory(alice, two.one)).ok()["chunk"]] == ["not there"]


async def test_what_clients_get_of_a_directory(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    good = {
        "room_id": "!a:x", "name": "A", "num_joined_members": 2, "world_readable": True, "guest_can_join": False,
    }  # fmt: skip
    chunk = [good, {"room_id": "nonsense"}, {"name": "no ID"}, {**good, "name": 7}, {**good, "other": 1}]
    said = {"chunk": chunk, "next_batch": "n" * 5_000, "prev_batch": "p"}
    peer.answer("GET", federation("v1", "publicRooms"), Reply(said))
    answer = (await alice.get(path_of("publicRooms"), server=peer.server_name)).ok()
    assert answer == {"chunk": [good, good], "prev_batch": "p"}
    for reply, status, errcode in (
        (Reply({"errcode": "M_FORBIDDEN", "error": "no"}, 403), 403, "M_FORBIDDEN"),
        (Reply({"chunk": {}}), 502, "M_UNKNOWN"),
        (Reply({}, 500), 502, "M_UNKNOWN"),
    ):
        peer.answer("GET", federation("v1", "publicRooms"), reply)
        answer = await alice.get(path_of("publicRooms"), server=peer.server_name)
        answer.error(status, errcode)
