"""Client-server API, `presence.yaml`."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from homeserver.config.sections import Presence
from homeserver.core.presence import GRACE_MS, IDLE_MS
from homeserver.runtime.clock import SystemClock
from tests.api.server import Client, TestServer, path_of, running_server
from tests.openapi import Specification


def status_path(user_id: str) -> str:
    return path_of("presence", user_id, "status")


def presence_in(answer: Any, user_id: str) -> Any:
    (event,) = (each for each in answer["presence"]["events"] if each["sender"] == user_id)
    assert event["type"] == "m.presence"
    return event["content"]


async def test_presence_is_set_seen_and_told(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    assert (await bob.get(status_path(alice.user_id))).ok()["presence"] == "offline"
    since = (await bob.sync())["next_batch"]
    there = {"presence": "unavailable", "status_msg": "I am thère."}
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
    assert (await alice.put(status_path(alice.user_id), there)).ok() == {}
    answer = await waiting
    told = presence_in(answer, alice.user_id)
    assert told.pop("displayname") == "alice"
    for seen in (
        told,
        (await bob.get(status_path(alice.user_id))).ok(),
        (await alice.get(status_path(alice.user_id))).ok(),
    ):
        assert 0 <= seen.pop("last_active_ago") < 60_000
        assert seen == there
    (await alice.put(status_path(alice.user_id), {"presence": "online"})).ok()
    told = presence_in(await bob.sync(answer["next_batch"]), alice.user_id)
    assert (told["presence"], told["currently_active"], told.get("status_msg")) == ("online", True, None)
    # As some clients say it, against the letter of the specification.
    gone = {"presence": "offline", "status_msg": None}
    (await alice.request("PUT", status_path(alice.user_id), gone, check=False)).ok()
    assert (await bob.get(status_path(alice.user_id))).ok()["presence"] == "offline"


async def test_who_syncs_is_there_unless_asked_not_to_tell(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    seen = []
    for state in ("offline", "unavailable", "online"):
        await alice.sync(set_presence=state)
        seen.append((await bob.get(status_path(alice.user_id))).ok()["presence"])
    assert seen == ["offline", "unavailable", "online"]


async def test_those_who_newly_share_a_room_see_each_other(alice: Client, bob: Client) -> None:
    """Neither's presence changes: they meet."""
    room = await alice.create_room(preset="public_chat")
    since_of = [(client, (await client.sync())["next_batch"]) for client in (alice, bob)]
    await bob.join(room)
    for (reader, since), other in zip(since_of, (bob, alice), strict=True):
        answer = await reader.sync(since)
        assert presence_in(answer, other.user_id)["presence"] == "online"
        assert "presence" not in await reader.sync(answer["next_batch"])


async def test_only_ones_own_is_set(alice: Client, bob: Client, guest: Client) -> None:
    path = status_path(alice.user_id)
    (await bob.put(path, {"presence": "online"})).error(403, "M_FORBIDDEN")
    (await guest.put(status_path(guest.user_id), {"presence": "online"})).error(
        403, "M_GUEST_ACCESS_FORBIDDEN"
    )
    assert (await alice.get(path)).ok()["presence"] == "offline"


async def test_strangers_are_not_shown(alice: Client, bob: Client) -> None:
    (await bob.put(status_path(bob.user_id), {"presence": "online"})).ok()
    told = [
        (await alice.get(status_path(stranger))).error(403, "M_FORBIDDEN")
        for stranger in (bob.user_id, "@nobody:test.example", "@somebody:elsewhere.example")
    ]
    assert all(each == told[0] for each in told)
    (await alice.get(status_path("alice"))).error(400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_BAD_JSON"),
        ({"presence": "asleep"}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": 5}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": "x" * 1001}, "M_INVALID_PARAM"),
        (b"", "M_BAD_JSON"),
        (b"online", "M_NOT_JSON"),
    ],
)
async def test_what_is_malformed(alice: Client, body: object, errcode: str) -> None:
    (await alice.put(status_path(alice.user_id), body)).error(400, errcode)
    assert (await alice.get(status_path(alice.user_id))).ok()["presence"] == "offline"


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, set forward by `ahead_ms`."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms


async def expired(server: TestServer) -> None:
    """What time does to presence has been done."""
    await server.server.services.presence.expire()
    await server.server.services.incoming_edus.presence.expire()


async def test_who_does_nothing_is_away_and_who_does_not_sync_is_gone(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """ "Idle timeout"; the user is what the device is that is most there."""
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        phone = await server.device(alice)
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        since = (await bob.sync())["next_batch"]

        async def seen_by_bob() -> Any:
            nonlocal since
            await expired(server)
            answer = await bob.sync(since)
            since = answer["next_batch"]
            return presence_in(answer, alice.user_id)

        async def later(time_ms: int) -> None:
            """Both of Alice's devices go on syncing."""
            for _ in range(time_ms // 15_000 + 1):
                clock.ahead_ms += 15_000
                for device in (alice, phone):
                    await device.sync()

        await alice.sync()
        await phone.sync()
        told = await seen_by_bob()
        assert (told["presence"], told["currently_active"]) == ("online", True)
        await later(IDLE_MS)
        told = await seen_by_bob()
        assert (told["presence"], told.get("currently_active")) == ("unavailable", None)
        assert told["last_active_ago"] >= IDLE_MS
        await phone.send(room, "I am here")
        told = await seen_by_bob()
        assert (told["presence"], told["currently_active"]) == ("online", True)
        assert told["last_active_ago"] < 30_000
        clock.ahead_ms += GRACE_MS + 1
        await alice.sync(set_presence="unavailable")
        assert (await seen_by_bob())["presence"] == "unavailable"
        clock.ahead_ms += GRACE_MS + 1
        assert (await seen_by_bob())["presence"] == "offline"


async def test_presence_can_be_switched_off(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        await bob.join(await alice.create_room(preset="public_chat"))
        await alice.sync()
        assert presence_in(await bob.sync(), alice.user_id)["presence"] == "online"
    clock.ahead_ms += GRACE_MS + 1
    off = Presence(enabled=False)
    async with running_server(database_url, tmp_path, specification, clock=clock, presence=off) as server:
        alice, bob = (attrs.evolve(each, base_url=server.base_url, pool=server.pool) for each in (alice, bob))
        await expired(server)
        for state in ("online", "unavailable"):
            (await alice.put(status_path(alice.user_id), {"presence": state})).ok()
            await alice.sync(set_presence=state)
            for reader in (alice, bob):
                assert "presence" not in await reader.sync()
                (await reader.get(status_path(alice.user_id))).error(404, "M_NOT_FOUND")
