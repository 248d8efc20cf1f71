"""Several processes share the destinations, and take over from those that die."""

import os
from collections.abc import Iterator

import pytest

from homeserver.core.identifiers import UserID
from homeserver.services.federation_outbox.shards import LEASE_MS
from homeserver.storage import outbox_shards
from homeserver.storage.outbox_shards import SHARDS
from tests.databases import Databases
from tests.fixtures import POSTGRES
from tests.services.federation_outbox.scene import Network, OutboxScene, new_outbox

pytestmark = pytest.mark.skipif(POSTGRES not in os.environ, reason=f"{POSTGRES} is not set")

NAMES = [f"server{number}" for number in range(30)]


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """Only PostgreSQL has several processes."""
    with databases.postgresql() as url:
        yield url


async def second(scene: OutboxScene) -> tuple[OutboxScene, Network]:
    """Another process, with a network of its own."""
    network = Network()
    outbox = new_outbox(scene.database, scene.clock, scene.timers, network, 77)
    other = OutboxScene(scene.database, scene.clock, network, outbox, scene.timers)
    await outbox.start()
    return other, network


async def share_out(*scenes: OutboxScene) -> None:
    """Everybody renews often enough for the shares to become equal."""
    for _ in range(3):
        for each in scenes:
            await each.outbox.renew()
            await each.settle()


def users() -> list[UserID]:
    return [UserID(f"@u:{name}") for name in NAMES]


async def test_two_processes_hold_equal_shares_and_send_everything_once(scene: OutboxScene) -> None:
    room = await scene.room(*users())
    other, network = await second(scene)
    assert other.outbox.shards.held == {}
    await share_out(scene, other)
    assert len(scene.outbox.shards.held) == len(other.outbox.shards.held) == SHARDS // 2
    assert not scene.outbox.shards.held.keys() & other.outbox.shards.held.keys()
    scene.forget()
    await room.say("hello")
    await scene.settle()
    await other.settle()
    sent = [[each.to for each in some.received] for some in (scene.network, network)]
    assert all(sent)
    assert sorted(sent[0] + sent[1]) == sorted(NAMES)
    await other.outbox.stop()


async def test_the_shards_of_a_dead_process_are_taken_over(scene: OutboxScene) -> None:
    room = await scene.room(*users())
    other, network = await second(scene)
    await share_out(scene, other)
    other.outbox._feed.stop()  # it is as good as dead
    scene.forget()
    await room.say("hello")
    await scene.settle()
    assert 0 < len(scene.network.received) < len(NAMES)
    scene.clock.advance(LEASE_MS + 1)
    await scene.outbox.renew()
    await scene.settle()
    assert len(scene.outbox.shards.held) == SHARDS
    assert {each.to for each in scene.network.received} == set(NAMES)
    assert network.received == []


async def test_a_process_that_was_asleep_finds_that_it_holds_nothing(scene: OutboxScene) -> None:
    room = await scene.room(*users())
    other, network = await second(scene)
    await share_out(scene, other)
    scene.clock.advance(LEASE_MS + 1)
    await scene.outbox.renew()
    assert len(scene.outbox.shards.held) == SHARDS
    await room.say("hello")
    await scene.settle()
    before = len(network.received)
    await other.outbox.renew()
    assert other.outbox.shards.held == {}
    await other.tick()
    assert len(network.received) == before
    await other.outbox.stop()


async def test_who_stops_leaves_its_shards_to_others_at_once(scene: OutboxScene) -> None:
    room = await scene.room(*users())
    other, _ = await second(scene)
    await share_out(scene, other)
    await other.outbox.stop()
    await scene.outbox.renew()
    assert len(scene.outbox.shards.held) == SHARDS
    scene.forget()
    await room.say("hello")
    await scene.settle()
    assert sorted(each.to for each in scene.network.received) == sorted(NAMES)
    positions = await scene.database.read(outbox_shards.positions)
    assert len(positions) == SHARDS


async def test_who_is_behind_stays_so_with_the_next_holder(scene: OutboxScene) -> None:
    room = await scene.room(*users())
    scene.network.down.update(NAMES)
    await room.say("one")
    await scene.settle()
    scene.timers.advance(2.0)
    await scene.settle()
    assert len(scene.outbox.queues.behind) == len(NAMES)
    other, network = await second(scene)
    await scene.outbox.stop()
    await other.outbox.renew()
    assert other.outbox.queues.behind.keys() == set(NAMES)
    await other.pass_ms(60_000)
    assert {each.to for each in network.received} == set(NAMES)
    assert other.outbox.queues.behind == {}
    await other.outbox.stop()
