"""Whatever happens while links between servers fail: in the end all have the same events and the same state.

Reliability: a conversation goes on in each part of a network that has fallen apart, and is one again afterwards.
"""

import os
import time
from collections import Counter
from random import Random

import pytest

from homeserver.storage import events
from tests.federation.harness import Servers
from tests.federation.simulation import SharedRoom, Simulation

ROUNDS = int(os.environ.get("HOMESERVER_TEST_ROUNDS", "1"))
"""Twenty are for a thorough test by hand."""

SEED = os.environ.get("HOMESERVER_TEST_SEED")
"""That of a failure, to have the same deeds again."""

VERSIONS = [("12", "11"), ("10", "12")]


@pytest.mark.parametrize("versions", VERSIONS, ids="+".join)
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_all_servers_agree_in_the_end(servers: Servers, versions: tuple[str, ...], round_: int) -> None:
    """Messages, state, redactions, bans, power levels; links cut and mended; one server started anew."""
    seed = int(SEED or time.time_ns())
    print(f"round {round_}, seed {seed}")
    simulation = await Simulation.build(servers, Random(seed), versions=versions)
    await simulation.live(40, restarts=1)
    await simulation.settle(25)
    print(f"answers: {dict(simulation.answers)}")
    for room in simulation.rooms:
        await check(simulation, room)


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_two_histories_become_one(servers: Servers, round_: int) -> None:
    """One of the servers is alone all the time, and has much to tell and to hear in the end."""
    seed = int(SEED or time.time_ns())
    print(f"round {round_}, seed {seed}")
    simulation = await Simulation.build(servers, Random(seed), versions=("12",))
    simulation.isolate()
    await simulation.live(50)
    await simulation.settle(25)
    print(f"answers: {dict(simulation.answers)}")
    for room in simulation.rooms:
        await check(simulation, room)


async def check(simulation: Simulation, room: SharedRoom) -> None:
    """The same everywhere, for servers and for clients."""
    contents = await simulation.contents(room)
    counted = [Counter(each.statuses.values()) for each in contents]
    print(f"version {room.version}: {len(room.sent)} sent, {[dict(each) for each in counted]}")
    rejected = [
        {event_id for event_id, status in each.statuses.items() if status == events.REJECTED}
        for each in contents
    ]
    assert all(each == rejected[0] for each in rejected)
    # A redaction that nobody soft-failed counts everywhere.
    everywhere = frozenset.intersection(*(each.accepted for each in contents))
    redacted = [each.redacted & everywhere for each in contents]
    if all(each.accepted == everywhere for each in contents):
        assert all(each == redacted[0] for each in redacted)
    for site, held in zip(simulation.sites, contents, strict=True):
        follower = site.follower
        await follower.fill_gaps()
        shown = follower.shown[room.room_id]
        announced = held.accepted & held.positions.keys()
        assert announced <= shown.keys()
        # Whoever reads back to a gap and further comes to what was before all were there.
        assert shown.keys() - announced <= room.beginning
        assert set(shown.values()) == {1}
        # A client cannot be told that there is no longer an entry of the state: that is not in the protocol.
        assert {key: follower.state[room.room_id].get(key) for key in held.state} == held.state
    for site, held in zip(simulation.sites, await simulation.contents(room), strict=True):
        assert site.follower.shown[room.room_id].keys() <= held.accepted
