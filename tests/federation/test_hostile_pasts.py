"""What a hostile peer gives of an event's past when it is asked: forged, without end, or in masses."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from homeserver.core.identifiers import RoomID
from homeserver.storage import incoming_pdus
from tests.federation.harness import Servers, signing_key, until
from tests.federation.peer import Heard, Peer, Reply
from tests.federation.peer_rooms import Pdu
from tests.federation.scene import Scene, set_scene
from tests.federation.test_hostile_answers import (
    EVENT,
    EVENT_AUTH,
    MISSING,
    MOST_REQUESTS,
    STATE,
    STATE_IDS,
    goes_on,
)

STRANGER_KEY = signing_key("peer", seed="somebody else")
"""It has the ID of the peer's key."""


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


async def settled(scene: Scene) -> None:
    """Wait until nothing of the room is being looked into, be it that it was put off."""
    running = scene.server.running

    async def is_idle() -> bool:
        now_ts = running.clock.now_ts()
        due = await running.server.database.read(
            incoming_pdus.due, RoomID(scene.room.room_id), after=0, most=1, now_ts=now_ts
        )
        return not due and not running.server.services.receiving.incoming_events._completions._running

    await until(is_idle, what="the end of the questions")


def transaction(scene: Scene, *pdus: Pdu) -> Reply:
    return Reply({"origin": scene.peer.server_name, "origin_server_ts": 1, "pdus": list(pdus)})


FORGED: dict[str, Callable[[Scene], Pdu]] = {
    "not signed": lambda scene: {**scene.says("bad"), "signatures": {}},
    "signed by another key": lambda scene: scene.says("bad", key=STRANGER_KEY),
    "in the name of another": lambda scene: scene.room.message("bad", sender=scene.alice.user_id),
    "of another room": lambda scene: scene.says("bad", room_id="!other:example.org"),
    "with a float": lambda scene: scene.room.seal({**scene.says("bad"), "depth": 7.0}),
    "not allowed": lambda scene: scene.room.make(
        "m.room.power_levels", {"users": {scene.mallory: 100}}, "", sender=scene.mallory
    ),
    "by a stranger": lambda scene: scene.room.message("bad", sender=f"@eve:{scene.peer.server_name}"),
}


async def test_what_is_forged_is_not_taken_for_the_past(scene: Scene) -> None:
    """Each is a missing parent, given by `get_missing_events`, and in the state there, and as a single event."""
    before = await scene.state()
    forged_ids: list[str] = []
    for kind, make in FORGED.items():
        forged = make(scene)
        event_id = scene.room.id_of(forged)
        forged_ids.append(event_id)
        scene.room.events[event_id] = forged
        scene.room.before[event_id] = dict(scene.room.state)
        asked = len(scene.peer.heard_at("get_missing_events"))
        (await scene.send([scene.says(f"on what is {kind}", prev_events=[event_id], depth=9)])).ok()
        await until(partial(asked_more, scene, asked), what=f"the question for what is {kind}")
    await scene.deliver("after")
    await settled(scene)
    await goes_on(scene)
    assert "bad" not in await scene.texts()
    assert await scene.state() == before
    assert [await scene.shows(event_id) for event_id in forged_ids] == [False] * len(FORGED)


async def asked_more(scene: Scene, before: int) -> bool:
    return len(scene.peer.heard_at("get_missing_events")) > before


async def test_a_state_of_masses_costs_little(scene: Scene) -> None:
    """Twenty missing parents, and at each of them a state of events that are not there."""
    masses = ["$" + f"{number}".rjust(43, "s") for number in range(20_000)]
    scene.peer.answer("POST", MISSING, Reply({"events": []}))
    scene.peer.answer("GET", STATE_IDS, Reply({"pdu_ids": masses, "auth_chain_ids": masses[:100]}))
    scene.peer.answer("GET", STATE, Reply({"pdus": [], "auth_chain": []}))
    scene.peer.answer("GET", EVENT, Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404))
    unknown = ["$" + f"{number}".rjust(43, "p") for number in range(20)]
    await scene.deliver("after", scene.says("bad", prev_events=unknown))
    await settled(scene)
    await goes_on(scene)
    assert "bad" not in await scene.texts()
    assert len(scene.peer.heard) < MOST_REQUESTS


async def test_an_auth_chain_without_end_is_given_up(scene: Scene) -> None:
    """Each event that is cited cites another one."""
    numbers = count(1)
    made: dict[str, Pdu] = {}

    def one_more() -> Pdu:
        cited = [scene.room.state[key] for key in (("m.room.create", ""), ("m.room.power_levels", ""))]
        unknown = "$" + f"{next(numbers)}".rjust(43, "c")
        pdu = scene.room.make(
            "m.room.member",
            {"membership": "join"},
            scene.mallory,
            sender=scene.mallory,
            auth_events=[*cited, unknown],
        )
        made[scene.room.id_of(pdu)] = pdu
        return pdu

    def event(heard: Heard) -> Reply:
        return transaction(scene, made.get(heard.args["event_id"]) or one_more())

    scene.peer.answer("GET", EVENT, event)
    scene.peer.answer("GET", EVENT_AUTH, lambda _: Reply({"auth_chain": [one_more() for _ in range(30)]}))
    before = await scene.state()
    await scene.deliver("after", one_more())
    await settled(scene)
    await goes_on(scene)
    assert await scene.state() == before
    assert len(scene.peer.heard) < MOST_REQUESTS


async def test_a_chain_of_authority_that_is_made_up_gives_no_power(scene: Scene) -> None:
    """The chain is complete and well signed, yet nobody allowed what it begins with."""
    levels = scene.room.make("m.room.power_levels", {"users": {scene.mallory: 100}}, "", sender=scene.mallory)
    levels_id = scene.room.id_of(levels)
    scene.room.events[levels_id] = levels
    scene.room.before[levels_id] = dict(scene.room.state)
    keys = (("m.room.create", ""), ("m.room.member", scene.mallory))
    cited = [*(scene.room.state[key] for key in keys), levels_id]
    bad: Any = scene.room.make("m.room.name", {"name": "bad"}, "", sender=scene.mallory, auth_events=cited)
    before = await scene.state()
    await scene.deliver("after", bad)
    await settled(scene)
    assert await scene.state() == before
    assert not await scene.shows(scene.room.id_of(bad))
    assert not await scene.shows(levels_id)
