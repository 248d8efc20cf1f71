"""The bus through a real Redis, over a link that breaks."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from homeserver.runtime.bus import BusError
from homeserver.runtime.redis_bus import RedisBus
from tests.replicas.conftest import RedisLink


@attrs.define(eq=False)
class Process:
    """One end of the bus, and what it has been told."""

    bus: RedisBus
    heard: list[tuple[int, frozenset[str]]] = attrs.field(factory=list)
    breaks: int = 0

    def listen(self, position: int, topics: Collection[str]) -> None:
        self.heard.append((position, frozenset(topics)))

    @property
    def topics(self) -> set[str]:
        return {topic for _, topics in self.heard for topic in topics}


async def process(redis: RedisLink, channel: str) -> Process:
    """Started, and heard by itself: so it is heard by others."""
    made: Process

    def on_break() -> None:
        made.breaks += 1

    bus = RedisBus(redis.url, channel, str(uuid.uuid4()), on_break=on_break)
    bus.RETRY_S = 0.05
    made = Process(bus)
    bus.subscribe(made.listen)
    await bus.start()
    await until(lambda: made.breaks > 0)
    return made


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that is to be soon."""
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.02)
    raise AssertionError("it does not come about")


@pytest.fixture
async def pair(redis: RedisLink) -> AsyncIterator[tuple[Process, Process]]:
    channel = str(uuid.uuid4())
    made = await process(redis, channel), await process(redis, channel)
    yield made
    for each in made:
        await each.bus.stop()


async def test_each_hears_the_other_and_itself_once(pair: tuple[Process, Process]) -> None:
    a, b = pair
    a.bus.publish(7, ["one", "two"])
    assert a.heard == [(7, frozenset({"one", "two"}))], "its own at once"
    await until(lambda: b.heard)
    b.bus.publish(8, ["three"])
    await until(lambda: len(a.heard) > 1)
    assert a.heard == [(7, frozenset({"one", "two"})), (8, frozenset({"three"}))]
    assert b.heard == a.heard


async def test_what_comes_in_a_burst_goes_out_together(pair: tuple[Process, Process]) -> None:
    a, b = pair
    for number in range(1, 1001):
        a.bus.publish(number, [f"t{number % 10}", "all"])
    await until(lambda: b.heard and b.heard[-1][0] == 1000)
    assert len(b.heard) < 50
    assert b.topics == a.topics


async def test_a_broken_link_is_told_and_mended(redis: RedisLink, pair: tuple[Process, Process]) -> None:
    a, b = pair
    before = b.breaks
    await redis.cut()
    await until(lambda: b.breaks > before + 2)
    for number in range(1, 5000):
        a.bus.publish(number, [f"lost {number}"])
    redis.mend()
    quiet = b.breaks
    await until(lambda: b.breaks > quiet)
    a.bus.publish(6000, ["back"])
    await until(lambda: "back" in b.topics or b.breaks > quiet + 1)
    # What A could not say is dropped and not sent late; that something was lost is said.
    a.bus.publish(6001, ["and again"])
    await until(lambda: "and again" in b.topics)
    assert not any(topic.startswith("lost") for topic in b.topics)
    assert a.heard[-1] == (6001, frozenset({"and again"}))


async def test_who_could_not_send_says_that_hints_were_lost(redis: RedisLink) -> None:
    """Only the link of A breaks: B could not know otherwise."""
    channel = str(uuid.uuid4())
    other = RedisLink(redis.host, redis.port)
    other.mend()
    a, b = await process(other, channel), await process(redis, channel)
    await other.cut()
    before = b.breaks
    a.bus.publish(1, ["lost"])
    await until(lambda: a.bus._is_lost)
    assert b.breaks == before
    other.mend()
    await until(lambda: b.breaks == before + 1)
    assert b.heard == []
    for each in (a, b):
        await each.bus.stop()
    await other.cut()


async def test_the_last_words_are_heard(pair: tuple[Process, Process], redis: RedisLink) -> None:
    a, b = pair
    a.bus.publish(9, ["last words"])
    await a.bus.stop()
    await until(lambda: "last words" in b.topics)
    assert b.heard == [(9, frozenset({"last words"}))]


async def test_strangers_on_the_channel_do_no_harm(pair: tuple[Process, Process]) -> None:
    a, b = pair

    async def shout() -> None:
        await a.bus._sender.publish(a.bus._channel, b"\xff not a message")

    await Deferred.fromFuture(asyncio.ensure_future(shout()))
    a.bus.publish(1, ["still there"])
    await until(lambda: b.heard)
    assert b.topics == {"still there"}


async def test_a_server_does_not_start_without_its_redis(redis: RedisLink) -> None:
    await redis.cut()
    bus = RedisBus(redis.url, "channel", "a", on_break=lambda: None)
    with pytest.raises(BusError, match="is the server running"):
        await bus.start()
    await bus.stop()
