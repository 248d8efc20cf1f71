"""The extensions of sliding sync: MSC3959, MSC3960, MSC3961, MSC4308."""

from typing import Any

import attrs
import pytest

from tests.api.client.sliding_sync.harness import Sliding, old_list, one_list, subscription
from tests.api.server import Client, path_of, room_path

ON = {"enabled": True}
THREADS = "io.element.msc4308.thread_subscriptions"


@attrs.frozen
class Talk:
    """A room of both that Bob's connection knows, and one that is not in its window."""

    alice: Client
    bob: Client
    room: str
    outside: str
    client: Sliding

    async def ask(self, last: int = 0, also: Any = None, **extensions: Any) -> Any:
        extensions |= also or {}
        return (await self.client.ask(lists=one_list(last=last), extensions=extensions))["extensions"]


@pytest.fixture
async def talk(alice: Client, bob: Client) -> Talk:
    rooms = [await alice.create_room(invite=[bob.user_id]) for _ in range(2)]
    for room in rooms:
        await bob.join(room)
    return Talk(alice, bob, rooms[1], rooms[0], Sliding(bob))


async def test_account_data(talk: Talk) -> None:
    own = path_of("user", talk.bob.user_id, "account_data", "org.example")
    (await talk.bob.put(own, {"a": 1})).ok()
    for room in (talk.room, talk.outside):
        path = path_of("user", talk.bob.user_id, "rooms", room, "account_data", "org.example")
        (await talk.bob.put(path, {"in": room})).ok()
    data = (await talk.ask(account_data=ON))["account_data"]
    assert {"type": "org.example", "content": {"a": 1}} in data["global"]
    assert "m.push_rules" in {event["type"] for event in data["global"]}
    assert data["rooms"] == {talk.room: [{"type": "org.example", "content": {"in": talk.room}}]}
    assert await talk.ask(account_data=ON) == {}
    (await talk.bob.put(own, {"a": 2})).ok()
    path = path_of("user", talk.bob.user_id, "rooms", talk.room, "account_data", "org.example")
    (await talk.bob.put(path, {"b": 2})).ok()
    data = (await talk.ask(account_data=ON))["account_data"]
    assert data == {
        "global": [{"type": "org.example", "content": {"a": 2}}],
        "rooms": {talk.room: [{"type": "org.example", "content": {"b": 2}}]},
    }
    # A room that comes into the window brings its own; what changes while it is out of it is not lost.
    data = (await talk.ask(last=1, account_data=ON))["account_data"]
    assert data == {"rooms": {talk.outside: [{"type": "org.example", "content": {"in": talk.outside}}]}}
    await talk.ask(account_data=ON)
    path = path_of("user", talk.bob.user_id, "rooms", talk.outside, "account_data", "org.example")
    (await talk.bob.put(path, {"c": 3})).ok()
    assert await talk.ask(account_data=ON) == {}
    data = (await talk.ask(last=1, account_data=ON))["account_data"]
    assert data == {"rooms": {talk.outside: [{"type": "org.example", "content": {"c": 3}}]}}


async def test_receipts(talk: Talk) -> None:
    old = await talk.alice.send(talk.room, "old")
    (await talk.alice.post(room_path(talk.room, "receipt", "m.read", old))).ok()
    (await talk.bob.post(room_path(talk.room, "receipt", "m.read.private", old))).ok()
    for _ in range(10):
        new = await talk.alice.send(talk.room, "new")
    # Of a new room: what is on the events that are sent, and the user's own.
    found = (await talk.ask(receipts=ON))["receipts"]["rooms"]
    assert found.keys() == {talk.room}
    assert found[talk.room]["type"] == "m.receipt"
    assert {event: set(types) for event, types in found[talk.room]["content"].items()} == {
        old: {"m.read.private"}
    }
    assert await talk.ask(receipts=ON) == {}
    (await talk.alice.post(room_path(talk.room, "receipt", "m.read", new), {"thread_id": "main"})).ok()
    (await talk.alice.post(room_path(talk.room, "receipt", "m.read", new))).ok()
    (await talk.alice.post(room_path(talk.room, "receipt", "m.read.private", new))).ok()
    found = (await talk.ask(receipts=ON))["receipts"]["rooms"][talk.room]["content"]
    assert found == {
        new: {"m.read": {talk.alice.user_id: {"ts": found[new]["m.read"][talk.alice.user_id]["ts"]}}}
    }
    # Outside of the window nothing is told, and nothing is lost.
    event_id = await talk.alice.send(talk.room, "on top")
    await talk.ask(last=1, receipts=ON)
    await talk.ask(last=0, receipts=ON)
    outside = await talk.bob.sync()
    last = outside["rooms"]["join"][talk.outside]["timeline"]["events"][-1]["event_id"]
    (await talk.alice.post(room_path(talk.outside, "receipt", "m.read", last))).ok()
    assert await talk.ask(last=0, receipts=ON) == {}
    found = (await talk.ask(last=1, receipts=ON))["receipts"]["rooms"]
    assert found.keys() == {talk.outside}
    assert event_id != last


async def test_receipts_on_events_that_a_deeper_timeline_brings(talk: Talk) -> None:
    event_ids = [await talk.alice.send(talk.room, f"m{number}") for number in range(5)]
    (await talk.alice.post(room_path(talk.room, "receipt", "m.read", event_ids[2]))).ok()
    client, old = talk.client, Sliding(talk.bob, "old")
    wanted = {"receipts": ON}
    first = await client.ask(lists=one_list(last=0, limit=1), extensions=wanted)
    assert first["extensions"] == {}
    await old.ask_old(lists=old_list(last=0, limit=1), extensions=wanted)
    # What is new is told as well, wherever it is.
    (await talk.bob.post(room_path(talk.room, "receipt", "m.read", event_ids[0]))).ok()
    answer = await client.ask(lists=one_list(last=0, limit=3), extensions=wanted)
    assert answer["rooms"][talk.room]["expanded_timeline"]
    found = answer["extensions"]["receipts"]["rooms"][talk.room]["content"]
    assert {event_id: set(types["m.read"]) for event_id, types in found.items()} == {
        event_ids[2]: {talk.alice.user_id},
        event_ids[0]: {talk.bob.user_id},
    }
    # As Element X asks for the room that is opened.
    opened = {talk.room: {"timeline_limit": 20, "required_state": []}}
    answer = await old.ask_old(lists=old_list(last=0, limit=1), room_subscriptions=opened, extensions=wanted)
    assert answer["extensions"]["receipts"]["rooms"][talk.room]["content"] == found
    answer = await client.ask(lists=one_list(last=0, limit=3), extensions=wanted)
    assert answer["extensions"] == {}


async def test_typing(talk: Talk) -> None:
    async def types(room: str, is_typing: bool) -> None:
        path = room_path(room, "typing", talk.alice.user_id)
        (await talk.alice.put(path, {"typing": is_typing, "timeout": 30_000})).ok()

    await types(talk.outside, is_typing=True)
    assert await talk.ask(typing=ON) == {}
    await types(talk.room, is_typing=True)
    found = (await talk.ask(typing=ON))["typing"]["rooms"]
    assert found == {talk.room: {"type": "m.typing", "content": {"user_ids": [talk.alice.user_id]}}}
    await types(talk.room, is_typing=False)
    found = (await talk.ask(typing=ON))["typing"]["rooms"]
    assert found == {talk.room: {"type": "m.typing", "content": {"user_ids": []}}}
    found = (await talk.ask(last=1, typing=ON))["typing"]["rooms"]
    assert found[talk.outside]["content"]["user_ids"] == [talk.alice.user_id]
    # Who asks for nothing is told nothing, and not woken.
    await types(talk.room, is_typing=True)
    answer = await talk.client.ask(
        lists=one_list(last=1), timeout=30, extensions={"typing": {"enabled": False}}
    )
    assert answer["extensions"] == {}


async def test_extensions_for_some_rooms(talk: Talk) -> None:
    for room in (talk.room, talk.outside):
        path = path_of("user", talk.bob.user_id, "rooms", room, "account_data", "org.example")
        (await talk.bob.put(path, {})).ok()
    lists = {name: one_list(last=0)["all"] for name in ("one", "two")}
    subscriptions = {talk.outside: {"timeline_limit": 1, "required_state": {}}}

    async def rooms(**scope: Any) -> set[str]:
        answer = await Sliding(talk.bob).ask(
            lists=lists,
            room_subscriptions=subscriptions,
            extensions={"account_data": {"enabled": True, **scope}},
        )
        return set(answer["extensions"]["account_data"].get("rooms", ()))

    assert await rooms() == {talk.room, talk.outside}
    assert await rooms(lists=["*"], rooms=["*"]) == {talk.room, talk.outside}
    assert await rooms(lists=["two"], rooms=[]) == {talk.room}
    assert await rooms(lists=["three"]) == {talk.outside}
    assert await rooms(lists=[], rooms=[talk.outside]) == {talk.outside}
    assert await rooms(lists=[], rooms=[talk.room]) == set()


async def test_an_extension_that_is_asked_for_later_tells_all(talk: Talk) -> None:
    own = path_of("user", talk.bob.user_id, "account_data", "org.example")
    path = path_of("user", talk.bob.user_id, "rooms", talk.room, "account_data", "org.example")
    await talk.ask()
    for number in range(2):
        (await talk.bob.put(own, {"n": number})).ok()
        (await talk.bob.put(path, {"n": number})).ok()
        assert await talk.ask() == {}
        data = (await talk.ask(account_data=ON))["account_data"]
        assert {"type": "org.example", "content": {"n": number}} in data["global"]
        assert data["rooms"] == {talk.room: [{"type": "org.example", "content": {"n": number}}]}
        assert await talk.ask(account_data=ON) == {}


SCOPES: dict[str, tuple[Any, Any]] = {
    "all": ({"lists": [], "rooms": []}, {}),
    "a list": ({"lists": ["one"], "rooms": []}, {"lists": ["one", "all"], "rooms": []}),
    "rooms": ({"lists": [], "rooms": ["!other:x"]}, {"lists": [], "rooms": ["*"]}),
}


@pytest.mark.parametrize("scope", SCOPES)
async def test_rooms_that_an_extension_is_asked_for_later_are_told_at_once(talk: Talk, scope: str) -> None:
    """Whatever the client knows of them otherwise, of these it has been told nothing."""
    path = path_of("user", talk.bob.user_id, "rooms", talk.room, "account_data", "org.example")
    (await talk.bob.put(path, {"n": 1})).ok()
    event_id = await talk.alice.send(talk.room, "hello")
    (await talk.bob.post(room_path(talk.room, "receipt", "m.read", event_id))).ok()
    typing = room_path(talk.room, "typing", talk.alice.user_id)
    (await talk.alice.put(typing, {"typing": True, "timeout": 120_000})).ok()

    async def told(scope: Any, timeout: int) -> set[str]:  # noqa: ASYNC109 - the parameter is the protocol's
        wanted = dict.fromkeys(("account_data", "receipts", "typing"), ON | scope)
        subscriptions = {talk.room: {"timeline_limit": 1, "required_state": {}}}
        answer = await talk.client.ask(
            lists=one_list(last=0), room_subscriptions=subscriptions, extensions=wanted, timeout=timeout
        )
        return {name for name, each in answer["extensions"].items() if talk.room in each.get("rooms", ())}

    narrow, wide = SCOPES[scope]
    everything = {"account_data", "receipts", "typing"}
    assert await told(narrow, 0) == set()
    assert await told(wide, 60_000) == everything
    assert await told(wide, 20) == set()
    # What has changed while it was not asked for is not lost, either.
    assert await told(narrow, 20) == set()
    (await talk.bob.put(path, {"n": 2})).ok()
    assert await told(narrow, 20) == set()
    assert await told(wide, 60_000) == everything


async def test_a_subscription_brings_what_extensions_tell_of_subscriptions_only(talk: Talk) -> None:
    path = path_of("user", talk.bob.user_id, "rooms", talk.room, "account_data", "org.example")
    (await talk.bob.put(path, {"n": 1})).ok()
    wanted: Any = {"account_data": {"enabled": True, "lists": []}}
    first = await talk.client.ask(lists=one_list(last=0), extensions=wanted)
    assert "rooms" not in first["extensions"]["account_data"]
    subscriptions = {talk.room: {"timeline_limit": 1, "required_state": {}}}
    answer = await talk.client.ask(
        lists=one_list(last=0), room_subscriptions=subscriptions, extensions=wanted, timeout=60_000
    )
    assert answer["extensions"]["account_data"]["rooms"].keys() == {talk.room}


async def test_of_rooms_outside_nothing_is_lost_while_an_extension_is_not_asked_for(talk: Talk) -> None:
    path = path_of("user", talk.bob.user_id, "rooms", talk.outside, "account_data", "org.example")
    await talk.ask(last=1, account_data=ON)
    await talk.ask(last=1)
    (await talk.bob.put(path, {"n": 1})).ok()
    await talk.ask(last=1)
    await talk.ask(last=0)
    await talk.ask(last=0, account_data=ON)
    data = (await talk.ask(last=1, account_data=ON))["account_data"]
    assert data == {"rooms": {talk.outside: [{"type": "org.example", "content": {"n": 1}}]}}


async def test_what_is_not_there_is_ignored(talk: Talk) -> None:
    answer = await talk.ask(also={"org.example": {"x": 1}})
    assert answer == {}


async def test_thread_subscriptions(talk: Talk) -> None:
    roots = [await talk.alice.send(talk.room, "root") for _ in range(3)]
    for root in roots[:2]:
        (await talk.bob.put(subscription(talk.room, root))).ok()
    found = (await talk.ask(also={THREADS: ON}))[THREADS]
    stamps = [found["subscribed"][talk.room][root]["bump_stamp"] for root in roots[:2]]
    assert found == {
        "subscribed": {
            talk.room: {
                root: {"automatic": False, "bump_stamp": stamp}
                for root, stamp in zip(roots[:2], stamps, strict=True)
            }
        }
    }
    assert stamps[0] < stamps[1]
    assert await talk.ask(also={THREADS: ON}) == {}
    before = talk.client.pos
    (await talk.bob.delete(subscription(talk.room, roots[0]))).ok()
    (await talk.bob.put(subscription(talk.room, roots[2]))).ok()
    found = (await talk.ask(also={THREADS: {"enabled": True, "limit": 1}}))[THREADS]
    assert found["subscribed"][talk.room].keys() == {roots[2]}
    assert "unsubscribed" not in found
    # The rest is fetched.
    path = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
    rest = (await talk.bob.get(path, dir="b", to=before, **{"from": found["prev_batch"]})).ok()
    assert rest.keys() == {"unsubscribed"}
    assert rest["unsubscribed"][talk.room].keys() == {roots[0]}
    first = (await talk.bob.get(path, dir="b", limit=2)).ok()
    second = (await talk.bob.get(path, dir="b", **{"from": first["end"]})).ok()
    assert second["subscribed"][talk.room].keys() == {roots[1]}
    assert "end" not in second
    (await talk.bob.get(path, dir="f")).error(400, "M_INVALID_PARAM")
