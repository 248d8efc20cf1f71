"""Client-server API, `typing.yaml`."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from homeserver.runtime.clock import SystemClock
from tests.api.server import Client, room_path, running_server
from tests.openapi import Specification


def typing_in(answer: Any, room: str) -> list[str]:
    (event,) = answer["rooms"]["join"][room]["ephemeral"]["events"]
    assert event["type"] == "m.typing"
    users: list[str] = event["content"]["user_ids"]
    return users


async def test_typing_starts_and_stops(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await alice.sync())["next_batch"]
    path = room_path(room, "typing", bob.user_id)
    for body in ({"typing": True, "timeout": 30_000}, {"typing": True}):
        assert (await bob.put(path, body)).ok() == {}
        answer = await alice.sync(since)
        assert typing_in(answer, room) == [bob.user_id]
    (await alice.put(room_path(room, "typing", alice.user_id), {"typing": True})).ok()
    assert set(typing_in(await alice.sync(since), room)) == {alice.user_id, bob.user_id}
    for body in ({"typing": False}, {"typing": False, "timeout": 5_000}):
        (await bob.put(path, body)).ok()
        assert typing_in(await alice.sync(answer["next_batch"]), room) == [alice.user_id]


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, set forward by `ahead_ms`."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms


async def test_who_says_nothing_more_stops_typing_when_the_time_is_over(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        since = (await alice.sync())["next_batch"]
        (await bob.put(room_path(room, "typing", bob.user_id), {"typing": True, "timeout": 20_000})).ok()
        answer = await alice.sync(since)
        assert typing_in(answer, room) == [bob.user_id]
        waiting = Deferred.fromCoroutine(alice.sync(answer["next_batch"], timeout=30_000))
        clock.ahead_ms = 20_001
        assert typing_in(await waiting, room) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_BAD_JSON"),
        ({"typing": "yes"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": "long"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": 1.5}, "M_BAD_JSON"),
        (b"typing", "M_NOT_JSON"),
    ],
)
async def test_what_is_malformed(alice: Client, body: object, errcode: str) -> None:
    room = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    (await alice.put(room_path(room, "typing", alice.user_id), body)).error(400, errcode)
    assert "rooms" not in await alice.sync(since)


async def test_who_may_type(alice: Client, bob: Client, guest: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    since = (await alice.sync())["next_batch"]
    path = room_path(room, "typing", bob.user_id)
    typing = {"typing": True}
    (await bob.put(path, typing)).error(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    (await bob.put(path, typing)).error(403, "M_FORBIDDEN")
    await bob.join(room)
    await bob.leave(room)
    (await bob.put(path, typing)).error(403, "M_FORBIDDEN")
    (await alice.put(path, typing)).error(403, "M_FORBIDDEN")
    (await alice.put(room_path("!none:x", "typing", alice.user_id), typing)).error(403, "M_FORBIDDEN")
    (await guest.put(room_path(room, "typing", guest.user_id), typing)).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await alice.put(room_path(room, "typing", "alice"), typing)).error(400, "M_INVALID_PARAM")
    assert (await alice.sync(since))["rooms"]["join"][room]["ephemeral"]["events"] == []
    # The longest and the shortest times are as good as any.
    for timeout in (10**30, 0, -1):
        (await alice.put(room_path(room, "typing", alice.user_id), {**typing, "timeout": timeout})).ok()
