"""MSC4354: events that stick for a while, and are told whatever else is going on in the room."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from homeserver.core.identifiers import RoomID
from homeserver.core.json import decode_object
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms import sticky_events as bounds
from homeserver.runtime.clock import SystemClock
from homeserver.storage import events, rooms, sticky_events
from tests.api.client.sliding_sync.harness import Sliding, old_list, one_list
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification

DURATION = "org.matrix.msc4354.sticky_duration_ms"
TTL = "msc4354_sticky_duration_ttl_ms"
STICKY = "msc4354_sticky"
EXTENSION = "org.matrix.msc4354.sticky_events"
DELAYS = "/_matrix/client/unstable/org.matrix.msc4140"
RTC = "org.matrix.msc4143.rtc.member"
HOUR_MS = 3_600_000
ONE_EVENT: Any = {"room": {"timeline": {"limit": 1}}}


@attrs.define
class MovableClock(SystemClock):
    """The time stands still until a test moves it by `ahead_ms`."""

    ahead_ms: int = 0
    begun_ts: int = attrs.field(factory=SystemClock().now_ts)

    def now_ts(self) -> int:
        return self.begun_ts + self.ahead_ms


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A server whose time tests move."""
    async with running_server(database_url, tmp_path, specification, clock=MovableClock()) as running:
        yield running


def wait(server: TestServer, ms: int) -> None:
    clock = server.clock
    assert isinstance(clock, MovableClock)
    clock.ahead_ms += ms


async def stick(client: Client, room: str, name: str, duration_ms: object = 600_000, **query: object) -> str:
    """Send a sticky event; gives its event id, or its delay id."""
    content = {"msc4354_sticky_key": name}
    path = room_path(room, "send", RTC, name)
    answer = await client.request("PUT", path, content, query={DURATION: duration_ms, **query}, check=False)
    sent = answer.ok()
    return str(sent.get("event_id") or sent["delay_id"])


async def bury(client: Client, room: str, messages: int = 12) -> None:
    """Say so much that what was there before is in nobody's timeline."""
    for number in range(messages):
        await client.send(room, f"message {number}")


def told(answer: Any, room: str) -> list[str]:
    """What the section of sticky events of a room has."""
    section = answer.get("rooms", {}).get("join", {}).get(room, {}).get(STICKY, {"events": []})
    return [event["content"]["msc4354_sticky_key"] for event in section["events"]]


def shown(answer: Any, room: str) -> list[str]:
    """The sticky events of the timeline of a room."""
    events = answer["rooms"]["join"][room]["timeline"]["events"]
    return [event["content"]["msc4354_sticky_key"] for event in events if STICKY in event]


@pytest.fixture
async def room(alice: Client, bob: Client) -> str:
    """A room of both."""
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return room


async def test_a_sticky_event_says_for_how_long_it_sticks(
    server: TestServer, alice: Client, bob: Client, room: str
) -> None:
    since = (await bob.sync())["next_batch"]
    wait(server, 1_000)
    event_id = await stick(alice, room, "one", 600_000)
    wait(server, 1_500)
    (event,) = (await bob.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert event["event_id"] == event_id
    assert event[STICKY] == {"duration_ms": 600_000}
    assert event["unsigned"][TTL] == 598_500
    again = (await bob.get(room_path(room, "event", event_id))).ok()
    assert (again[STICKY], again["unsigned"][TTL]) == ({"duration_ms": 600_000}, 598_500)
    wait(server, 598_500)
    over = (await bob.get(room_path(room, "event", event_id))).ok()
    assert over[STICKY] == {"duration_ms": 600_000}
    assert TTL not in over["unsigned"]
    assert (await bob.get("/_matrix/client/versions")).ok()["unstable_features"]["org.matrix.msc4354"] is True


async def test_who_waits_is_told_in_the_timeline(alice: Client, bob: Client, room: str) -> None:
    """The answer comes from memory, and says what one from the database says."""
    since = (await bob.sync())["next_batch"]
    (await bob.sync(since, timeout=1))["next_batch"]
    waiting = bob.sync(since, timeout=20_000)
    await stick(alice, room, "one", 600_000)
    answer = await waiting
    (event,) = answer["rooms"]["join"][room]["timeline"]["events"]
    assert event[STICKY] == {"duration_ms": 600_000}
    assert 0 < event["unsigned"][TTL] <= 600_000
    assert told(answer, room) == []


async def test_what_the_timeline_does_not_reach_is_told_beside_it(
    alice: Client, bob: Client, room: str
) -> None:
    """Once, and never both here and there."""
    since = (await bob.sync())["next_batch"]
    await stick(alice, room, "one")
    await bury(alice, room)
    await stick(bob, room, "two")
    answer = await bob.sync(since)
    assert (told(answer, room), shown(answer, room)) == (["one"], ["two"])
    (event,) = answer["rooms"]["join"][room][STICKY]["events"]
    assert event["sender"] == alice.user_id
    assert "room_id" not in event
    assert event["unsigned"][TTL] <= 600_000
    later = await bob.sync(answer["next_batch"])
    assert "rooms" not in later
    initial = await bob.sync(filter=ONE_EVENT)
    assert (told(initial, room), shown(initial, room)) == (["one"], ["two"])


async def test_filters_have_no_say(alice: Client, bob: Client, room: str) -> None:
    """MSC4354, "Interaction with RoomFilter": what the timeline's filter leaves out is told beside it."""
    since = (await bob.sync())["next_batch"]
    await stick(alice, room, "one")
    await alice.send(room, "hello")
    only_messages = {"room": {"timeline": {"types": ["m.room.message"]}, "state": {"types": []}}}
    answer = await bob.sync(since, filter=only_messages)
    assert (told(answer, room), shown(answer, room)) == (["one"], [])
    no_rooms = await bob.sync(since, filter={"room": {"rooms": []}})
    assert "rooms" not in no_rooms


async def test_it_ends_when_it_has_expired(server: TestServer, alice: Client, bob: Client, room: str) -> None:
    since = (await bob.sync())["next_batch"]
    await stick(alice, room, "short", 300_000)
    await stick(alice, room, "long", HOUR_MS)
    await stick(alice, room, "none at all", 0)
    await bury(alice, room)
    wait(server, 299_999)
    assert told(await bob.sync(since), room) == ["short", "long"]
    wait(server, 1)
    assert told(await bob.sync(since), room) == ["long"]
    service = server.server.services.sticky_events
    await service.expire()
    assert await rows(server, room) == ["long"]
    wait(server, HOUR_MS)
    assert told(await bob.sync(since), room) == []
    await service.expire()
    assert await rows(server, room) == []


async def rows(server: TestServer, room: str) -> list[str]:
    """The keys of all events of the room of which there is a row, expired or not."""
    return await server.server.database.read(read_rows, RoomID(room))


def read_rows(tx: ReadTransaction, room_id: RoomID) -> list[str]:
    nid = rooms.nid_of(tx, room_id)
    assert nid is not None
    found = sticky_events.shown(tx, [nid], since=0, upto=2**62, now_ts=0)
    stored = events.of_nids(tx, [each.event_nid for each in found])
    contents: list[Any] = [decode_object(stored[each.event_nid].pdu)["content"] for each in found]
    return [content["msc4354_sticky_key"] for content in contents]


async def test_who_joins_is_told_all_that_sticks(alice: Client, bob: Client) -> None:
    """History visibility has no say: "this matches the behaviour of state events"."""
    history = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = await alice.create_room(preset="public_chat", initial_state=[history])
    await stick(alice, room, "one")
    await stick(alice, room, "two")
    since = (await bob.sync())["next_batch"]
    await bob.join(room)
    answer = await bob.sync(since)
    assert (told(answer, room), shown(answer, room)) == (["one", "two"], [])
    assert told(await bob.sync(answer["next_batch"]), room) == []
    # Whoever is out is told nothing more.
    await bob.leave(room)
    await stick(alice, room, "three")
    out = await bob.sync(answer["next_batch"], filter={"room": {"include_leave": True}})
    assert STICKY not in out["rooms"]["leave"][room]
    # Who comes back is told all of it again.
    await bob.join(room)
    assert told(await bob.sync(out["next_batch"]), room) == ["one", "two", "three"]


async def test_of_ignored_users_nothing_is_told(alice: Client, bob: Client, room: str) -> None:
    since = (await bob.sync())["next_batch"]
    await stick(alice, room, "one")
    await stick(bob, room, "own")
    await bury(bob, room)
    ignored: Any = {"ignored_users": {alice.user_id: {}}}
    await bob.put(path_of("user", bob.user_id, "account_data", "m.ignored_user_list"), ignored)
    assert told(await bob.sync(since), room) == ["own"]


async def test_a_redacted_event_does_not_stick(alice: Client, bob: Client, room: str) -> None:
    since = (await bob.sync())["next_batch"]
    event_id = await stick(alice, room, "one")
    await stick(alice, room, "two")
    await bury(alice, room)
    (await alice.put(room_path(room, "redact", event_id, "r"), {})).ok()
    assert told(await bob.sync(since), room) == ["two"]
    event = (await bob.get(room_path(room, "event", event_id))).ok()
    assert STICKY not in event
    assert TTL not in event["unsigned"]


async def test_state_may_stick(alice: Client, bob: Client, room: str) -> None:
    """Setting the same again makes it stick anew; a membership cannot."""
    since = (await bob.sync())["next_batch"]
    path = room_path(room, "state", RTC, "key")
    sent = []
    for content in ({"msc4354_sticky_key": "s"}, {"msc4354_sticky_key": "s"}):
        answer = await alice.request("PUT", path, content, query={DURATION: 300_000}, check=False)
        sent.append(answer.ok()["event_id"])
    assert sent[0] != sent[1]
    plain = (await alice.put(path, {"msc4354_sticky_key": "s"})).ok()["event_id"]
    assert plain == sent[1]
    await bury(alice, room)
    answer = await bob.sync(since)
    section = answer["rooms"]["join"][room][STICKY]["events"]
    assert [event["event_id"] for event in section] == sent
    assert [event["state_key"] for event in section] == ["key", "key"]
    member = room_path(room, "state", "m.room.member", alice.user_id)
    refused = await alice.request(
        "PUT", member, {"membership": "join"}, query={DURATION: 300_000}, check=False
    )
    refused.error(400, "M_INVALID_PARAM")


@pytest.mark.parametrize("duration", [-1, HOUR_MS + 1, "a while", 1.5])
async def test_a_duration_that_is_none_is_refused(alice: Client, room: str, duration: object) -> None:
    path = room_path(room, "send", RTC, "t")
    answer = await alice.request("PUT", path, {}, query={DURATION: duration}, check=False)
    answer.error(400, "M_INVALID_PARAM")


async def test_a_repeated_transaction_sends_one(alice: Client, room: str) -> None:
    assert await stick(alice, room, "one") == await stick(alice, room, "one")


async def test_a_delayed_event_sticks_from_when_it_is_sent(
    server: TestServer, alice: Client, bob: Client, room: str
) -> None:
    """MSC4354: it affects the send time, "and thus start time for stickiness"; over both forms of scheduling."""
    since = (await bob.sync())["next_batch"]
    first = await stick(alice, room, "query", 300_000, **{"org.matrix.msc4140.delay": 10_000})
    body = {"delay_ms": 10_000, "content": {"msc4354_sticky_key": "endpoint"}}
    path = f"{DELAYS}/rooms/{room}/delayed_event/{RTC}/t"
    answer = await alice.request("PUT", path, body, query={DURATION: 300_000}, check=False)
    second = answer.ok()["delay_id"]
    state = {**body, "state_key": "k", "content": {"msc4354_sticky_key": "state"}}
    answer = await alice.request("PUT", f"{path}2", state, query={DURATION: 300_000}, check=False)
    answer.ok()
    for delay_id in (first, second):
        found = (await alice.get(f"{DELAYS}/delayed_events/{delay_id}")).ok()
        assert found[DURATION] == 300_000
    member = {**body, "state_key": alice.user_id, "content": {"membership": "leave"}}
    path = f"{DELAYS}/rooms/{room}/delayed_event/m.room.member/t"
    answer = await alice.request("PUT", path, member, query={DURATION: 300_000}, check=False)
    answer.error(400, "M_INVALID_PARAM")
    wait(server, 10_000)
    await server.server.services.delayed_events.work()
    await server.server.services.delayed_events.finish()
    await bury(alice, room)
    wait(server, 299_999)
    assert sorted(told(await bob.sync(since), room)) == ["endpoint", "query", "state"]
    wait(server, 1)
    assert told(await bob.sync(since), room) == []


async def test_more_than_is_shown_at_a_time_comes_later(
    server: TestServer, alice: Client, bob: Client, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MSC4354, "Rate limits": kept, and delivered when there is place; another user's are not held up."""
    monkeypatch.setattr(bounds, "MOST_OF_SENDER", 2)
    since = (await bob.sync())["next_batch"]
    for number in range(4):
        await stick(alice, room, f"alice {number}", 60_000)
        wait(server, 1_000)
    await stick(bob, room, "bob", 60_000)
    await bury(alice, room)
    answer = await bob.sync(since)
    assert told(answer, room) == ["alice 0", "alice 1", "bob"]
    service = server.server.services.sticky_events
    wait(server, 10_000)
    await service.work()
    assert "rooms" not in await bob.sync(answer["next_batch"])
    # The first has ended, for the last the time is too short.
    wait(server, 46_500)
    await service.work()
    waiting = await bob.sync(answer["next_batch"])
    assert told(waiting, room) == ["alice 2"]
    monkeypatch.setattr(bounds, "MOST_IN_ROOM", 1)
    monkeypatch.setattr(bounds, "MOST_OF_SENDER", 100)
    wait(server, 20_000)
    await stick(alice, room, "first", 60_000)
    await stick(bob, room, "second", 60_000)
    await bury(alice, room)
    assert told(await bob.sync(waiting["next_batch"]), room) == ["first"]


async def test_who_waits_is_told_of_what_is_shown_late(
    server: TestServer, alice: Client, bob: Client, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_OF_SENDER", 1)
    await stick(alice, room, "one", 60_000)
    await stick(alice, room, "two", 60_000)
    since = (await bob.sync())["next_batch"]
    monkeypatch.setattr(bounds, "MOST_OF_SENDER", 2)
    wait(server, 10_000)
    waiting = bob.sync(since, timeout=20_000)
    await server.server.services.sticky_events.work()
    answer = await waiting
    assert told(answer, room) == ["two"]
    assert answer["rooms"]["join"][room]["timeline"]["events"] == []


async def test_what_sticks_outlives_a_restart(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as before:
        alice = await before.user("alice")
        room = await alice.create_room()
        await stick(alice, room, "one", 300_000)
        await bury(alice, room)
    clock.ahead_ms = 200_000
    async with running_server(database_url, tmp_path, specification, clock=clock) as after:
        alice.base_url, alice.pool = after.base_url, after.pool
        answer = await alice.sync()
        assert told(answer, room) == ["one"]
        (event,) = answer["rooms"]["join"][room][STICKY]["events"]
        assert event["unsigned"][TTL] == 100_000
        clock.ahead_ms = 300_000
        assert told(await alice.sync(), room) == []


# Sliding sync: MSC4480.


def wanted(**options: Any) -> dict[str, Any]:
    return {EXTENSION: {"enabled": True, **options}}


def extended(answer: Any, room: str) -> list[str]:
    events = answer["extensions"].get(EXTENSION, {}).get("rooms", {}).get(room, {"events": []})["events"]
    return [event["content"]["msc4354_sticky_key"] for event in events]


@pytest.mark.parametrize("form", ["stable", "unstable"])
async def test_the_extension_tells_of_rooms_outside_the_windows(
    alice: Client, bob: Client, room: str, form: str
) -> None:
    await stick(alice, room, "one")
    await bury(alice, room)
    newer = await alice.create_room(preset="public_chat")
    await bob.join(newer)
    await stick(alice, newer, "shown")
    sliding = Sliding(bob)

    async def ask(**options: Any) -> Any:
        if form == "stable":
            return await sliding.ask(lists=one_list(last=0), extensions=wanted(**options))
        return await sliding.ask_old(lists=old_list(last=0), extensions=wanted(**options))

    first = await ask()
    assert first["rooms"].keys() == {newer}
    # What the timeline has is not told twice.
    assert (extended(first, room), extended(first, newer)) == (["one"], [])
    since = first["extensions"][EXTENSION]["next_batch"]
    nothing = await ask(since=since)
    assert EXTENSION not in nothing["extensions"]
    await stick(alice, room, "two")
    await bury(alice, newer, 1)
    second = await ask(since=since)
    assert extended(second, room) == ["two"]


async def test_the_extension_gives_the_oldest_first_and_a_few_at_a_time(
    alice: Client, bob: Client, room: str
) -> None:
    for number in range(5):
        await stick(alice, room, f"{number}")
    await bury(alice, room)
    sliding, since, pages = Sliding(bob), None, []
    for _ in range(3):
        answer = await sliding.ask(
            lists=one_list(first=1, last=1), extensions=wanted(limit=2, **({"since": since} if since else {}))
        )
        pages.append(extended(answer, room))
        since = answer["extensions"][EXTENSION]["next_batch"]
    assert pages == [["0", "1"], ["2", "3"], ["4"]]


async def test_the_extension_tells_who_joins_all_that_sticks(alice: Client, bob: Client) -> None:
    await bob.create_room()
    room = await alice.create_room(preset="public_chat")
    await stick(alice, room, "one")
    await stick(alice, room, "two")
    await bury(alice, room)
    sliding = Sliding(bob)
    first = await sliding.ask(lists=one_list(), extensions=wanted())
    assert EXTENSION not in first["extensions"]
    await stick(alice, room, "three")
    await bury(alice, room)
    await bob.join(room)
    second = await sliding.ask(lists=one_list(limit=1), extensions=wanted(limit=1))
    assert extended(second, room) == ["one", "two", "three"]


async def test_the_extension_leaves_out_what_no_list_is_about(alice: Client, bob: Client, room: str) -> None:
    await stick(alice, room, "one")
    await bury(alice, room)
    sliding = Sliding(bob)
    spaces = await sliding.ask(lists=one_list(room_types=["m.space"]), extensions=wanted())
    assert EXTENSION not in spaces["extensions"]
    subscribed = await Sliding(bob, "other").ask(
        room_subscriptions={room: {"timeline_limit": 1, "required_state": {}}}, extensions=wanted()
    )
    assert extended(subscribed, room) == ["one"]


async def test_the_extension_repeats_what_sticks_in_a_room_that_is_new_to_the_client(
    alice: Client, bob: Client, room: str
) -> None:
    """A client that is told of events of a room that it does not know may drop them."""
    await stick(alice, room, "one")
    await bury(alice, room)
    await bob.create_room()
    sliding = Sliding(bob)
    first = await sliding.ask(lists=one_list(last=0), extensions=wanted())
    assert extended(first, room) == ["one"]
    since = first["extensions"][EXTENSION]["next_batch"]
    wider = await sliding.ask(lists=one_list(last=9), extensions=wanted(since=since))
    assert wider["rooms"].keys() == {room}
    assert extended(wider, room) == ["one"]


async def test_the_extension_wakes_who_waits(alice: Client, bob: Client, room: str) -> None:
    sliding = Sliding(bob)
    await sliding.ask(lists=one_list(first=1, last=1), extensions=wanted())
    waiting = sliding.ask(lists=one_list(first=1, last=1), extensions=wanted(), timeout=20_000)
    await stick(alice, room, "one")
    assert extended(await waiting, room) == ["one"]


async def test_of_ignored_users_the_extension_tells_nothing(alice: Client, bob: Client, room: str) -> None:
    await stick(alice, room, "one")
    await bury(bob, room)
    ignored: Any = {"ignored_users": {alice.user_id: {}}}
    await bob.put(path_of("user", bob.user_id, "account_data", "m.ignored_user_list"), ignored)
    answer = await Sliding(bob).ask(lists=one_list(), extensions=wanted())
    assert extended(answer, room) == []


@pytest.mark.parametrize("options", [{"limit": 0}, {"since": "nonsense"}, {"since": 7}])
async def test_a_strange_extension_is_refused(bob: Client, options: Any) -> None:
    body = {"lists": one_list(), "extensions": wanted(**options)}
    answer = await bob.post("/_matrix/client/v4/sync", body)
    assert answer.status == 400
