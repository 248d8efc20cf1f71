"""Transactions that claim what is not so, or have good and bad about several rooms in them."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.identifiers import RoomID
from homeserver.core.room_versions import get_room_version
from tests.api.server import room_path
from tests.federation.harness import Servers, until
from tests.federation.peer import Peer, Silence, federation
from tests.federation.peer_rooms import Pdu, PeerRoom
from tests.federation.scene import Scene, pdus_of, set_scene, set_scene_with
from tests.federation.test_hostile_answers import UNKNOWN, to_all

LEVELS = ("m.room.power_levels", "")


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


async def test_the_origin_is_who_has_signed(scene: Scene) -> None:
    """What the body says of it counts for nothing: neither for events nor for what is told of users."""
    claimed = scene.server.server_name
    typing = {"room_id": scene.room.room_id, "user_id": scene.alice.user_id, "typing": True}
    edus = [{"edu_type": "m.typing", "content": typing}]
    forged = scene.room.message("bad", sender=scene.alice.user_id)
    good = scene.says("good")
    answer = await scene.send([forged, good], edus, origin=claimed)
    results = answer.ok()["pdus"]
    assert "error" in results[scene.room.id_of(forged)]
    assert results[scene.room.accept(good)] == {}
    await scene.deliver("after")
    assert await scene.texts() == ["good", "after"]
    told = (await scene.alice.sync())["rooms"]["join"][scene.room.room_id]["ephemeral"]["events"]
    assert [event for event in told if event["type"] == "m.typing"] == []


async def test_events_for_rooms_that_the_server_is_not_in(scene: Scene) -> None:
    """By users who are not there either, whether the peer knows what is in the room or not."""
    other_id = await scene.alice.create_room(room_version="11")
    await scene.alice.send(other_id, "inside")
    blind = PeerRoom(scene.peer, get_room_version("11"), other_id)
    leaked = PeerRoom(scene.peer, get_room_version("11"), other_id)
    for pdu in await scene.server.running.server.database.read(pdus_of, RoomID(other_id)):
        leaked.accept(pdu)
    member = ("m.room.member", scene.mallory)
    join = leaked.make(*member[:1], {"membership": "join"}, member[1], sender=scene.mallory)
    says = leaked.message("bad", sender=scene.mallory)
    stolen = leaked.message("bad", sender=scene.mallory, auth_events=[scene.room.state[member]])
    unseen = blind.message("bad", sender=scene.mallory, prev_events=[UNKNOWN], auth_events=[UNKNOWN])
    await scene.deliver("after", join, says, stolen, unseen)
    await scene.alice.send(other_id, "and on")
    assert await scene.alice.messages_in(other_id) == ["inside", "and on"]
    members = (await scene.alice.get(room_path(other_id, "joined_members"))).ok()["joined"]
    assert members.keys() == {scene.alice.user_id}
    for pdu in (join, says, stolen, unseen):
        event = room_path(other_id, "event", leaked.id_of(pdu))
        assert (await scene.alice.get(event)).status == 404
    assert not scene.peer.heard_at(other_id)


async def test_a_room_that_is_stuck_is_in_no_other_rooms_way(scene: Scene) -> None:
    other = await set_scene_with(scene.server, scene.alice, scene.peer)
    to_all(scene, Silence())
    stuck, good = scene.says("stuck", prev_events=[UNKNOWN]), other.says("good")
    (await scene.send([stuck, scene.says("here"), good])).ok()
    await other.seen("good")
    await scene.seen("here")


# Kinds of what the auth rules do not allow, beside those in `test_hostile_events`: here Mallory has some power.

FORBIDDEN: dict[str, Callable[[Scene, str], Pdu]] = {
    "more power for herself": lambda scene, _: levels(scene, users={scene.mallory: 60}),
    "no power for her better": lambda scene, _: levels(scene, users={scene.alice.user_id: 0}),
    "a level above her own": lambda scene, _: levels(scene, events={"m.room.message": 51}),
    "a ban level above her own": lambda scene, _: levels(scene, ban=90),
    "a level that is no integer": lambda scene, _: levels(scene, events={"m.room.message": "0"}),
    "a ban of her better": lambda scene, _: member(scene, "ban", scene.alice.user_id),
    "a kick of her better": lambda scene, _: member(scene, "leave", scene.alice.user_id),
    "an invitation of who is there": lambda scene, _: member(scene, "invite", scene.alice.user_id),
    "an invitation of who is banned": lambda scene, eve: member(scene, "invite", eve),
    "a join of who is banned": lambda scene, eve: member(scene, "join", eve, sender=eve),
    "a knock of who is banned": lambda scene, eve: member(scene, "knock", eve, sender=eve),
    "a knock where nobody may": lambda scene, _: member(
        scene, "knock", stranger(scene), sender=stranger(scene)
    ),
    "leaving without having been there": lambda scene, _: member(
        scene, "leave", stranger(scene), sender=stranger(scene)
    ),
    "what only the highest may send": lambda scene, _: scene.room.make(
        "m.room.tombstone", {"replacement_room": "!x:y"}, "", sender=scene.mallory
    ),
    "a membership without a state key": lambda scene, _: scene.room.make(
        "m.room.member", {"membership": "join"}, sender=scene.mallory
    ),
}


def stranger(scene: Scene) -> str:
    """A user of the peer of whom the room has never heard."""
    return f"@frank:{scene.peer.server_name}"


def levels(scene: Scene, **changes: Any) -> Pdu:
    content = scene.room.events[scene.room.state[LEVELS]]["content"]
    for key, change in changes.items():
        content = {**content, key: {**content[key], **change} if isinstance(change, dict) else change}
    return scene.room.make(*LEVELS[:1], content, "", sender=scene.mallory)


def member(scene: Scene, membership: str, user_id: str, sender: str | None = None) -> Pdu:
    content = {"membership": membership}
    return scene.room.make("m.room.member", content, user_id, sender=sender or scene.mallory)


async def test_what_is_not_allowed_to_who_has_some_power(scene: Scene) -> None:
    eve = f"@eve:{scene.peer.server_name}"
    await set_power(scene, 50)
    body = {"user_id": eve}
    (await scene.alice.post(room_path(scene.room.room_id, "ban"), body)).ok()

    async def has_heard() -> bool:
        return ("m.room.member", eve) in scene.room.state

    await until(has_heard, what="that the peer knows of the ban")
    before = await scene.state()
    bad = [make(scene, eve) for make in FORBIDDEN.values()]
    # What cites something that was rejected is rejected.
    rejected = scene.room.id_of(bad[0])
    cited = [*(scene.room.state[key] for key in (("m.room.create", ""), ("m.room.member", scene.mallory)))]
    bad.append(scene.room.make("m.room.topic", {}, "", sender=scene.mallory, auth_events=[*cited, rejected]))
    answer = await scene.deliver("after", *bad)
    # That an event is rejected is no error.
    assert list(answer.ok()["pdus"].values()) == [{}] * (len(bad) + 1)
    assert await scene.state() == before
    shown = [await scene.shows(scene.room.id_of(pdu)) for pdu in bad]
    assert dict(zip([*FORBIDDEN, "what cites them"], shown, strict=True)) == dict.fromkeys(
        [*FORBIDDEN, "what cites them"], False
    )


async def test_rights_of_the_past_do_not_count(scene: Scene) -> None:
    """What an event cites would allow it; the state before it, or at least the current one, does not."""
    given = await set_power(scene, 50)
    old_levels = scene.room.state[LEVELS]
    assert old_levels == given
    taken = await set_power(scene, 0)
    keys = (("m.room.create", ""), ("m.room.member", scene.mallory))
    cited = [*(scene.room.state[key] for key in keys), old_levels]
    before = await scene.state()
    topics = [
        scene.room.make(
            "m.room.topic",
            {"topic": "bad"},
            "",
            sender=scene.mallory,
            auth_events=cited,
            prev_events=[after],
            depth=50,
        )
        for after in (taken, given)
    ]
    answer = await scene.deliver("after", *topics)
    assert list(answer.ok()["pdus"].values()) == [{}] * 3
    assert await scene.state() == before
    rejected, soft_failed = (scene.room.id_of(topic) for topic in topics)
    assert not await scene.shows(rejected)
    assert not await scene.shows(soft_failed)
    # Server-server API, "Soft failure": it "should be returned in response to federation requests".
    path = federation("v1", "event")
    for event_id, status in ((rejected, 404), (soft_failed, 200)):
        given_out = await scene.peer.request("GET", scene.server.server_name, f"{path}/{quote(event_id)}")
        assert given_out.status == status


async def set_power(scene: Scene, level: int) -> str:
    """Alice gives Mallory a power level; gives the event's ID once the peer has heard of it."""
    content = (await scene.alice.get(room_path(scene.room.room_id, "state", LEVELS[0]))).ok()
    content["users"][scene.mallory] = level
    event_id = await scene.alice.set_state(scene.room.room_id, LEVELS[0], content)

    async def has_heard() -> bool:
        return event_id in scene.room.events

    await until(has_heard, what="that the peer knows of the levels")
    return event_id


async def test_a_transaction_that_comes_twice_at_once_is_done_once(scene: Scene) -> None:
    pdu = scene.says("once")
    twice = [Deferred.fromCoroutine(scene.send([pdu], txn_id="same")) for _ in range(2)]
    answers = [answer.ok() for answer in await gatherResults(twice)]
    assert answers == [{"pdus": {scene.room.accept(pdu): {}}}] * 2
    await scene.deliver("after")
    assert await scene.texts() == ["once", "after"]


async def test_redactions_of_each_other(servers: Servers, peer: Peer) -> None:
    """Where servers choose the IDs, redactions can redact themselves, or go round in a circle."""
    scene = await set_scene(servers, peer, "2")
    one, other, itself = (f"${name}:{peer.server_name}" for name in ("one", "other", "itself"))
    redactions = [
        scene.room.make("m.room.redaction", {}, sender=scene.mallory, redacts=redacts, event_id=event_id)
        for event_id, redacts in ((one, other), (other, one), (itself, itself))
    ]
    since = (await scene.alice.sync())["next_batch"]
    await scene.deliver("after", *redactions)
    for event_id in (one, other, itself):
        answer = await scene.alice.get(room_path(scene.room.room_id, "event", event_id))
        assert answer.status in (200, 404), answer
    shown = (await scene.alice.sync(since))["rooms"]["join"][scene.room.room_id]["timeline"]["events"]
    assert shown[-1]["content"]["body"] == "after"
    await scene.alice.send(scene.room.room_id, "and on")
    assert await scene.texts() == ["after", "and on"]


async def test_a_create_event_that_is_redacted_keeps_the_room_going(servers: Servers, peer: Peer) -> None:
    """Synapse #5701: until version 11 the room's version is redacted with it, and must not be forgotten."""
    scene = await set_scene(servers, peer, "10")
    create = scene.room.state["m.room.create", ""]
    (await scene.alice.put(room_path(scene.room.room_id, "redact", create, "t"), {})).ok()

    async def has_heard() -> bool:
        return any(pdu["type"] == "m.room.redaction" for pdu in scene.room.events.values())

    await until(has_heard, what="that the peer knows of the redaction")
    # Floats are what version 1 would take.
    odd = scene.room.seal({**scene.says("odd"), "content": {"msgtype": "m.text", "body": "odd", "x": 1.5}})
    await scene.deliver("after", odd)
    await scene.alice.send(scene.room.room_id, "and on")
    assert await scene.texts() == ["after", "and on"]
    path = federation("v1", "make_join", scene.room.room_id, f"@eve:{peer.server_name}")
    made = await peer.request("GET", scene.server.server_name, path, query={"ver": ["1", "10"]})
    assert made.ok()["room_version"] == "10"
