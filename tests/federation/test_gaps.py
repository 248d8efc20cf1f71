"""Gaps in the middle of a room's history: what a server has missed is fetched when somebody reads there."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.rooms import missing as missing_module
from homeserver.rooms import room_changes
from homeserver.services.backfill import LIMIT, RETRY_MS
from homeserver.services.federation_outbox import catch_up
from homeserver.services.timelines import MOST_BACKFILLS, Direction
from tests.api.server import Client, room_path
from tests.federation.clocks import MovableClock
from tests.federation.devices import kept, queried
from tests.federation.harness import FederatedServer, Servers, cut, mend, until
from tests.federation.peer import Peer, Reply, federation
from tests.federation.scene import Scene, set_scene
from tests.federation.test_history import BACKFILL, join_by, message, messages, said, whole_history
from tests.key_holders import CHANGES, Device

MISSING = federation("v1", "get_missing_events") + "/{room_id}"
ALL: dict[str, Any] = {"room": {"timeline": {"limit": 100}}}


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    scene = await set_scene(servers, peer, clock=MovableClock())
    before = await scene.alice.send(scene.room.room_id, "before")
    await until(lambda: heard(scene, before), what="that the peer has the message")
    return scene


async def heard(scene: Scene, event_id: str) -> bool:
    return event_id in scene.room.events


def miss(scene: Scene, count: int) -> list[str]:
    """Messages of the room that Alice's server is not sent; gives their texts."""
    texts = [*map(message, range(count))]
    for text in texts:
        scene.room.accept(scene.says(text))
    return texts


async def open_gap(scene: Scene, text: str = "last") -> None:
    """The peer sends one more message, and nothing of what came before it."""
    scene.peer.answer("POST", MISSING, Reply({"events": []}))
    last = scene.says(text)
    scene.room.accept(last)
    (await scene.send([last])).ok()


async def news(client: Client, room_id: str, since: str, text: str) -> Any:
    """The room's part of a sync, as soon as a message is in it."""

    async def look() -> Any:
        answer = await client.sync(since, filter=ALL)
        part = answer.get("rooms", {}).get("join", {}).get(room_id)
        if part is None or text not in said(part["timeline"]["events"]):
            return None
        return {**part, "next_batch": answer["next_batch"]}

    return await until(look, what=f"the message {text}")


async def back_from(client: Client, room_id: str, token: str) -> list[Any]:
    """All events before a token, oldest first."""
    found: list[Any] = []
    for _ in range(50):
        page = await messages(client, room_id, **{"from": token})
        found += page["chunk"]
        if "end" not in page:
            return found[::-1]
        token = page["end"]
    raise AssertionError("there is no end of it")


def ids(events: Sequence[Any]) -> list[str]:
    return [event["event_id"] for event in events]


async def test_a_client_reads_back_into_a_gap(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, LIMIT + 20)
    await open_gap(scene)
    part = await news(alice, room_id, since, "last")
    assert part["timeline"]["limited"] is True
    assert said(part["timeline"]["events"]) == ["last"]
    history = await back_from(alice, room_id, part["timeline"]["prev_batch"])
    assert said(history) == ["before", *missed]
    whole = [*history, *part["timeline"]["events"]]
    assert len({*ids(whole)}) == len(whole)
    assert history[0]["type"] == "m.room.create"
    assert len(scene.peer.heard_at("/backfill/")) == 2
    assert ids(await whole_history(alice, room_id)) == ids(whole)
    forwards = (await alice.get(room_path(room_id, "messages"), dir="f", limit=1000)).ok()
    assert ids(forwards["chunk"]) == ids(whole)
    # None of it is news, nor unread; for a client that comes later it is part of the timeline.
    assert room_id not in (await alice.sync(part["next_batch"])).get("rooms", {}).get("join", {})
    later = (await alice.sync(since, filter=ALL))["rooms"]["join"][room_id]
    assert later["timeline"]["limited"] is False
    assert said(later["timeline"]["events"]) == [*missed, "last"]
    assert later["unread_notifications"]["notification_count"] == 1


async def test_a_timeline_ends_where_the_gap_is_not_filled_yet(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, LIMIT + 20)
    await open_gap(scene)
    part = await news(alice, room_id, since, "last")
    page = await messages(alice, room_id, limit=5, **{"from": part["timeline"]["prev_batch"]})
    assert said(page["chunk"][::-1]) == missed[-5:]
    later = (await alice.sync(since, filter=ALL))["rooms"]["join"][room_id]["timeline"]
    assert later["limited"] is True
    assert said(later["events"]) == [*missed[20:], "last"]
    assert said(await back_from(alice, room_id, later["prev_batch"])) == ["before", *missed[:20]]
    assert said(await back_from(alice, room_id, page["end"])) == ["before", *missed[:-5]]


async def test_a_waiting_client_is_told_of_the_gap(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(alice.sync(since, timeout=20_000))
    missed = miss(scene, 3)
    await open_gap(scene)
    answer = await waiting
    timeline = answer["rooms"]["join"][room_id]["timeline"]
    assert (said(timeline["events"]), timeline["limited"]) == (["last"], True)
    assert said(await back_from(alice, room_id, timeline["prev_batch"])) == ["before", *missed]
    # What follows is told as ever.
    since = answer["next_batch"]
    waiting = Deferred.fromCoroutine(alice.sync(since, timeout=20_000))
    await alice.send(room_id, "after")
    timeline = (await waiting)["rooms"]["join"][room_id]["timeline"]
    assert (said(timeline["events"]), timeline["limited"]) == (["after"], False)


async def test_contexts_and_forward_pages_lead_through_a_gap(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    before = (await messages(alice, room_id, limit=1))["chunk"][0]["event_id"]
    missed = miss(scene, LIMIT + 5)
    await open_gap(scene)
    part = await news(alice, room_id, since, "last")
    around = (await alice.get(room_path(room_id, "context", before), limit=20)).ok()
    assert around["events_after"] == []
    page = await messages(alice, room_id, dir="f", limit=100, **{"from": around["end"]})
    assert said(page["chunk"]) == [*missed, "last"]
    last = part["timeline"]["events"][-1]["event_id"]
    around = (await alice.get(room_path(room_id, "context", last), limit=6)).ok()
    assert said(around["events_before"][::-1]) == missed[-3:]


async def test_a_page_forwards_skips_nothing_of_a_gap_that_takes_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST_BACKFILLS, Direction.FORWARDS, 1)
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, 2 * LIMIT + 5)
    await open_gap(scene)
    await news(alice, room_id, since, "last")
    token, pages = since, []
    while token is not None:
        page = await messages(alice, room_id, dir="f", limit=1000, **{"from": token})
        pages.append(said(page["chunk"]))
        token = page.get("end")
    # Nothing can be shown before it is known what comes next.
    assert pages == [[], [], [*missed, "last"]]


async def test_who_listens_gets_what_is_in_a_gap(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    other = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, LIMIT + 5)
    await open_gap(scene)
    await news(alice, room_id, since, "last")
    await alice.send(other, "elsewhere")
    listen = {"from": since, "timeout": 0}
    heard_all = (await alice.get("/_matrix/client/v3/events", **listen)).ok()
    assert said(heard_all["chunk"]) == [*missed, "last", "elsewhere"]
    heard_here = (await alice.get("/_matrix/client/v3/events", room_id=room_id, **listen)).ok()
    assert said(heard_here["chunk"]) == [*missed, "last"]


async def test_who_listens_gets_the_news_where_the_gap_cannot_be_filled(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    other = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    miss(scene, 3)
    await open_gap(scene)
    await news(alice, room_id, since, "last")
    await alice.send(other, "elsewhere")
    scene.peer.answer("GET", BACKFILL, Reply({}, 500))
    answer = (await alice.get("/_matrix/client/v3/events", timeout=0, **{"from": since})).ok()
    assert said(answer["chunk"]) == ["last", "elsewhere"]
    assert len(scene.peer.heard_at("/backfill/")) == 1


async def test_snapshots_and_found_events_end_at_a_gap_and_lead_into_it(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, 5)
    await open_gap(scene)
    await news(alice, room_id, since, "last")
    snapshot = (await alice.get(room_path(room_id, "initialSync"))).ok()["messages"]
    assert said(snapshot["chunk"]) == ["last"]
    await scene.server.running.server.services.search_index.work()
    around = {term: await context_of(alice, term) for term in ("before", "last")}
    assert (around["last"]["events_before"], around["before"]["events_after"]) == ([], [])
    for token in (snapshot["start"], around["last"]["start"]):
        assert said(await back_from(alice, room_id, token)) == ["before", *missed]
    page = await messages(alice, room_id, dir="f", limit=100, **{"from": around["before"]["end"]})
    assert said(page["chunk"]) == [*missed, "last"]


async def context_of(client: Client, term: str) -> Any:
    """What a search for the term says of the surroundings of what it finds."""
    categories = {"room_events": {"search_term": term, "event_context": {}}}
    answer = (await client.post("/_matrix/client/v3/search", {"search_categories": categories})).ok()
    (found,) = answer["search_categories"]["room_events"]["results"]
    return found["context"]


async def test_a_time_in_a_gap_is_found(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    start = max(event["origin_server_ts"] for event in scene.room.events.values()) + 1_000
    missed = [
        scene.room.accept(scene.says(message(number), origin_server_ts=start + number))
        for number in range(10)
    ]
    scene.peer.answer(
        "GET",
        federation("v1", "timestamp_to_event") + "/{room_id}",
        lambda _: Reply({"event_id": missed[4], "origin_server_ts": start + 4}),
    )
    scene.peer.answer("POST", MISSING, Reply({"events": []}))
    last = scene.says("last", origin_server_ts=start + 1_000)
    scene.room.accept(last)
    (await scene.send([last])).ok()
    await news(alice, room_id, since, "last")
    path = f"/_matrix/client/v1/rooms/{room_id.replace('!', '%21').replace(':', '%3A')}/timestamp_to_event"
    found = (await alice.get(path, ts=start + 4, dir="f")).ok()
    assert found == {"event_id": missed[4], "origin_server_ts": start + 4}


async def test_states_in_a_gap_are_those_of_then(scene: Scene) -> None:
    """And the current one stays what it is."""
    alice, room, room_id = scene.alice, scene.room, scene.room.room_id
    levels = (await alice.get(room_path(room_id, "state", "m.room.power_levels"))).ok()
    levels["users"][scene.mallory] = 50
    given = await alice.set_state(room_id, "m.room.power_levels", levels)
    await until(lambda: heard(scene, given), what="that the peer has the levels")
    since = (await alice.sync())["next_batch"]
    room.append("m.room.topic", {"topic": "first"}, "", sender=scene.mallory)
    missed = miss(scene, LIMIT)
    room.append("m.room.topic", {"topic": "second"}, "", sender=scene.mallory)
    await open_gap(scene)
    part = await news(alice, room_id, since, "last")
    topics = [event["content"] for event in part["state"]["events"] if event["type"] == "m.room.topic"]
    assert topics == [{"topic": "second"}]
    history = await back_from(alice, room_id, part["timeline"]["prev_batch"])
    assert said(history)[-LIMIT:] == missed
    shown = [event for event in history if event["type"] == "m.room.topic"]
    assert [event["content"]["topic"] for event in shown] == ["first", "second"]
    assert [event["unsigned"].get("prev_content") for event in shown] == [None, {"topic": "first"}]
    assert (await alice.get(room_path(room_id, "state", "m.room.topic"))).ok() == {"topic": "second"}


def says_devices(scene: Scene, *devices: Device, stream_id: int) -> None:
    """Mallory has these devices from now on."""
    listed = [{"device_id": each.device_id, "keys": each.keys()} for each in devices]
    body = {"user_id": scene.mallory, "stream_id": stream_id, "devices": listed}
    scene.peer.answer("GET", federation("v1", "user", "devices", scene.mallory), Reply(body))


@pytest.mark.parametrize("seen", ["a message", "the join"])
async def test_who_left_and_came_back_in_a_gap_is_asked_for_devices_again(scene: Scene, seen: str) -> None:
    """Meanwhile nobody here was told of them; whichever event it is after the gap that shows it."""
    room, mallory = scene.room, scene.mallory
    phone, tablet = Device(mallory, "PHONE"), Device(mallory, "TABLET")
    says_devices(scene, phone, stream_id=5)
    assert await queried(scene.server, mallory) == {"PHONE"}
    since = (await scene.alice.sync())["next_batch"]
    left = room.append("m.room.member", {"membership": "leave"}, mallory, sender=mallory)
    says_devices(scene, phone, tablet, stream_id=6)
    # Of events of the same time the resolution of states would take any for the last one.
    later: dict[str, Any] = {"origin_server_ts": room.events[left]["origin_server_ts"] + 1}
    coming = room.make("m.room.member", {"membership": "join"}, mallory, sender=mallory, **later)
    room.accept(coming)
    if seen == "the join":
        scene.peer.answer("POST", MISSING, Reply({"events": []}))
        (await scene.send([coming])).ok()
    else:
        await open_gap(scene)

    async def is_told() -> bool:
        changes = (await scene.alice.get(CHANGES, **{"from": since, "to": since})).ok()
        return mallory in changes["changed"]

    await until(is_told, what="that Alice is told")
    assert await queried(scene.server, mallory) == {"PHONE", "TABLET"}


async def test_who_has_another_name_after_a_gap_is_not_asked_for_devices_again(scene: Scene) -> None:
    """The new membership follows the old one, so there was none between them."""
    mallory = scene.mallory
    says_devices(scene, Device(mallory, "PHONE"), stream_id=5)
    assert await queried(scene.server, mallory) == {"PHONE"}
    since = (await scene.alice.sync())["next_batch"]
    for name in ("seen", "unseen"):
        content = {"membership": "join", "displayname": name}
        renaming = scene.room.make("m.room.member", content, mallory, sender=mallory)
        scene.room.accept(renaming)
        if name == "seen":
            await scene.deliver(name, renaming)
    await open_gap(scene)
    await scene.seen("last")
    assert (await scene.state())["m.room.member", mallory]["displayname"] == "unseen"
    assert await kept(scene.server, mallory) == {"PHONE"}
    changes = (await scene.alice.get(CHANGES, **{"from": since, "to": since})).ok()
    assert mallory not in changes["changed"]


async def test_a_gap_that_ends_with_a_fork_is_one(scene: Scene) -> None:
    alice, room, room_id = scene.alice, scene.room, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, 5)
    fork = list(room.extremities)
    hidden = [room.accept(scene.says(text, prev_events=fork)) for text in ("left", "right")]
    scene.peer.answer("POST", MISSING, Reply({"events": []}))
    ends = [
        scene.says(f"after {text}", prev_events=[event_id])
        for text, event_id in zip(("left", "right"), hidden, strict=True)
    ]
    room.extremities = [room.accept(each) for each in ends]
    for end, text in zip(ends, ("after left", "after right"), strict=True):
        (await scene.send([end])).ok()
        part = await news(alice, room_id, since, text)
    found = said([*await back_from(alice, room_id, part["timeline"]["prev_batch"])])
    found += said(part["timeline"]["events"])
    assert found[:6] == ["before", *missed]
    assert {*found[6:8]} == {"left", "right"}
    assert found[8:] == ["after left", "after right"]


@pytest.mark.parametrize(
    "answer",
    [
        Reply({}, 500),
        Reply({"pdus": []}),
        Reply({"pdus": [1, None, {}, {"type": "m.room.message"}]}),
        Reply(b"nonsense"),
    ],
)
async def test_nonsense_keeps_nobody_from_what_is_here(scene: Scene, answer: Reply, servers: Servers) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, 3)
    await open_gap(scene)
    await news(alice, room_id, since, "last")
    scene.peer.answer("GET", BACKFILL, answer)
    assert said(await whole_history(alice, room_id)) == ["before", "last"]
    forwards = (await alice.get(room_path(room_id, "messages"), dir="f", limit=1000)).ok()
    assert said(forwards["chunk"]) == ["before", "last"]
    assert len(scene.peer.heard_at("/backfill/")) == 1
    assert (await alice.sync(since, filter=ALL))["rooms"]["join"][room_id]["timeline"]["limited"] is True
    # Asked again after a while.
    scene.room.serve()
    clock = servers.made[0]._clock
    assert isinstance(clock, MovableClock)
    clock.advance(hours=RETRY_MS / 3_600_000)
    assert said(await whole_history(alice, room_id)) == ["before", *missed, "last"]


async def test_what_does_not_fit_stays_missing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_changes, "ROOM", LIMIT + 10)
    alice, room_id = scene.alice, scene.room.room_id
    since = (await alice.sync())["next_batch"]
    missed = miss(scene, LIMIT + 20)
    await open_gap(scene)
    await news(alice, room_id, since, "last")
    assert said(await whole_history(alice, room_id)) == ["before", *missed[20:], "last"]


async def test_who_comes_back_reads_what_was_said_meanwhile(servers: Servers) -> None:
    here, there = await servers.start(), await servers.start()
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await alice.send(room_id, "before")
    await join_by(bob, room_id, here.server_name)
    assert said(await whole_history(bob, room_id)) == ["before"]
    await bob.leave(room_id)
    await until(lambda: has_left(alice, room_id, bob), what="that Bob has left")
    between = [*map(message, range(LIMIT + 10))]
    for text in between:
        await alice.send(room_id, text)
    await join_by(bob, room_id, here.server_name)
    await bob.send(room_id, "after")
    timeline = (await bob.sync())["rooms"]["join"][room_id]["timeline"]
    assert timeline["limited"] is True
    history = await back_from(bob, room_id, timeline["prev_batch"])
    whole = [*history, *timeline["events"]]
    assert said(whole) == ["before", *between, "after"]
    assert ids(whole) == ids(await whole_history(alice, room_id))


async def test_an_outage_longer_than_what_is_fetched(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both what the other server sends afterwards, and what this one asks for, are a few events."""
    monkeypatch.setattr(catch_up, "MOST_IN_ALL", 5)
    monkeypatch.setattr(missing_module, "ROUNDS", 1)
    monkeypatch.setattr(missing_module, "AT_ONCE", 5)
    clock = MovableClock()
    here, there = await servers.start(clock=clock), await servers.start(clock=clock)
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await join_by(bob, room_id, here.server_name)
    first = await alice.send(room_id, "before")
    await until(lambda: shows(bob, room_id, first), what="the message before")
    since = (await bob.sync())["next_batch"]
    cut(here, there)
    sent = [*map(message, range(30))]
    await alice.send(room_id, sent[0])
    await until(lambda: is_behind(here), what="that the other server is out of reach")
    for text in sent[1:]:
        await alice.send(room_id, text)
    mend(here, there)
    clock.advance(hours=2)
    await alice.send(room_id, "last")
    part = await news(bob, room_id, since, "last")
    timeline = part["timeline"]
    assert timeline["limited"] is True
    assert len(timeline["events"]) < len(sent)
    history = await back_from(bob, room_id, timeline["prev_batch"])
    whole = [*history, *timeline["events"]]
    assert said(whole) == ["before", *sent, "last"]
    assert ids(whole) == ids(await whole_history(alice, room_id))


async def is_behind(server: FederatedServer) -> bool:
    return bool(server.running.server.services.outbox.queues.behind)


async def has_left(reader: Client, room_id: str, who: Client) -> bool:
    member = (await reader.get(room_path(room_id, "state", "m.room.member", who.user_id))).ok()
    return bool(member["membership"] == "leave")


async def shows(client: Client, room_id: str, event_id: str) -> bool:
    return (await client.get(room_path(room_id, "event", event_id))).status == 200
