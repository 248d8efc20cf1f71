"""Events that are not what they should be: server-server API, "Checks performed on receipt of a PDU".

Each is refused in the way that the check which it fails demands, and a good event beside it is taken.
"""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.core.json import JsonObject
from homeserver.core.redaction import redact
from tests.api.server import room_path
from tests.federation.harness import Servers, signing_key, until
from tests.federation.peer import Peer
from tests.federation.peer_rooms import Pdu, PeerRoom
from tests.federation.scene import Scene, set_scene, set_scene_with, without

STRANGER_KEY = signing_key("peer", seed="somebody else")
"""It has the ID of the peer's key."""

UNKNOWN_KEY = signing_key("unknown")


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


def changed(pdu: Pdu, **fields: object) -> Pdu:
    """The event with fields changed after it was signed."""
    return {**pdu, **fields}


# "Is a valid event, otherwise it is dropped", "passes signature checks, otherwise it is dropped".

DROPPED: dict[str, Callable[[Scene], Pdu]] = {
    # signatures
    "no signatures": lambda scene: changed(scene.says("bad"), signatures={}),
    "signatures missing": lambda scene: without(scene.says("bad"), "signatures"),
    "a signature by another key": lambda scene: scene.says("bad", key=STRANGER_KEY),
    "a signature by an unknown key": lambda scene: scene.says("bad", key=UNKNOWN_KEY),
    "a signature of other bytes": lambda scene: changed(
        scene.says("bad"), signatures=scene.says("other", depth=99)["signatures"]
    ),
    "a signature that is no Base64": lambda scene: changed(
        scene.says("bad"), signatures={scene.peer.server_name: {scene.peer.key.key_id: "!!!"}}
    ),
    "a signature of another server": lambda scene: changed(
        scene.says("bad"),
        signatures={"elsewhere.example": scene.says("bad")["signatures"][scene.peer.server_name]},
    ),
    "signed by the wrong server": lambda scene: scene.room.message("bad", sender=scene.alice.user_id),
    "a changed sender": lambda scene: changed(scene.says("bad"), sender=scene.alice.user_id),
    "a changed depth": lambda scene: changed(scene.says("bad"), depth=99),
    # format
    "no type": lambda scene: scene.room.seal(without(scene.says("bad"), "type")),
    "a type that is a number": lambda scene: scene.room.seal(changed(scene.says("bad"), type=5)),
    "a type that is too long": lambda scene: scene.room.seal(changed(scene.says("bad"), type="x" * 256)),
    "a type with a NUL": lambda scene: scene.room.seal(changed(scene.says("bad"), type="m.room.\0")),
    "a sender that is none": lambda scene: scene.room.seal(changed(scene.says("bad"), sender="mallory")),
    "content that is a list": lambda scene: scene.room.seal(changed(scene.says("bad"), content=[])),
    "no content": lambda scene: scene.room.seal(without(scene.says("bad"), "content")),
    "a time that is a string": lambda scene: scene.room.seal(
        changed(scene.says("bad"), origin_server_ts="now")
    ),
    "a float": lambda scene: scene.room.seal(
        changed(scene.says("bad"), content={"msgtype": "m.text", "body": "bad", "x": 1.5})
    ),
    "a number beyond canonical JSON": lambda scene: scene.room.seal(
        changed(scene.says("bad"), content={"msgtype": "m.text", "body": "bad", "x": 2**53})
    ),
    "a depth that is a float": lambda scene: scene.room.seal(changed(scene.says("bad"), depth=1.0)),
    "a negative depth": lambda scene: scene.says("bad", depth=-1),
    "an absurd depth": lambda scene: scene.says("bad", depth=2**63 - 1),
    "21 prev_events": lambda scene: scene.says(
        "bad", prev_events=[f"${'a' * 42}{letter}" for letter in LETTERS]
    ),
    "11 auth_events": lambda scene: scene.says(
        "bad", auth_events=[f"${'a' * 42}{letter}" for letter in LETTERS[:11]]
    ),
    "prev_events that are none": lambda scene: scene.says("bad", prev_events=["abc"]),
    "prev_events with hashes": lambda scene: scene.says("bad", prev_events=None),
    "1 MB": lambda scene: scene.says("bad" + "x" * 1_000_000),
    "a state key of 300 bytes": lambda scene: scene.room.make("m.other", {}, "x" * 300, sender=scene.mallory),
}

LETTERS = "abcdefghijklmnopqrstu"


@pytest.mark.parametrize("kind", DROPPED)
async def test_what_is_invalid_is_dropped(scene: Scene, kind: str) -> None:
    bad = DROPPED[kind](scene)
    if kind == "prev_events with hashes":
        bad = scene.room.seal({**bad, "prev_events": [[scene.room.extremities[0], {"sha256": "x"}]]})
    answer = await scene.deliver("after", bad)
    results = answer.ok()["pdus"]
    assert sum("error" in result for result in results.values()) == len(results) - 1
    assert await scene.texts() == ["after"]


async def test_an_event_with_a_wrong_hash_is_redacted(scene: Scene) -> None:
    """ "Passes hash checks, otherwise it is redacted before being processed further.\""""
    bad = scene.says("bad")
    event_id = scene.room.id_of(bad)
    bad["content"] = {"msgtype": "m.text", "body": "worse"}
    answer = await scene.send([bad])
    assert answer.ok() == {"pdus": {event_id: {}}}
    scene.room.accept({**bad, "content": {}})
    await scene.deliver("after")
    assert await scene.texts() == ["after"]
    shown = (await scene.alice.get(room_path(scene.room.room_id, "event", event_id))).ok()
    assert shown["content"] == {}


async def test_a_redacted_event_does_not_take_the_place_of_the_whole(scene: Scene) -> None:
    """Its ID is the same: who sends the mutilated one first would otherwise decide what everybody sees."""
    whole = scene.says("whole")
    scene.room.accept(whole)
    mutilated = redact(whole, scene.room.version)
    mutilated["hashes"] = whole["hashes"]
    (await scene.send([mutilated])).ok()
    await scene.deliver("after")
    assert await scene.texts() == ["after"]


async def test_an_event_for_a_room_that_is_unknown_is_refused(scene: Scene) -> None:
    elsewhere = PeerRoom.create(scene.peer)
    scene.room.serve()
    answer = await scene.deliver("after", elsewhere.message("bad"))
    assert sum("error" in result for result in answer.ok()["pdus"].values()) == 1


# "Passes authorization rules based on the event's auth events, otherwise it is rejected", and by the state before.


def citing(scene: Scene, *keys: tuple[str, str], others: tuple[str, ...] = ()) -> list[str]:
    return [scene.room.state[key] for key in keys] + list(others)


CREATE, LEVELS, RULES = ("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")

REJECTED: dict[str, Callable[[Scene], Pdu]] = {
    "a stranger's message": lambda scene: scene.room.message("bad", sender=f"@eve:{scene.peer.server_name}"),
    "power levels by the powerless": lambda scene: scene.room.make(
        *LEVELS[:1], {"users": {scene.mallory: 100}}, "", sender=scene.mallory
    ),
    "a name by the powerless": lambda scene: scene.room.make(
        "m.room.name", {"name": "bad"}, "", sender=scene.mallory
    ),
    "join rules by the powerless": lambda scene: scene.room.make(
        RULES[0], {"join_rule": "invite"}, "", sender=scene.mallory
    ),
    "a kick by the powerless": lambda scene: scene.room.make(
        "m.room.member", {"membership": "leave"}, scene.alice.user_id, sender=scene.mallory
    ),
    "a ban by the powerless": lambda scene: scene.room.make(
        "m.room.member", {"membership": "ban"}, scene.alice.user_id, sender=scene.mallory
    ),
    "a join of somebody else": lambda scene: scene.room.make(
        "m.room.member", {"membership": "join"}, f"@eve:{scene.peer.server_name}", sender=scene.mallory
    ),
    "a membership that is none": lambda scene: scene.room.make(
        "m.room.member", {"membership": "king"}, scene.mallory, sender=scene.mallory
    ),
    "a membership of nobody": lambda scene: scene.room.make(
        "m.room.member", {"membership": "join"}, "mallory", sender=scene.mallory
    ),
    "a second create event": lambda scene: scene.room.make(
        "m.room.create", {"room_version": "11"}, "", sender=scene.mallory
    ),
    "a first create event": lambda scene: scene.room.make(
        "m.room.create", {"room_version": "11"}, "", sender=scene.mallory, prev_events=[], auth_events=[]
    ),
    "another's state key": lambda scene: scene.room.make(
        "org.example.own", {}, scene.alice.user_id, sender=scene.mallory
    ),
    "an invitation by a stranger": lambda scene: scene.room.make(
        "m.room.member",
        {"membership": "invite"},
        f"@bob:{scene.server.server_name}",
        sender=f"@eve:{scene.peer.server_name}",
    ),
    "a third-party invite by the powerless": lambda scene: scene.room.make(
        "m.room.member",
        {"membership": "invite", "third_party_invite": {"signed": {"token": "abc", "mxid": "@bob:x"}}},
        "@bob:x",
        sender=scene.mallory,
    ),
    "no auth events": lambda scene: scene.says("bad", auth_events=[]),
    "no create event among them": lambda scene: scene.says(
        "bad", auth_events=citing(scene, LEVELS, ("m.room.member", scene.mallory))
    ),
    "no membership among them": lambda scene: scene.says("bad", auth_events=citing(scene, CREATE, LEVELS)),
    "the same twice among them": lambda scene: scene.says(
        "bad", auth_events=citing(scene, CREATE, LEVELS, LEVELS, ("m.room.member", scene.mallory))
    ),
    "what does not belong among them": lambda scene: scene.says(
        "bad", auth_events=citing(scene, CREATE, LEVELS, RULES, ("m.room.member", scene.mallory))
    ),
}


@pytest.mark.parametrize("kind", REJECTED)
async def test_what_is_not_allowed_is_rejected(scene: Scene, kind: str) -> None:
    bad = REJECTED[kind](scene)
    before = await scene.state()
    await scene.deliver("after", bad)
    assert await scene.texts() == ["after"]
    assert await scene.state() == before
    assert not await scene.shows(scene.room.id_of(bad))
    # Nor may anything stand on it: "if an event was rejected, events that cite it are rejected".
    child = scene.says("child", prev_events=[scene.room.id_of(bad)])
    scene.room.events[scene.room.id_of(bad)] = bad
    await scene.deliver("and on", child)
    assert await scene.state() == before


async def test_auth_events_of_another_room_are_refused(scene: Scene) -> None:
    """CVE-class: power that was granted elsewhere."""
    elsewhere = PeerRoom.create(scene.peer, localpart="mallory")
    scene.room.serve()
    scene.room.events.update(elsewhere.events)
    bad = scene.room.make(
        "m.room.name",
        {"name": "bad"},
        "",
        sender=scene.mallory,
        auth_events=[elsewhere.state[key] for key in (CREATE, LEVELS, ("m.room.member", scene.mallory))],
    )
    before = await scene.state()
    await scene.deliver("after", bad)
    assert await scene.state() == before
    assert not await scene.shows(scene.room.id_of(bad))


async def test_a_redaction_by_the_powerless_redacts_nothing(scene: Scene) -> None:
    """The event is allowed, since room versions from 3 on leave this to whoever applies it."""
    target = await scene.alice.send(scene.room.room_id, "precious")
    await scene.deliver(
        "after", scene.room.make("m.room.redaction", {"redacts": target}, sender=scene.mallory)
    )
    assert await scene.texts() == ["precious", "after"]


async def test_a_redaction_in_one_room_redacts_nothing_in_another(scene: Scene) -> None:
    """Synapse #5767: Mallory has the power to redact in some other room."""
    target = await scene.alice.send(scene.room.room_id, "precious")
    levels = {"users": {scene.alice.user_id: 100, scene.mallory: 100}}
    elsewhere = await set_scene_with(
        scene.server, scene.alice, scene.peer, power_level_content_override=levels
    )
    redaction = elsewhere.room.make("m.room.redaction", {"redacts": target}, sender=scene.mallory)
    await elsewhere.deliver("after", redaction)
    assert await scene.texts() == ["precious"]


async def test_who_has_been_banned_is_soft_failed(scene: Scene) -> None:
    """Mallory sends an event that stands beside the ban, as if it had not come: "Soft failure"."""
    beside = scene.says("beside the ban")
    body = {"user_id": scene.mallory}
    (await scene.alice.post(room_path(scene.room.room_id, "ban"), body)).ok()
    (await scene.send([beside])).ok()
    event_id = scene.room.id_of(beside)

    async def has_been_judged() -> bool:
        answer = await scene.send([beside])
        return event_id in answer.ok()["pdus"]

    await until(has_been_judged, what="the verdict")
    await scene.alice.send(scene.room.room_id, "after")
    assert await scene.texts() == ["after"]
    assert (await scene.state())["m.room.member", scene.mallory]["membership"] == "ban"


async def test_events_that_cite_each_other_are_dropped(servers: Servers, peer: Peer) -> None:
    """Where servers choose the IDs, cycles can be made."""
    scene = await set_scene(servers, peer, "2")
    one, other = f"$one:{peer.server_name}", f"$other:{peer.server_name}"
    pair = [
        scene.says("bad", event_id=one, prev_events=[other], depth=50),
        scene.says("bad", event_id=other, prev_events=[one], depth=50),
    ]
    itself = scene.says(
        "bad", event_id=f"$self:{peer.server_name}", prev_events=[f"$self:{peer.server_name}"]
    )
    for pdu in (*pair, itself):
        scene.room.events[pdu["event_id"]] = pdu
        scene.room.before[pdu["event_id"]] = dict(scene.room.state)
    await scene.deliver("after", *pair, itself)
    await scene.alice.send(scene.room.room_id, "and on")
    assert {"after", "and on"} <= set(await scene.texts())


async def test_auth_events_that_cite_each_other_are_refused(servers: Servers, peer: Peer) -> None:
    scene = await set_scene(servers, peer, "2")
    ids = [f"$power{number}:{peer.server_name}" for number in range(2)]
    for number, event_id in enumerate(ids):
        pdu = scene.room.make(
            "m.room.power_levels",
            {"users": {scene.mallory: 100}},
            "",
            sender=scene.mallory,
            event_id=event_id,
            auth_events=[*citing(scene, CREATE, ("m.room.member", scene.mallory)), ids[1 - number]],
        )
        scene.room.events[pdu["event_id"]] = pdu
        scene.room.before[pdu["event_id"]] = dict(scene.room.state)
    before = await scene.state()
    await scene.deliver("after", scene.room.events[ids[0]])  # type: ignore[index]  # JSON
    assert await scene.state() == before


async def test_an_event_id_of_another_server_must_be_signed_by_that(servers: Servers, peer: Peer) -> None:
    scene = await set_scene(servers, peer, "2")
    answer = await scene.deliver("after", scene.says("bad", event_id=f"$forged:{scene.server.server_name}"))
    assert sum("error" in result for result in answer.ok()["pdus"].values()) == 1
    assert await scene.texts() == ["after"]


async def test_the_largest_depth_does_not_stop_the_room(scene: Scene) -> None:
    """Who sends an event of the largest depth that there is must not keep others from sending more."""
    deep = scene.says("deep", depth=2**53 - 1)
    (await scene.send([deep])).ok()
    scene.room.accept(deep)
    await scene.seen("deep")
    for text in ("one", "two"):
        await scene.alice.send(scene.room.room_id, text)
    assert await scene.texts() == ["deep", "one", "two"]


async def test_floats_pass_where_they_always_have(servers: Servers, peer: Peer) -> None:
    """Room versions up to 5 do not enforce canonical JSON; the event must still not break clients or the room."""
    scene = await set_scene(servers, peer, "5")
    odd: JsonObject = {"msgtype": "m.text", "body": "odd", "x": 1.5, "y": 2**60}
    pdu = scene.room.make("m.room.message", odd, sender=scene.mallory)
    (await scene.send([pdu])).ok()
    scene.room.accept(pdu)
    await scene.deliver("after")
    assert await scene.texts() == ["odd", "after"]


async def test_a_server_that_the_room_denies_is_not_heard(servers: Servers, numeric_peer: Peer) -> None:
    """ "ACLs MUST be applied to all PDUs on a per-PDU basis.\""""
    scene = await set_scene(servers, numeric_peer)
    await scene.deliver("before")
    acl: dict[str, Any] = {"allow": ["*"], "allow_ip_literals": False}
    await scene.alice.set_state(scene.room.room_id, "m.room.server_acl", acl)
    bad = scene.says("bad")
    answer = (await scene.send([bad])).ok()
    assert "error" in answer["pdus"][scene.room.id_of(bad)]
    await scene.alice.send(scene.room.room_id, "after")
    assert await scene.texts() == ["before", "after"]
