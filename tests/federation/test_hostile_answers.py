"""A peer that our server asks for what an event stands on, and that lies, or says nothing, or never stops."""

import gzip
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.clients.event_source import EVENTS_BYTES
from homeserver.services.completions import MOST_OF_SERVER
from tests.federation.harness import Servers, until
from tests.federation.peer import Endless, Heard, Peer, Reply, Silence, federation
from tests.federation.peer_rooms import Pdu
from tests.federation.scene import Scene, set_scene

MISSING = federation("v1", "get_missing_events") + "/{room_id}"
STATE_IDS = federation("v1", "state_ids") + "/{room_id}"
STATE = federation("v1", "state") + "/{room_id}"
EVENT = federation("v1", "event") + "/{event_id}"
EVENT_AUTH = federation("v1", "event_auth") + "/{room_id}/{event_id}"
ASKED = (("POST", MISSING), ("GET", STATE_IDS), ("GET", STATE), ("GET", EVENT), ("GET", EVENT_AUTH))

UNKNOWN = "$" + "u" * 43

MOST_REQUESTS = 200
"""That an event of whose past nothing can be known may cost."""


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


def to_all(scene: Scene, said: Any) -> None:
    for method, template in ASKED:
        scene.peer.answer(method, template, said)


async def goes_on(scene: Scene) -> None:
    """Alice is not held up, neither in this room nor in another one."""
    other = await scene.alice.create_room()
    started = time.monotonic()
    await scene.alice.send(scene.room.room_id, "here")
    await scene.alice.send(other, "there")
    assert time.monotonic() - started < 5
    assert await scene.alice.messages_in(other) == ["there"]
    assert "here" in await scene.texts()


LIES: dict[str, Any] = {
    "silence": Silence(),
    "an error": Reply({"errcode": "M_UNKNOWN", "error": "no"}, 500),
    "not found": Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404),
    "nothing": Reply({}),
    "no JSON": Reply(b"{"),
    "no object": Reply(b"[]"),
    "wrong shapes": Reply({"events": 5, "pdu_ids": {}, "auth_chain_ids": "x", "pdus": None, "auth_chain": 1}),
    "strange IDs": Reply({"events": [5], "pdu_ids": [5, None, "x"], "auth_chain_ids": [{}], "pdus": [[]]}),
    "unknown IDs": Reply({"events": [], "pdu_ids": [UNKNOWN], "auth_chain_ids": [UNKNOWN], "pdus": []}),
    "a redirect": Reply({}, 302, {"Location": "https://127.0.0.1:1/"}),
    "a broken bomb": Reply(b"\x1f\x8b" + bytes(1000), 200, {"Content-Encoding": "gzip"}),
    "duplicate keys": Reply(b'{"events": [], "events": []}'),
    "invalid UTF-8": Reply(b'{"events": ["\xff"]}'),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_event_whose_past_cannot_be_had_holds_up_nothing(scene: Scene, lie: str) -> None:
    to_all(scene, LIES[lie])
    (await scene.send([scene.says("bad", prev_events=[UNKNOWN])])).ok()

    async def has_asked() -> bool:
        return any(scene.peer.heard_at(part) for part in ("get_missing_events", "state_ids", "/event/"))

    await until(has_asked, what="a question")
    await goes_on(scene)


async def test_good_events_of_the_room_overtake_one_that_is_waited_for(scene: Scene) -> None:
    to_all(scene, Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404))
    await scene.deliver("after", scene.says("bad", prev_events=[UNKNOWN]))
    await goes_on(scene)


async def test_good_events_overtake_one_whose_past_is_kept_silent(scene: Scene) -> None:
    """A question that is not answered may take minutes: they are not the room's."""
    to_all(scene, Silence())
    (await scene.send([scene.says("bad", prev_events=[UNKNOWN])])).ok()

    async def has_asked() -> bool:
        return bool(scene.peer.heard_at(federation("v1")))

    await until(has_asked, what="a question")
    await scene.deliver("after")


async def test_many_events_whose_past_is_kept_silent_cost_little(scene: Scene) -> None:
    """Only a few are completed at the same time, and the others wait for those, not the room."""
    to_all(scene, Silence())
    bad = [scene.says("bad", prev_events=["$" + f"{number}".rjust(43, "n")]) for number in range(40)]
    (await scene.send(bad)).ok()

    def questions() -> int:
        """How many there have been; what the peer is told is none."""
        sent = federation("v1", "send", "")
        return sum(not heard.path.startswith(sent) for heard in scene.peer.heard_at(federation("v1")))

    async def has_asked() -> bool:
        return questions() == MOST_OF_SERVER

    await until(has_asked, what="some questions")
    await scene.deliver("after")
    assert questions() == MOST_OF_SERVER


async def test_what_stands_on_an_event_that_is_waited_for_comes_with_it(scene: Scene) -> None:
    """Not before, and not long after: an honest server that is merely slow."""
    gate: Deferred[None] = Deferred()
    pdus = []
    for text in ("first", "second", "third"):
        pdus.append(scene.says(text))
        scene.room.accept(pdus[-1])

    async def slowly(_: Heard) -> Reply:
        await gate
        return Reply({"events": [pdus[0]]})

    scene.peer.answer("POST", MISSING, slowly)
    (await scene.send([pdus[1]])).ok()

    async def has_asked() -> bool:
        return bool(scene.peer.heard_at("get_missing_events"))

    await until(has_asked, what="a question")
    (await scene.send([pdus[2]])).ok()
    await goes_on(scene)
    assert await scene.texts() == ["here"]
    gate.callback(None)
    await scene.seen("third")
    assert await scene.texts() == ["here", "first", "second", "third"]
    assert len(scene.peer.heard_at("get_missing_events")) == 1


async def test_a_past_without_end_is_given_up(scene: Scene) -> None:
    """Each missing event has a parent that is missing, too."""
    numbers = count(1)
    made: dict[str, Pdu] = {}

    def one_more(prev: str | None = None) -> Pdu:
        parent = "$" + f"{next(numbers)}".rjust(43, "a")
        pdu = scene.says("endless", prev_events=[prev or parent], depth=1000)
        made[scene.room.id_of(pdu)] = pdu
        return pdu

    def missing(heard: Heard) -> Reply:
        return Reply({"events": [one_more() for _ in range(heard.json.get("limit", 10))]})

    def event(heard: Heard) -> Reply:
        pdu = made.get(heard.args["event_id"]) or one_more()
        return Reply({"origin": scene.peer.server_name, "origin_server_ts": 1, "pdus": [pdu]})

    scene.peer.answer("POST", MISSING, missing)
    scene.peer.answer("GET", EVENT, event)
    await scene.deliver("after", one_more())
    await goes_on(scene)
    assert len(scene.peer.heard) < MOST_REQUESTS


async def test_missing_events_that_nobody_asked_for_are_not_taken(scene: Scene) -> None:
    unasked = scene.says("unasked", prev_events=[UNKNOWN])
    scene.peer.answer("POST", MISSING, Reply({"events": [unasked] * 50}))
    scene.peer.answer("GET", STATE_IDS, Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404))
    scene.peer.answer("GET", STATE, Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404))
    scene.peer.answer("GET", EVENT, Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404))
    await scene.deliver("after", scene.says("bad", prev_events=["$" + "v" * 43]))
    assert await scene.texts() == ["after"]


async def test_an_answer_without_end_gets_no_memory(scene: Scene) -> None:
    # At a pace that the peer can see the connection end at: without one it fills its own memory meanwhile.
    endless = Endless(b" " * 65_536, first=b'{"events": [', every_s=0.01)
    to_all(scene, endless)
    (await scene.send([scene.says("bad", prev_events=[UNKNOWN])])).ok()

    async def is_over() -> bool:
        return endless.is_over

    await until(is_over, what="the end of the connection", patience_s=40)
    assert endless.sent < 3 * EVENTS_BYTES
    await goes_on(scene)


async def test_a_bomb_is_not_unpacked(scene: Scene) -> None:
    """500 MB of blanks in 500 kB."""
    bomb = gzip.compress(b'{"events": [' + b" " * 100_000_000 + b"]}", 1)
    heard_before = len(scene.peer.heard)
    to_all(scene, Reply(bomb, 200, {"Content-Encoding": "gzip"}))
    (await scene.send([scene.says("bad", prev_events=[UNKNOWN])])).ok()

    async def has_asked() -> bool:
        return len(scene.peer.heard) > heard_before

    await until(has_asked, what="a question")
    await goes_on(scene)
    assert all("gzip" not in heard.headers.get("accept-encoding", "") for heard in scene.peer.heard)


STATES: dict[str, Callable[[Scene], list[Pdu]]] = {
    "in which Mallory rules": lambda scene: [
        scene.room.make("m.room.power_levels", {"users": {scene.mallory: 100}}, "", sender=scene.mallory)
    ],
    "in which Alice has left": lambda scene: [
        scene.room.make(
            "m.room.member", {"membership": "leave"}, scene.alice.user_id, sender=scene.alice.user_id
        )
    ],
}


@pytest.mark.parametrize("kind", STATES)
async def test_a_state_that_is_a_lie_does_not_become_the_rooms(scene: Scene, kind: str) -> None:
    """An event whose past is unknown gets the state that the peer tells; what is forged in it has no effect."""
    forged = STATES[kind](scene)
    for pdu in forged:
        scene.room.events[scene.room.id_of(pdu)] = pdu
    state = {**scene.room.state, **{(pdu["type"], pdu["state_key"]): scene.room.id_of(pdu) for pdu in forged}}
    parent = scene.says("parent", prev_events=[UNKNOWN])
    scene.room.events[scene.room.id_of(parent)] = parent
    scene.peer.answer("POST", MISSING, Reply({"events": []}))
    scene.peer.answer(
        "GET",
        STATE_IDS,
        Reply(
            {
                "pdu_ids": list(state.values()),
                "auth_chain_ids": scene.room.auth_chain(scene.room.state.values()),
            }
        ),
    )
    before = await scene.state()
    (await scene.send([scene.says("bad", prev_events=[scene.room.id_of(parent)])])).ok()

    async def has_asked() -> bool:
        return bool(scene.peer.heard_at("state_ids"))

    await until(has_asked, what="the question for the state")
    await scene.deliver("after")
    await goes_on(scene)
    assert await scene.state() == before
