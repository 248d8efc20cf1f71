"""MSC4186, "Connections": tokens, lost answers, restarts and how long things are remembered."""

from collections.abc import Sized
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from homeserver.runtime.clock import SystemClock
from homeserver.services.sliding_sync import service
from tests.api.client.sliding_sync.harness import STABLE, UNSTABLE, Sliding, bodies, one_list
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification


async def test_a_lost_answer_is_given_again(alice: Client) -> None:
    """Neither lost nor doubled, whatever the answer was about."""
    one, other = await alice.create_room(), await alice.create_room()
    client = Sliding(alice)
    await client.ask(lists=one_list(last=0))
    await alice.send(one, "m0")
    for _ in range(2):
        answer = await client.repeat(lists=one_list(last=0))
        assert bodies(answer["rooms"][one])[-1] == "m0"
        assert answer["rooms"][one]["initial"]
    # The client may change its mind, too.
    answer = await client.ask(lists=one_list(last=1))
    assert set(answer["rooms"]) == {one}
    await alice.send(other, "m1")
    lost = await client.repeat(lists=one_list(last=1))
    got = await client.ask(lists=one_list(last=1))
    assert bodies(lost["rooms"][other]) == bodies(got["rooms"][other]) == ["m1"]
    assert (await client.ask(lists=one_list(last=1)))["rooms"] == {}


async def test_of_several_answers_to_one_token_the_client_may_use_any(alice: Client) -> None:
    rooms = [await alice.create_room() for _ in range(3)]
    client = Sliding(alice)
    await client.ask(lists=one_list(last=0))
    one = await client.repeat(lists=one_list(last=1))
    two = await client.repeat(lists=one_list(last=2))
    assert one["pos"] != two["pos"]
    client.pos = one["pos"]
    assert set((await client.ask(lists=one_list(last=2)))["rooms"]) == {rooms[0]}
    # It has shown which one it has got: the others are forgotten.
    (await alice.post(STABLE, {"pos": two["pos"]})).error(400, "M_UNKNOWN_POS")


async def test_many_repetitions_are_not_all_remembered(alice: Client) -> None:
    for _ in range(2):
        await alice.create_room()
    client = Sliding(alice)
    await client.ask(lists=one_list(last=0))
    answers = [await client.repeat(lists=one_list(last=1)) for _ in range(service.MOST_ANSWERS + 1)]
    (await alice.post(STABLE, {"pos": answers[0]["pos"]})).error(400, "M_UNKNOWN_POS")
    (await alice.post(STABLE, {"pos": answers[-1]["pos"]})).ok()


async def test_unknown_positions(alice: Client) -> None:
    for pos in ("s1", "x", "s1_2", "s1_2_3", "s1_2_3_4", "s-1_2_3", "s" + "9" * 30 + "_1_1"):
        (await alice.post(STABLE, {"pos": pos})).error(400, "M_UNKNOWN_POS")
        (await alice.post(UNSTABLE, {}, pos=pos)).error(400, "M_UNKNOWN_POS")


async def test_a_position_is_good_for_its_connection_only(
    alice: Client, bob: Client, server: TestServer
) -> None:
    room = await alice.create_room()
    pos = (await Sliding(alice, "main").ask(lists=one_list()))["pos"]
    device = await server.device(alice)
    for client, conn_id in ((bob, "main"), (device, "main"), (alice, "other"), (alice, "")):
        sent = {"conn_id": conn_id, "pos": pos, "lists": one_list()}
        (await client.post(STABLE, sent)).error(400, "M_UNKNOWN_POS")
    # A connection that begins anew ends the one before; others are not concerned.
    other = Sliding(alice, "other")
    await other.ask(lists=one_list())
    await alice.send(room, "hello")
    anew = Sliding(alice, "main")
    assert (await anew.ask(lists=one_list()))["rooms"][room]["initial"]
    (await alice.post(STABLE, {"conn_id": "main", "pos": pos})).error(400, "M_UNKNOWN_POS")
    assert bodies((await other.ask(lists=one_list()))["rooms"][room]) == ["hello"]
    # So does the end of the device.
    (await alice.post(path_of("logout"))).ok()
    assert await server.server.database.read(connections) == []


async def test_one_for_keys_alone_is_opened_by_two(server: TestServer, alice: Client, bob: Client) -> None:
    """Element X, and what decrypts its notifications in another process, use one name, and neither ends the other."""
    wanted: dict[str, Any] = {"extensions": {"to_device": {"enabled": True}, "e2ee": {"enabled": True}}}
    app = Sliding(alice, "encryption")
    await app.ask(**wanted)
    await Sliding(alice, "room-list").ask(lists=one_list())
    for number in range(3):
        letter = {"messages": {alice.user_id: {alice.device_id: {"number": number}}}}
        (await bob.put(path_of("sendToDevice", "m.test", f"t{number}"), letter)).ok()
        notifier = Sliding(alice, "encryption")
        for each in (notifier, app, notifier):
            told = (await each.ask(**wanted))["extensions"]["to_device"]
            assert len(told["events"]) == number + 1
    wanted["extensions"]["to_device"]["since"] = told["next_batch"]
    for each in (app, notifier, app):
        assert "events" not in (await each.ask(**wanted))["extensions"]["to_device"]
    assert sorted(await server.server.database.read(connections)) == [
        (alice.user_id, "encryption"),
        (alice.user_id, "room-list"),
    ]
    # What is asked for differently begins anew, and ends the one before.
    await Sliding(alice, "encryption").ask(extensions={"account_data": {"enabled": True}})
    (await alice.post(STABLE, {"conn_id": "encryption", "pos": app.pos})).error(400, "M_UNKNOWN_POS")


async def test_who_wants_too_many_different_things_begins_anew(alice: Client) -> None:
    for _ in range(3):
        await alice.create_room()
    client = Sliding(alice)

    def lists(number: int) -> Any:
        """A request about one room each; what was wanted of the others is still remembered."""
        elements = [{"type": f"{number}.{each}".ljust(400, "x"), "state_key": ""} for each in range(500)]
        return one_list(first=number, last=number, state={"include": elements})

    for number in range(2):
        assert (await client.ask(lists=lists(number)))["rooms"]
    (await alice.post(STABLE, {"pos": client.pos, "lists": lists(2)})).error(400, "M_UNKNOWN_POS")
    client.pos = None
    assert (await client.ask(lists=lists(2)))["rooms"]


def connections(tx: Any) -> list[Any]:
    tx._cursor.execute("SELECT user_id, conn_id FROM sliding_connections")
    return list(tx._cursor.fetchall())


async def test_a_device_has_so_many_connections(alice: Client) -> None:
    clients = [Sliding(alice, f"c{number}") for number in range(service.MOST_CONNECTIONS + 1)]
    for client in clients:
        await client.ask()
    sent = {"conn_id": "c0", "pos": clients[0].pos}
    (await alice.post(STABLE, sent)).error(400, "M_UNKNOWN_POS")
    await clients[1].ask()


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, set forward by `ahead_ms`."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms


async def test_a_connection_survives_a_restart_and_ends_when_it_is_not_used(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    async with running_server(database_url, tmp_path, specification) as server:
        alice = await server.user("alice")
        room, other = await alice.create_room(), await alice.create_room()
        client = Sliding(alice)
        await client.ask(lists=one_list(last=0))
        await client.ask(lists=one_list(last=1))
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice = attrs.evolve(alice, base_url=server.base_url, pool=server.pool)
        client.client = alice
        await alice.send(room, "after the restart")
        answer = await client.ask(lists=one_list(last=1))
        assert bodies(answer["rooms"][room]) == ["after the restart"]
        assert set(answer["rooms"]) == {room}
        # Whoever asks every few days keeps the connection, even if there is nothing new.
        for _ in range(3):
            clock.ahead_ms += service.EXPIRY_MS - 60_000
            await client.ask(lists=one_list(last=1))
            await server.server.services.syncing.sliding_sync.expire()
        await alice.send(other, "hello")
        assert set((await client.ask(lists=one_list(last=1)))["rooms"]) == {other}
        clock.ahead_ms += service.EXPIRY_MS + 60_000
        await server.server.services.syncing.sliding_sync.expire()
        (await alice.post(STABLE, {"pos": client.pos})).error(400, "M_UNKNOWN_POS")


async def test_a_position_leads_into_the_history(alice: Client) -> None:
    """ "A `pos` token can be used in `/messages` and `/relations` APIs"."""
    room = await alice.create_room()
    root = await alice.send(room, "before")
    client = Sliding(alice)
    pos = (await client.ask(lists=one_list(limit=1)))["pos"]
    await alice.send(room, "after")
    page = (await alice.get(room_path(room, "messages"), dir="b", limit=1, **{"from": pos})).ok()
    assert [event["event_id"] for event in page["chunk"]] == [root]
    page = (await alice.get(room_path(room, "messages"), dir="f", limit=5, **{"from": pos})).ok()
    assert [event["content"]["body"] for event in page["chunk"]] == ["after"]
    path = path_of("rooms", room, "relations", root, version="v1")
    assert (await alice.get(path, **{"from": pos})).ok()["chunk"] == []


async def test_what_is_said_while_the_client_waits_is_told_at_once(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    client = Sliding(bob)
    await client.ask(lists=one_list())
    for number in range(3):
        waiting = Deferred.fromCoroutine(client.ask(lists=one_list(), timeout=30_000))
        await alice.send(room, f"m{number}")
        assert bodies((await waiting)["rooms"][room]) == [f"m{number}"]
    # Not only rooms that the client knows.
    waiting = Deferred.fromCoroutine(client.ask(lists=one_list(), timeout=30_000))
    new = await alice.create_room(invite=[bob.user_id])
    assert set((await waiting)["rooms"]) == {new}
    # Nothing happens: the answer comes when the time is up, and loses nothing.
    answer = await client.ask(lists=one_list(), timeout=20)
    assert answer["rooms"] == {}
    await alice.send(room, "after")
    assert bodies((await client.ask(lists=one_list(), timeout=30_000))["rooms"][room]) == ["after"]
    # What is wanted in another way brings nothing of what the client has.
    answer = await client.ask(lists=one_list(limit=20), timeout=20)
    assert answer["rooms"] == {}


TOPIC = {"include": [{"type": "m.room.topic", "state_key": ""}]}
ANYTHING = {"timeline_limit": 1, "required_state": {}}


@attrs.frozen
class Houses:
    """Three rooms, the newest first; of that one, the client has been told the newest event."""

    alice: Client
    client: Sliding
    rooms: list[str]
    waiters: Sized

    async def rooms_at_once(self, **wanted: Any) -> set[str]:
        """The rooms that a request brings that would wait for a minute, if there was nothing to tell."""
        answer = await self.client.ask(timeout=60_000, **wanted)
        return set(answer["rooms"])


@pytest.fixture(params=["read", "remembered"])
async def houses(alice: Client, server: TestServer, request: pytest.FixtureRequest) -> Houses:
    rooms = [await alice.create_room(topic="t") for _ in range(3)][::-1]
    for room in rooms[::-1]:
        await alice.send(room, "hello")
    client = Sliding(alice)
    await client.ask(lists=one_list(last=0, limit=1))
    if request.param == "remembered":
        # From here on, the same request would not be read at all.
        assert (await client.ask(lists=one_list(last=0, limit=1), timeout=20))["rooms"] == {}
    return Houses(alice, client, rooms, server.server.services.syncing.waiters)


async def test_a_wider_range_is_answered_at_once(houses: Houses) -> None:
    assert await houses.rooms_at_once(lists=one_list(last=1, limit=1)) == {houses.rooms[1]}


async def test_another_list_is_answered_at_once(houses: Houses) -> None:
    lists = one_list(last=0, limit=1) | {"other": one_list(first=2, last=2, limit=1)["all"]}
    assert await houses.rooms_at_once(lists=lists) == {houses.rooms[2]}
    # So is one that wants more of a room that another one has brought.
    lists["third"] = one_list(last=0, limit=2)["all"]
    assert await houses.rooms_at_once(lists=lists) == {houses.rooms[0]}


async def test_another_filter_is_answered_at_once(houses: Houses) -> None:
    room = houses.rooms[2]
    path = path_of("user", houses.alice.user_id, "rooms", room, "tags", "u.x")
    (await houses.alice.put(path, {})).ok()
    assert await houses.rooms_at_once(lists=one_list(last=0, limit=1, tags=["u.x"])) == {room}


async def test_a_subscription_is_answered_at_once(houses: Houses) -> None:
    lists, (told, new, left) = one_list(last=0, limit=1), houses.rooms
    subscriptions = {new: ANYTHING}
    assert await houses.rooms_at_once(lists=lists, room_subscriptions=subscriptions) == {new}
    subscriptions[told] = {"timeline_limit": 1, "required_state": TOPIC}
    assert await houses.rooms_at_once(lists=lists, room_subscriptions=subscriptions) == {told}
    subscriptions[told] = {"timeline_limit": 2, "required_state": TOPIC}
    assert await houses.rooms_at_once(lists=lists, room_subscriptions=subscriptions) == {told}
    await houses.alice.leave(left)
    subscriptions[left] = ANYTHING
    assert await houses.rooms_at_once(lists=lists, room_subscriptions=subscriptions) == {left}
    # What happens in a room that is not subscribed to any more comes with the next subscription.
    await houses.client.ask(lists=lists)
    await houses.alice.send(new, "meanwhile")
    await houses.alice.send(told, "on top")
    await houses.client.ask(lists=lists)
    answer = await houses.client.ask(lists=lists, room_subscriptions={new: ANYTHING}, timeout=60_000)
    assert {room: bodies(section) for room, section in answer["rooms"].items()} == {new: ["meanwhile"]}


async def test_a_change_that_brings_no_room_is_waited_with(houses: Houses) -> None:
    """ "If no rooms have changes, the server will block waiting for a change": how long a list is, is no such thing."""
    lists = {"less": one_list(last=0, limit=0)["all"], "more": one_list(last=0, limit=1)["all"]}
    waiting = Deferred.fromCoroutine(houses.client.ask(lists=lists, timeout=60_000))
    while not len(houses.waiters):
        await houses.alice.get(path_of("account", "whoami"))
    await houses.alice.send(houses.rooms[0], "news")
    answer = await waiting
    assert answer["rooms"].keys() == {houses.rooms[0]}
    assert answer["lists"] == {"less": {"count": 3}, "more": {"count": 3}}


async def test_a_server_that_stops_does_not_leave_clients_waiting(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    async with running_server(database_url, tmp_path, specification) as server:
        alice = await server.user("alice")
        client = Sliding(alice)
        await client.ask(lists=one_list())
        waiting = Deferred.fromCoroutine(client.ask(lists=one_list(), timeout=60_000))
        while not len(server.server.services.syncing.waiters):
            await alice.get(path_of("account", "whoami"))
        server.server.services.syncing.waiters.close()
        assert (await waiting)["rooms"] == {}
