"""History from before a server was in the room, fetched when somebody reads that far."""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.runtime.clock import SystemClock
from homeserver.services.backfill import LIMIT
from tests.api.server import Client, room_path
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, cut, mend
from tests.federation.meetings import sees
from tests.federation.peer import Heard, Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom

BACKFILL = federation("v1", "backfill") + "/{room_id}"


async def join_by(client: Client, room_id: str, server_name: str) -> None:
    """Join a room that the other server is in."""
    path = f"/_matrix/client/v3/join/{room_id.replace('!', '%21').replace(':', '%3A')}"
    (await client.request("POST", path, {}, query={"via": server_name})).ok()


async def messages(client: Client, room_id: str, **query: object) -> Any:
    return (await client.get(room_path(room_id, "messages"), **{"dir": "b", "limit": 20, **query})).ok()


async def whole_history(client: Client, room_id: str, *, limit: int = 20, **query: object) -> list[Any]:
    """All events, oldest first, read page by page from the newest back."""
    found: list[Any] = []
    since: dict[str, object] = {}
    for _ in range(100):
        page = await messages(client, room_id, limit=limit, **since, **query)
        found += page["chunk"]
        if "end" not in page:
            return found[::-1]
        since = {"from": page["end"]}
    raise AssertionError("there is no end of it")


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, and what the test adds."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms


def said(events: list[Any]) -> list[str]:
    return [event["content"].get("body", "") for event in events if event["type"] == "m.room.message"]


def message(number: int) -> str:
    return f"number {number}"


@pytest.fixture
async def one(servers: Servers) -> FederatedServer:
    return await servers.start()


@pytest.fixture
async def alice(one: FederatedServer) -> Client:
    return await one.user("alice")


def room_with_messages(peer: Peer, count: int, version: str = "11") -> PeerRoom:
    room = PeerRoom.create(peer, version)
    for number in range(count):
        room.accept(room.message(message(number)))
    return room


async def test_fetched_history_is_found_by_search(peer: Peer, one: FederatedServer, alice: Client) -> None:
    room = room_with_messages(peer, 5)
    await join_by(alice, room.room_id, peer.server_name)
    assert len(said(await whole_history(alice, room.room_id))) == 5
    await one.running.server.services.search_index.work()
    body = {"search_categories": {"room_events": {"search_term": "number", "order_by": "recent"}}}
    answer = (await alice.post("/_matrix/client/v3/search", body)).ok()
    results = [each["result"] for each in answer["search_categories"]["room_events"]["results"]]
    assert said(results) == [*map(message, range(5))][::-1]


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_a_reader_gets_to_the_beginning_of_a_room_of_others(
    peer: Peer, alice: Client, version: str
) -> None:
    room = room_with_messages(peer, 2 * LIMIT + 10, version)
    await join_by(alice, room.room_id, peer.server_name)
    await alice.send(room.room_id, "hello")
    history = await whole_history(alice, room.room_id)
    assert said(history) == [*map(message, range(2 * LIMIT + 10)), "hello"]
    assert [event["type"] for event in history[:3]] == [
        "m.room.create", "m.room.member", "m.room.power_levels",
    ]  # fmt: skip
    ids = [event["event_id"] for event in history]
    assert len(set(ids)) == len(ids)
    asked = len(peer.heard_at("/backfill/"))
    assert asked == 3
    # It is all here now.
    again = await whole_history(alice, room.room_id, limit=100)
    assert [event["event_id"] for event in again] == ids
    assert len(peer.heard_at("/backfill/")) == asked
    forwards = (await alice.get(room_path(room.room_id, "messages"), dir="f", limit=1000)).ok()
    assert [event["event_id"] for event in forwards["chunk"]] == ids


async def test_history_is_not_news(peer: Peer, alice: Client) -> None:
    room = room_with_messages(peer, 5)
    await join_by(alice, room.room_id, peer.server_name)
    since = (await alice.sync())["next_batch"]
    assert len(said(await whole_history(alice, room.room_id))) == 5
    assert room.room_id not in (await alice.sync(since)).get("rooms", {}).get("join", {})
    # From the beginning, it is part of the timeline.
    timeline = (await alice.sync(filter={"room": {"timeline": {"limit": 50}}}))["rooms"]["join"][room.room_id]
    assert said(timeline["timeline"]["events"]) == [*map(message, range(5))]
    assert timeline["unread_notifications"]["notification_count"] == 0


async def test_a_sync_leads_to_the_history(peer: Peer, alice: Client) -> None:
    room = room_with_messages(peer, 5)
    await join_by(alice, room.room_id, peer.server_name)
    timeline = (await alice.sync())["rooms"]["join"][room.room_id]["timeline"]
    page = await messages(alice, room.room_id, **{"from": timeline["prev_batch"]})
    assert said(page["chunk"][::-1]) == [*map(message, range(5))]
    assert {event["event_id"] for event in timeline["events"]}.isdisjoint(
        event["event_id"] for event in page["chunk"]
    )


async def test_the_states_in_the_history_are_those_of_then(peer: Peer, alice: Client) -> None:
    room = PeerRoom.create(peer)
    room.append("m.room.name", {"name": "first"}, "")
    room.append("m.room.message", {"msgtype": "m.text", "body": "then"})
    room.append("m.room.name", {"name": "second"}, "")
    for number in range(LIMIT):
        room.accept(room.message(message(number)))
    room.append("m.room.name", {"name": "third"}, "")
    await join_by(alice, room.room_id, peer.server_name)
    history = await whole_history(alice, room.room_id, limit=10)
    assert [event["content"]["name"] for event in history if event["type"] == "m.room.name"] == [
        "first", "second", "third",
    ]  # fmt: skip
    replaced = [event["unsigned"].get("prev_content") for event in history if event["type"] == "m.room.name"]
    assert replaced == [None, {"name": "first"}, {"name": "second"}]
    then = next(event for event in history if event["content"].get("body") == "then")
    around = (await alice.get(room_path(room.room_id, "context", then["event_id"]), limit=2)).ok()
    [name] = [event for event in around["state"] if event["type"] == "m.room.name"]
    assert name["content"] == {"name": "second"} or name["content"] == {"name": "first"}
    state = (await alice.get(room_path(room.room_id, "state", "m.room.name"))).ok()
    assert state == {"name": "third"}


async def test_what_a_new_member_may_not_see_stays_hidden(peer: Peer, alice: Client) -> None:
    room = PeerRoom.create(peer)
    room.append("m.room.message", {"msgtype": "m.text", "body": "shared"})
    room.append("m.room.history_visibility", {"history_visibility": "joined"}, "")
    room.append("m.room.message", {"msgtype": "m.text", "body": "secret"})
    await join_by(alice, room.room_id, peer.server_name)
    history = await whole_history(alice, room.room_id)
    assert said(history) == ["shared"]


async def test_context_and_times_lead_into_the_history(peer: Peer, alice: Client) -> None:
    room = PeerRoom.create(peer)
    start = room.events[room.extremities[0]]["origin_server_ts"] + 1_000
    ids = [
        room.accept(room.message(message(number), origin_server_ts=start + number)) for number in range(80)
    ]
    peer.answer(
        "GET",
        federation("v1", "timestamp_to_event") + "/{room_id}",
        lambda _: Reply({"event_id": ids[10], "origin_server_ts": start + 10}),
    )
    await join_by(alice, room.room_id, peer.server_name)
    own = await alice.send(room.room_id, "hello")
    around = (await alice.get(room_path(room.room_id, "context", own), limit=10)).ok()
    assert said(around["events_before"][::-1]) == [message(number) for number in range(76, 80)]
    path = (
        f"/_matrix/client/v1/rooms/{room.room_id.replace('!', '%21').replace(':', '%3A')}/timestamp_to_event"
    )
    found = (await alice.get(path, ts=start + 10, dir="f")).ok()
    assert found == {"event_id": ids[10], "origin_server_ts": start + 10}
    around = (await alice.get(room_path(room.room_id, "context", ids[10]), limit=4)).ok()
    assert said(around["events_after"]) == [message(11), message(12)]


async def test_forks_and_merges(peer: Peer, alice: Client) -> None:
    room = room_with_messages(peer, 3)
    fork = list(room.extremities)
    left = room.accept(room.message("left", prev_events=fork))
    right = room.accept(room.message("right", prev_events=fork))
    room.extremities = [left, right]
    room.accept(room.message("merged"))
    await join_by(alice, room.room_id, peer.server_name)
    history = said(await whole_history(alice, room.room_id))
    assert history[:3] == [message(0), message(1), message(2)]
    assert set(history[3:5]) == {"left", "right"}
    assert history[5:] == ["merged"]


async def test_a_redaction_takes_effect_on_what_comes_after_it(peer: Peer, alice: Client) -> None:
    """The event it redacts is fetched later, and the server that gives it still has it whole."""
    room = PeerRoom.create(peer)
    target = room.accept(room.message("to be redacted"))
    for number in range(LIMIT):
        room.accept(room.message(message(number)))
    room.append("m.room.redaction", {"redacts": target})
    await join_by(alice, room.room_id, peer.server_name)
    history = await whole_history(alice, room.room_id)
    assert "to be redacted" not in json.dumps(history)
    [event] = [event for event in history if event["event_id"] == target]
    assert event["content"] == {}


class Tampering:
    """The peer's answers, changed by the test."""

    def __init__(self, room: PeerRoom, change: Callable[[list[Any]], list[Any]]) -> None:
        self.room, self.change = room, change

    def __call__(self, heard: Heard) -> Reply:
        reply = self.room._backfill(heard)
        body: Any = reply.body
        return Reply({**body, "pdus": self.change(list(body["pdus"]))})


def forged(pdus: list[Any]) -> list[Any]:
    return [
        {**pdu, "content": {**pdu["content"], "body": "forged"}} if pdu["type"] == "m.room.message" else pdu
        for pdu in pdus
    ]


def unsigned(pdus: list[Any]) -> list[Any]:
    return [{**pdu, "signatures": {}} for pdu in pdus]


async def test_forged_history_is_redacted_or_refused(peer: Peer, alice: Client) -> None:
    room = room_with_messages(peer, 3)
    await join_by(alice, room.room_id, peer.server_name)
    peer.answer("GET", BACKFILL, Tampering(room, unsigned))
    assert said(await whole_history(alice, room.room_id)) == []
    other = room_with_messages(peer, 3)
    await join_by(alice, other.room_id, peer.server_name)
    peer.answer("GET", BACKFILL, Tampering(other, forged))
    assert said(await whole_history(alice, other.room_id)) == ["", "", ""]


@pytest.mark.parametrize(
    "answer",
    [
        Reply({}, 500),
        Reply({"errcode": "M_FORBIDDEN", "error": "no"}, 403),
        Reply({"pdus": []}),
        Reply({"pdus": "none"}),
        Reply({"pdus": [1, None, {}, {"type": "m.room.message"}]}),
        Reply(b"nonsense"),
    ],
)
async def test_without_history_a_room_shows_what_is_here(peer: Peer, alice: Client, answer: Reply) -> None:
    room = room_with_messages(peer, 3)
    await join_by(alice, room.room_id, peer.server_name)
    await alice.send(room.room_id, "hello")
    peer.answer("GET", BACKFILL, answer)
    assert said(await whole_history(alice, room.room_id)) == ["hello"]
    # Not asked again at once.
    asked = len(peer.heard_at("/backfill/"))
    assert asked == 1
    assert said(await whole_history(alice, room.room_id)) == ["hello"]
    assert len(peer.heard_at("/backfill/")) == asked


async def test_events_of_other_rooms_and_unconnected_ones_are_left_out(peer: Peer, alice: Client) -> None:
    room, other = room_with_messages(peer, 3), PeerRoom.create(peer)
    foreign = other.accept(other.message("of another room"))
    room.serve()
    await join_by(alice, room.room_id, peer.server_name)
    loose = room.message("unconnected", prev_events=["$" + "A" * 43])
    peer.answer("GET", BACKFILL, Tampering(room, lambda pdus: [*pdus, other.events[foreign], loose]))
    history = await whole_history(alice, room.room_id)
    assert said(history) == [*map(message, range(3))]


async def test_what_the_auth_rules_refuse_is_not_shown(peer: Peer, alice: Client) -> None:
    room = room_with_messages(peer, 1)
    stranger = f"@stranger:{peer.server_name}"
    room.accept(room.message("not a member", sender=stranger))
    room.accept(room.message("last"))
    await join_by(alice, room.room_id, peer.server_name)
    assert said(await whole_history(alice, room.room_id)) == [message(0), "last"]


async def test_several_readers_share_one_request(peer: Peer, one: FederatedServer, alice: Client) -> None:
    room = room_with_messages(peer, 5)
    bob = await one.user("bob")
    await join_by(alice, room.room_id, peer.server_name)
    await bob.join(room.room_id)
    pages = await gatherResults(
        [Deferred.fromCoroutine(messages(reader, room.room_id)) for reader in (alice, bob, alice)]
    )
    for page in pages:
        assert said(page["chunk"][::-1]) == [*map(message, range(5))]
    assert len(peer.heard_at("/backfill/")) == 1


async def test_between_our_servers(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    for number in range(LIMIT + 10):
        await alice.send(room_id, message(number))
    await join_by(bob, room_id, two.one.server_name)
    ours = await whole_history(alice, room_id)
    theirs = await whole_history(bob, room_id)
    assert [event["event_id"] for event in theirs] == [event["event_id"] for event in ours]
    assert said(theirs) == [*map(message, range(LIMIT + 10))]


async def test_a_server_that_is_away_is_asked_when_it_is_back(servers: Servers) -> None:
    clock = MovableClock()
    resident, joining = await servers.start(), await servers.start(clock=clock)
    alice, bob = await resident.user("alice"), await joining.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await alice.send(room_id, "before")
    await join_by(bob, room_id, resident.server_name)
    cut(resident, joining)
    page = await messages(bob, room_id)
    assert said(page["chunk"]) == []
    # Something is missing, so it is worth asking again; but not for ever.
    assert "end" in page
    assert "end" not in await messages(bob, room_id, **{"from": page["end"]})
    mend(resident, joining)
    clock.ahead_ms = 600_000
    assert said(await whole_history(bob, room_id)) == ["before"]


async def test_who_was_invited_reads_what_came_before(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room_id = await alice.create_room(preset="private_chat")
    await alice.send(room_id, "before")
    await alice.invite(room_id, bob.user_id)
    await alice.send(room_id, "invited")
    await join_by(bob, room_id, two.one.server_name)
    ours, theirs = await whole_history(alice, room_id), await whole_history(bob, room_id)
    assert said(theirs) == ["before", "invited"]
    assert [event["event_id"] for event in theirs] == [event["event_id"] for event in ours]


async def test_who_comes_back_has_the_order_of_before(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await alice.send(room_id, "before")
    await join_by(bob, room_id, two.one.server_name)
    assert said(await whole_history(bob, room_id)) == ["before"]
    await bob.leave(room_id)
    # As long as Alice's server does not know that, it sends the message, and sees it beside the leave.
    await sees(alice, room_id, bob.user_id, "leave")
    await alice.send(room_id, "between")
    await join_by(bob, room_id, two.one.server_name)
    await bob.send(room_id, "after")
    assert said(await whole_history(bob, room_id)) == ["before", "between", "after"]
