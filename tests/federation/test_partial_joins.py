"""Rooms that are entered without their members. Server-server API, `joins-v2.yaml`, `omit_members`."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.backoff import Backoff
from homeserver.core.identifiers import EventID, RoomID
from homeserver.services import awaited_members, federation_joins, partial_joins
from homeserver.storage import events, room_servers, rooms
from tests.api.server import path_of, room_path
from tests.federation.conftest import Two
from tests.federation.harness import Servers, until
from tests.federation.meetings import join_via, membership, sees, state_of
from tests.federation.partial_rooms import (
    LAZY,
    MEMBER,
    PartialRoom,
    Stage,
    check_consistent,
    is_partial,
    until_whole,
)
from tests.federation.peer import Peer, Reply, federation


@pytest.fixture
async def stage(servers: Servers, peer: Peer) -> Stage:
    return await Stage.set(servers, peer)


async def test_the_room_is_there_before_its_members(stage: Stage) -> None:
    """She talks and reads; what was said stands when the members have come."""
    member = stage.partial.members[3]
    synced = (await stage.alice.sync(filter=LAZY))["rooms"]["join"][stage.room]
    types = {event["type"] for event in synced["state"]["events"]}
    assert {"m.room.create", "m.room.power_levels", "m.room.join_rules"} <= types
    assert [event["sender"] for event in synced["timeline"]["events"]] == [stage.alice.user_id]
    said = await stage.alice.send(stage.room, "hello")
    await stage.heard(said)
    answered = await stage.partial.say(stage.server, "welcome", sender=member)
    await stage.seen(answered)
    assert await is_partial(stage.server, stage.room)
    again = await stage.alice.send(stage.room, "thanks")
    await stage.heard(again)
    topic = await stage.alice.get(room_path(stage.room, "state", "m.room.join_rules", ""))
    assert topic.ok() == {"join_rule": "public"}
    await stage.complete()
    shown = [each["event_id"] for each in await stage.timeline(stage.alice)]
    assert shown[-3:] == [said, answered, again]


async def test_who_speaks_is_introduced(stage: Stage) -> None:
    """A client that loads members lazily gets the sender's membership, though the state does not name the sender."""
    since = (await stage.alice.sync(filter=LAZY))["next_batch"]
    member = stage.partial.members[2]
    await stage.seen(await stage.partial.say(stage.server, "it is me", sender=member))
    synced = (await stage.alice.sync(since, filter=LAZY))["rooms"]["join"][stage.room]
    assert [event["state_key"] for event in synced["state"]["events"]] == [member]
    await stage.complete()


@pytest.mark.parametrize("after", ["false", "true"])
async def test_clients_get_the_members_when_they_come(
    stage: Stage, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a token from before and from during the time, with lazy loading and without it."""
    # A few are to be many.
    monkeypatch.setattr("homeserver.services.sync.partial_rooms.MANY", 3)
    name = "state_after" if after == "true" else "state"

    async def members(since: str | None, filter: object = None) -> set[str]:
        query: dict[str, Any] = {} if filter is None else {"filter": filter}
        synced = await stage.alice.sync(since, use_state_after=after, **query)
        room = synced["rooms"]["join"][stage.room]
        listed = [*room[name]["events"], *room["timeline"]["events"]]
        return {each["state_key"] for each in listed if each["type"] == MEMBER}

    own = {stage.alice.user_id}
    mallory = stage.partial.room.creator
    everybody = {*stage.partial.members, mallory, stage.alice.user_id}
    assert not await members(None) & set(stage.partial.members)
    eager = (await stage.alice.sync(use_state_after=after))["next_batch"]
    lazy = (await stage.alice.sync(use_state_after=after, filter=LAZY))["next_batch"]
    speaker = stage.partial.members[0]
    await stage.seen(await stage.partial.say(stage.server, "hello", sender=speaker))
    waiting = Deferred.fromCoroutine(
        stage.alice.sync((await stage.alice.sync(lazy))["next_batch"], timeout=20_000)
    )
    await stage.complete()
    assert (await waiting)["rooms"]["join"][stage.room]["summary"]["m.joined_member_count"] == len(everybody)
    assert await members(eager) >= set(stage.partial.members)
    assert await members(lazy, LAZY) - own - {mallory} == {speaker}
    assert await members(None) == everybody
    listed = (await stage.alice.get(room_path(stage.room, "members"), at=lazy)).ok()["chunk"]
    assert {each["state_key"] for each in listed} == everybody


async def test_lists_of_members_wait(stage: Stage) -> None:
    asked = [
        Deferred.fromCoroutine(stage.alice.get(room_path(stage.room, what)))
        for what in ("members", "joined_members", "state")
    ]
    await until(lambda: _value(stage.partial.gate.came > 0), what="that the members are asked for")
    assert not any(each.called for each in asked)
    stage.partial.gate.open()
    members, joined, state = [(await each).ok() for each in asked]
    everybody = {*stage.partial.members, stage.partial.room.creator, stage.alice.user_id}
    assert {each["state_key"] for each in members["chunk"]} == everybody
    assert joined["joined"].keys() == everybody
    assert {each["state_key"] for each in state if each["type"] == MEMBER} == everybody


async def test_nobody_waits_for_ever(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_members, "PATIENCE_MS", 200)
    error = (await stage.alice.get(room_path(stage.room, "members"))).error(429, "M_LIMIT_EXCEEDED")
    assert error["retry_after_ms"] > 0
    invited = stage.alice.post(room_path(stage.room, "kick"), {"user_id": stage.partial.members[0]})
    (await invited).error(429, "M_LIMIT_EXCEEDED")
    await stage.complete()


async def test_what_a_banned_user_says_is_taken_back(servers: Servers, peer: Peer) -> None:
    """Whether the sender still is in the room cannot be told from what the message cites."""
    server = await servers.start()
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    evil = partial.members[1]
    joined = partial.room.state[MEMBER, evil]
    partial.enter(evil, "ban", sender=partial.room.creator)
    await partial.join(alice)
    stage = Stage(server, alice, peer, partial)
    cited = {**partial.room.state, (MEMBER, evil): joined}
    pdu = partial.room.message("I am still here", sender=evil, state=cited)
    event_id = partial.room.id_of(pdu)
    partial.room.events[event_id] = pdu
    (await peer.send(server.server_name, [pdu])).ok()
    await stage.seen(event_id)
    said = await alice.send(stage.room, "are you?")
    await stage.heard(said)
    partial.gate.open()
    await until_whole(server, stage.room)
    stored = await server.running.server.database.read(events.of, event_id)
    assert stored is not None
    assert stored.status == events.REJECTED
    assert event_id not in {each["event_id"] for each in await stage.timeline(alice)}
    assert said in {each["event_id"] for each in await stage.timeline(alice)}
    assert await state_of(alice, stage.room) == partial.room.state


async def test_what_forks_the_state_waits(stage: Stage) -> None:
    """Two changes of the state beside each other are resolved when the whole state is known, and not before."""
    room, first = stage.partial.room, stage.partial.room.extremities[0]
    avatar = room.make("m.room.avatar", {"url": "mxc://x/y"}, "", prev_events=[first])
    room.accept(avatar)
    topic = room.make("m.room.topic", {"topic": "Talk"}, "", prev_events=[first])
    room.accept(topic)
    later = room.message("after both")
    (await stage.peer.send(stage.server.server_name, [avatar, topic, later])).ok()
    room.accept(later)
    await stage.seen(room.id_of(avatar))
    shown = {each["event_id"] for each in await stage.timeline(stage.alice)}
    assert room.id_of(topic) not in shown
    assert room.id_of(later) not in shown
    await stage.complete()
    shown = {each["event_id"] for each in await stage.timeline(stage.alice)}
    assert {room.id_of(topic), room.id_of(later)} <= shown


async def test_what_follows_a_gap_waits(stage: Stage) -> None:
    """An event beside the join, of whose past nothing is known here."""
    room = stage.partial.room
    join = room.extremities[0]
    beside = room.make(
        "m.room.message",
        {"body": "beside"},
        sender=stage.partial.members[0],
        prev_events=room.ids_in(room.events[join]["prev_events"]),
    )
    (await stage.peer.send(stage.server.server_name, [beside])).ok()
    room.accept(beside)
    await stage.seen(await stage.partial.say(stage.server, "on top", sender=room.creator, prev_events=[join]))
    assert room.id_of(beside) not in {each["event_id"] for each in await stage.timeline(stage.alice)}
    stage.partial.gate.open()
    await until_whole(stage.server, stage.room)
    await stage.seen(room.id_of(beside))
    await stage.settled()
    await check_consistent(stage.server, stage.partial)


async def test_members_come_and_go_meanwhile(stage: Stage) -> None:
    """The rows and the counts are right in the end, whoever was known when."""
    leaving, renamed = stage.partial.members[:2]
    room = stage.partial.room
    changes = []
    for sender, content in (
        (leaving, {"membership": "leave"}),
        (renamed, {"membership": "join", "displayname": "New"}),
        (f"@newcomer:{stage.peer.server_name}", {"membership": "join"}),
    ):
        pdu = room.make(MEMBER, content, sender, sender=sender)
        room.accept(pdu)
        changes.append(pdu)
    (await stage.peer.send(stage.server.server_name, changes)).ok()
    await stage.seen(room.id_of(changes[-1]))
    await stage.complete()
    assert await membership(stage.alice, stage.room, leaving) == "leave"
    assert await membership(stage.alice, stage.room, f"@newcomer:{stage.peer.server_name}") == "join"


async def test_more_users_of_this_server_join_when_all_is_known(servers: Servers, peer: Peer) -> None:
    server = await servers.start()
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    partial = PartialRoom.create(peer)
    partial.enter(bob.user_id, "ban", sender=partial.room.creator)
    await partial.join(alice)
    joins = [Deferred.fromCoroutine(each.post(path_of("join", partial.room_id))) for each in (bob, carol)]
    await until(lambda: _value(partial.gate.came > 0), what="that the members are asked for")
    partial.gate.open()
    (await joins[0]).error(403, "M_FORBIDDEN")
    (await joins[1]).ok()
    assert await membership(alice, partial.room_id, bob.user_id) == "ban"
    assert await membership(alice, partial.room_id, carol.user_id) == "join"
    stage = Stage(server, alice, peer, partial)
    await stage.settled()
    await check_consistent(server, partial)


async def test_she_leaves_before_the_members_come(stage: Stage) -> None:
    await stage.alice.leave(stage.room)
    database = stage.server.running.server.database

    async def is_over() -> bool:
        room = await database.read(rooms.of, RoomID(stage.room))
        assert room is not None
        own = await database.read(room_servers.joined, room.room_nid, stage.server.server_name)
        return own == 0

    await until(is_over, what="that she has left")
    stage.partial.gate.open()
    left = (await stage.alice.sync(filter={"room": {"include_leave": True}}))["rooms"]["leave"]
    assert stage.room in left
    # And again, with members this time.
    await stage.partial.join(stage.alice)
    join = stage.partial.room.extremities[-1]
    await until_whole(stage.server, stage.room)
    await stage.settled()
    await check_consistent(stage.server, stage.partial, join)


async def test_the_process_stops_in_between(stage: Stage) -> None:
    said = await stage.alice.send(stage.room, "hello")
    await stage.heard(said)
    await until(lambda: _value(stage.partial.gate.came > 0), what="that the members are asked for")
    await stage.server.stop()
    stage.partial.gate.open()
    await stage.server.start()
    stage.server.reconnect(stage.alice)
    await until_whole(stage.server, stage.room)
    await check_consistent(stage.server, stage.partial)


async def test_another_server_is_asked(servers: Servers, peer: Peer, numeric_peer: Peer) -> None:
    """The one by which the room was entered does not tell the rest."""
    server = await servers.start()
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    partial.others.append(numeric_peer.server_name)
    partial.serve(numeric_peer)
    partial.gate.open()
    peer.answer("GET", federation("v1") + "state_ids/{room_id}", Reply({}, 500))
    await partial.join(alice)
    await until_whole(server, partial.room_id)
    await check_consistent(server, partial)
    assert numeric_peer.heard_at("state_ids")


async def test_all_servers_of_the_room_are_sent_events(
    servers: Servers, peer: Peer, numeric_peer: Peer
) -> None:
    """Also those none of whose members are known yet."""
    server = await servers.start()
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    partial.others.append(numeric_peer.server_name)
    got: list[str] = []

    def take(heard: Any) -> Reply:
        got.extend(partial.room.id_of(pdu) for pdu in heard.json["pdus"])
        return Reply({"pdus": {}})

    numeric_peer.answer("PUT", federation("v1") + "send/{txn_id}", take)
    await partial.join(alice)
    said = await alice.send(partial.room_id, "hello")
    await until(lambda: _value(said in got), what="that the other server gets the message")
    assert await is_partial(server, partial.room_id)
    partial.gate.open()


async def test_a_state_that_does_not_allow_the_join_is_not_believed(
    servers: Servers, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if no other can be had for long, the room is left."""
    monkeypatch.setattr(partial_joins, "GIVE_UP_MS", -1)
    server = await servers.start()
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    await partial.join(alice)
    join = partial.room.extremities[0]
    ban = partial.room.make(MEMBER, {"membership": "ban"}, alice.user_id)
    partial.room.events[partial.room.id_of(ban)] = ban
    partial.room.before[join] = {
        **partial.room.before[join],
        (MEMBER, alice.user_id): partial.room.id_of(ban),
    }
    partial.gate.open()

    async def has_left() -> bool:
        return partial.room_id not in (await alice.get(path_of("joined_rooms"))).ok()["joined_rooms"]

    await until(has_left, what="that the room is left")
    assert await is_partial(server, partial.room_id)


@pytest.mark.parametrize("missing", ["m.room.power_levels", "m.room.create"])
async def test_a_state_that_lacks_what_was_there_is_not_believed(
    stage: Stage, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and in the end somebody tells the truth."""
    monkeypatch.setattr(partial_joins, "BACKOFF", Backoff(first_ms=50, cap_ms=50))
    join = stage.partial.room.extremities[0]
    whole = stage.partial.room.before[join]
    stage.partial.room.before[join] = {key: each for key, each in whole.items() if key[0] != missing}
    stage.partial.gate.open()
    await until(lambda: _value(len(stage.peer.heard_at("state_ids")) > 1), what="that it is asked for again")
    assert await is_partial(stage.server, stage.room)
    stage.partial.room.before[join] = whole
    await until_whole(stage.server, stage.room)
    await check_consistent(stage.server, stage.partial)


async def test_what_is_not_known_is_not_told(stage: Stage) -> None:
    """Server-server API: states that lack members, and templates made of them, would mislead others."""
    room, own = stage.room, stage.server.server_name
    join = stage.partial.room.extremities[0]
    for what in ("state", "state_ids"):
        asked = stage.peer.request("GET", own, federation("v1", what, room), query={"event_id": join})
        (await asked).error(404, "M_NOT_FOUND")
    user_id = f"@new:{stage.peer.server_name}"
    for what in ("make_join", "make_leave", "make_knock"):
        asked = stage.peer.request("GET", own, federation("v1", what, room, user_id), query={"ver": ["11"]})
        (await asked).error(404, "M_NOT_FOUND")
    # What the peer may see anyway, it gets.
    said = await stage.alice.send(room, "hello")
    given = (await stage.peer.request("GET", own, federation("v1", "event", said))).ok()
    assert given["pdus"][0]["content"]["body"] == "hello"
    await stage.complete()
    asked = stage.peer.request("GET", own, federation("v1", "state_ids", room), query={"event_id": join})
    assert set((await asked).ok()["pdu_ids"]) == set(stage.partial.room.before[EventID(join)].values())


@pytest.mark.parametrize("version", ["1", "6", "10", "12"])
async def test_between_servers_of_ours(two: Two, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One leaves members out, the other fetches them."""
    monkeypatch.setattr(federation_joins, "FEW_MEMBERS", 2)
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat", room_version=version, name="Meeting")
    others = [await two.one.user(f"user{number}") for number in range(5)]
    for each in others:
        await each.join(room)
    await join_via(bob, room, two.one)
    said = await bob.send(room, "hello")
    await until_whole(two.other, room)
    await sees(alice, room, bob.user_id, "join")
    assert await state_of(bob, room) == await state_of(alice, room)
    synced = (await bob.sync())["rooms"]["join"][room]
    assert synced["summary"]["m.joined_member_count"] == 7
    assert synced["timeline"]["events"][-1]["event_id"] == said
    carol = await two.other.user("carol")
    await carol.join(room)
    await sees(alice, room, carol.user_id, "join")


async def _value(value: bool) -> bool:
    return value
