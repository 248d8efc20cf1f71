"""Server-server API, `transactions.yaml`: what a server sends, over TLS, on both databases."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.identifiers import EventID, ServerName, UserID
from homeserver.storage import rooms
from tests.api.server import Client, room_path
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.peer import Heard, Peer, Reply
from tests.federation.shared_rooms import catch_up, mallory, send, shared_room, tell
from tests.rooms.signed_rooms import FAMILIES, SignedRoom


@pytest.fixture
async def ours(servers: Servers) -> FederatedServer:
    return await servers.start()


@pytest.fixture
async def alice(ours: FederatedServer) -> Client:
    return await ours.user("alice")


async def messages(alice: Client, room: SignedRoom) -> list[str]:
    """The bodies of the room's messages, oldest first."""
    page = (await alice.get(room_path(room.room_id, "messages"), dir="b", limit=100)).ok()
    return [e["content"].get("body") for e in page["chunk"][::-1] if e["type"] == "m.room.message"]


async def state_of(alice: Client, room: SignedRoom, event_type: str) -> Any:
    return (await alice.get(room_path(room.room_id, "state", event_type, ""))).ok()


@pytest.mark.parametrize("version", FAMILIES)
async def test_events_arrive(ours: FederatedServer, alice: Client, peer: Peer, version: str) -> None:
    room = await shared_room(ours, peer, alice, version)
    since = (await alice.sync())["next_batch"]
    said = [room.say(mallory(peer), str(number)) for number in range(30)]
    assert await send(room, ours, peer, *said) == {event.event_id: {} for event in said}

    async def have_all() -> bool:
        return await messages(alice, room) == [str(number) for number in range(30)]

    await until(have_all, what="all messages")
    answer = await alice.sync(since)
    shown = answer["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert [event["event_id"] for event in shown] == [event.event_id for event in said[-10:]]
    # What is said in turn is on top of it.
    await alice.send(room.room_id, "answer")
    await catch_up(room, ours)
    assert room.last.prev_events == (said[-1].event_id,)


async def test_a_waiting_client_is_woken(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    since = (await alice.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(alice.sync(since, timeout=20_000))
    event = room.say(mallory(peer), "hello")
    await send(room, ours, peer, event)
    shown = (await waiting)["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert [each["event_id"] for each in shown] == [event.event_id]


async def test_a_repeated_transaction_is_answered_as_before(
    ours: FederatedServer, alice: Client, peer: Peer
) -> None:
    room = await shared_room(ours, peer, alice)
    event = room.say(mallory(peer), "once")
    first = await send(room, ours, peer, event, txn_id="t")
    other = room.say(mallory(peer), "not in the first")
    assert await send(room, ours, peer, event, other, txn_id="t") == first
    assert await send(room, ours, peer, event, txn_id="u") == first
    assert await messages(alice, room) == ["once"]


@pytest.mark.parametrize(("pdus", "edus"), [(51, 0), (0, 101)])
async def test_too_much_is_refused(
    ours: FederatedServer, alice: Client, peer: Peer, pdus: int, edus: int
) -> None:
    room = await shared_room(ours, peer, alice)
    event = room.pdu(room.say(mallory(peer)))
    answer = await peer.send(ours.server_name, [event] * pdus, [{"edu_type": "m.x", "content": {}}] * edus)
    assert (answer.status, answer.json["errcode"]) == (400, "M_BAD_JSON")
    assert await messages(alice, room) == []


async def test_one_bad_pdu_does_not_harm_the_others(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    stranger = room.pdu(room.say(mallory(peer), "elsewhere")) | {"room_id": "!elsewhere:b.example"}
    forged = room.pdu(room.say(mallory(peer), "forged"))
    forged["signatures"] = {peer.server_name: {peer.key.key_id: "A" * 86}}
    forged_id = room.last.event_id
    base = next(event for event in room.events.values() if event.sender == mallory(peer))
    coup = room.send("m.room.power_levels", mallory(peer), {"users": {}}, "", prev=[base])
    good = room.say(mallory(peer), "good", prev=[base])
    pdus = [stranger, forged, {"room_id": room.room_id}, room.pdu(coup), room.pdu(good)]
    results = (await peer.send(ours.server_name, pdus)).ok()["pdus"]
    # That an event is rejected is no error.
    assert results[coup.event_id] == results[good.event_id] == {}
    assert "error" in results[forged_id]
    assert sum("error" in result for result in results.values()) == 2
    assert await messages(alice, room) == ["good"]
    assert (await alice.get(room_path(room.room_id, "event", coup.event_id))).status == 404


async def test_a_server_that_the_room_excludes(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    acl = {"allow": ["*"], "deny": ["evil.example"]}
    (await alice.put(room_path(room.room_id, "state", "m.room.server_acl", ""), acl)).ok()
    event = room.say(mallory(peer))
    # What counts is who sends the event, not whose it is.
    inbox = ours.running.server.services.receiving.inbox
    response = await inbox.receive(ServerName("evil.example"), "t", [room.pdu(event)], [])
    assert "may not take part" in json.loads(response)["pdus"][event.event_id]["error"]
    assert await messages(alice, room) == []
    assert await send(room, ours, peer, event) == {event.event_id: {}}


async def test_nobody_waits_for_the_keys_of_a_slow_server(
    ours: FederatedServer, alice: Client, peer: Peer, numeric_peer: Peer
) -> None:
    """What is signed with them is taken when they come; what else was sent is answered before."""
    room = await shared_room(ours, peer, alice)
    room.signers[numeric_peer.server_name] = numeric_peer.key
    base = room.last
    slow = UserID(f"@slow:{numeric_peer.server_name}")
    join = room.join(slow)
    said = room.say(mallory(peer), "quick", prev=[base])
    released: Deferred[None] = Deferred()

    async def slowly(_: Heard) -> Reply:
        await released
        return Reply(numeric_peer.server_keys())

    numeric_peer.answer("GET", "/_matrix/key/v2/server", slowly)
    results = await send(room, ours, peer, join, said)
    assert not released.called
    assert results[said.event_id] == {}
    assert "in time" in results[join.event_id]["error"]
    assert await messages(alice, room) == ["quick"]
    released.callback(None)

    async def has_joined() -> bool:
        member = await alice.get(room_path(room.room_id, "state", "m.room.member", slow))
        return member.status == 200

    await until(has_joined, what="the join of a user of a slow server")


async def test_missing_events_are_fetched(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    tell(room, peer)
    for number in range(70):
        room.say(mallory(peer), str(number))
    assert await send(room, ours, peer, room.last) == {room.last.event_id: {}}

    async def have_all() -> bool:
        return await messages(alice, room) == [str(number) for number in range(70)]

    await until(have_all, what="all messages")


async def test_what_cannot_be_completed_holds_up_nothing_and_survives(
    ours: FederatedServer, alice: Client, peer: Peer
) -> None:
    room = await shared_room(ours, peer, alice)
    base = room.last
    room.say(mallory(peer), "lost", prev=[base])
    stuck = room.say(mallory(peer), "after the gap")
    behind = room.say(mallory(peer), "behind it")
    beside = room.say(mallory(peer), "beside it", prev=[base])
    peer.answer("POST", "/_matrix/federation/v1/get_missing_events/{room_id}", Reply({}, status=500))
    peer.answer("GET", "/_matrix/federation/v1/state_ids/{room_id}", Reply({}, status=500))
    results = await send(room, ours, peer, stuck, behind, beside)
    assert results == {each.event_id: {} for each in (stuck, behind, beside)}

    async def others_are_there() -> bool:
        return await messages(alice, room) == ["beside it"]

    await until(others_are_there, what="the event beside")
    # The server ends and comes back, and the peer has become talkative.
    await ours.stop()
    await ours.start()
    ours.reconnect(alice)
    tell(room, peer)

    async def all_are_there() -> bool:
        return set(await messages(alice, room)) == {"beside it", "lost", "after the gap", "behind it"}

    await until(all_are_there, what="all events", patience_s=30)


async def test_a_state_that_was_reset_reaches_clients(
    ours: FederatedServer, alice: Client, peer: Peer
) -> None:
    """What resolution makes of the state no event in the timeline shows: the state section does."""
    room = await shared_room(ours, peer, alice)
    (await alice.put(room_path(room.room_id, "state", "m.room.topic", ""), {"topic": "first"})).ok()
    levels = await state_of(alice, room, "m.room.power_levels")
    levels["users"][mallory(peer)] = 50
    (await alice.put(room_path(room.room_id, "state", "m.room.power_levels", ""), levels)).ok()
    bob = await ours.user("bob")
    (await bob.post(room_path(room.room_id, "join"))).ok()
    await catch_up(room, ours)
    base = room.last
    # The peer bans Bob, who has not heard of it, and sets a topic.
    (
        await bob.put(
            room_path(room.room_id, "state", "m.room.member", bob.user_id),
            {"membership": "join", "displayname": "Robert"},
        )
    ).ok()
    ban = room.send("m.room.member", mallory(peer), {"membership": "ban"}, bob.user_id, prev=[base])
    topic = room.send("m.room.topic", mallory(peer), {"topic": "second"}, "", prev=[ban])
    # A message on top of these is all that the timeline shows last.
    said = room.say(mallory(peer), "done", prev=[topic])
    since = (await alice.sync())["next_batch"]
    bobs_since = (await bob.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(bobs_since, timeout=20_000))
    await send(room, ours, peer, ban, topic, said)

    async def is_said() -> bool:
        return "done" in await messages(alice, room)

    await until(is_said, what="what came last")
    members = (await alice.get(room_path(room.room_id, "members"))).ok()["chunk"]
    assert {e["state_key"] for e in members if e["content"]["membership"] == "ban"} == {bob.user_id}
    assert (await state_of(alice, room, "m.room.topic"))["topic"] == "second"
    assert room.room_id in (await waiting)["rooms"]["leave"]
    section = (await alice.sync(since))["rooms"]["join"][room.room_id]
    events = [*section["state"]["events"], *section["timeline"]["events"]]
    by_key = {(e["type"], e["state_key"]): e["event_id"] for e in events if "state_key" in e}
    assert by_key["m.room.member", bob.user_id] == ban.event_id
    assert by_key["m.room.topic", ""] == topic.event_id
    assert section["summary"]["m.joined_member_count"] == 2


async def test_redactions_take_effect_whenever_they_come(
    ours: FederatedServer, alice: Client, peer: Peer
) -> None:
    room = await shared_room(ours, peer, alice)
    base = room.last
    target = room.say(mallory(peer), "regretted", prev=[base])
    redaction = room.send(
        "m.room.redaction", mallory(peer), {}, prev=[base], redacts=EventID(target.event_id)
    )
    await send(room, ours, peer, redaction)
    since = (await alice.sync())["next_batch"]
    page = (await alice.get(room_path(room.room_id, "messages"), dir="b", limit=1)).ok()["chunk"]
    assert page[0]["event_id"] == base.event_id
    await send(room, ours, peer, target)

    async def is_redacted() -> Any:
        answer = await alice.get(room_path(room.room_id, "event", target.event_id))
        return answer.status == 200 and answer.json["content"] == {}

    await until(is_redacted, what="the redaction")
    shown = (await alice.sync(since))["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert [each["event_id"] for each in shown] == [target.event_id, redaction.event_id]


async def test_not_everybody_may_redact(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    await alice.send(room.room_id, "stays")
    await catch_up(room, ours)
    target = room.last
    redaction = room.send("m.room.redaction", mallory(peer), {}, redacts=target.event_id)
    assert await send(room, ours, peer, redaction) == {redaction.event_id: {}}
    assert await messages(alice, room) == ["stays"]
    assert (await alice.get(room_path(room.room_id, "event", redaction.event_id))).status == 404


async def test_many_extremities_are_tied_together(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    base = room.last
    forks = [room.say(mallory(peer), str(number), prev=[base]) for number in range(25)]
    await send(room, ours, peer, *forks)

    async def have_all() -> bool:
        return len(await messages(alice, room)) == 25

    await until(have_all, what="all messages")

    async def are_few() -> bool:
        found = await ours.running.server.database.read(rooms.of, room.room_id)
        return found is not None and len(found.extremities) <= 10

    await until(are_few, what="few extremities")
    assert set(await messages(alice, room)) == {str(n) for n in range(25)}
    page = (await alice.get(room_path(room.room_id, "messages"), dir="b", limit=100)).ok()["chunk"]
    assert "org.matrix.dummy_event" not in {event["type"] for event in page}
