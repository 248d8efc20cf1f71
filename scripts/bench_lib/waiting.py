"""Clients that wait in long-polls: delivery of messages to them, and the memory they take."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote

from bench_lib import matrix
from bench_lib.http_client import HOST, Connection, RequestError, Response, Stream, encode_request
from bench_lib.loads import percentile
from bench_lib.measuring import Meter, Samples, Side
from bench_lib.processes import own_cpu_seconds
from bench_lib.servers import Instance

DELIVERY_TIMEOUT_S = 60.0
POLL_TIMEOUT_MS = 30_000
WARM_UP = 3
"""Things told before those that are measured."""
IDLE_POLL_TIMEOUT_MS = 60_000


@dataclass
class Watch:
    """What the waiting clients have in common: which message is awaited, and how many clients lack it."""

    marker: bytes = b"\xff"
    missing: int = 0
    last_at: float = 0.0
    answers: int = 0
    """Of any kind, so far."""
    error: RequestError | None = None
    all_have_it: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, marker: bytes, clients: int) -> None:
        self.marker, self.missing = marker, clients
        self.all_have_it.clear()

    def got_it(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self.last_at = time.monotonic()
            self.all_have_it.set()

    def fail(self, error: RequestError) -> None:
        self.error = self.error or error
        self.all_have_it.set()


class Waiter(Stream):
    """A client that polls again as soon as it has an answer."""

    def __init__(self, watch: Watch, token: str, since: str, timeout_ms: int) -> None:
        super().__init__()
        self.since = since
        self._watch = watch
        self._closing = False
        target = matrix.sync_target(timeout_ms=timeout_ms) + "&since="
        whole = encode_request("GET", target, token)
        self._head = whole[: whole.index(target.encode()) + len(target)]
        self._rest = whole[len(self._head) :]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._poll()

    def _poll(self) -> None:
        self.write(self._head + quote(self.since, safe="").encode() + self._rest)

    def on_response(self, response: Response) -> None:
        watch = self._watch
        watch.answers += 1
        if response.status != 200:
            watch.fail(RequestError(f"a long-poll got status {response.status}: {response.body[:300]!r}"))
            return
        self.since = matrix.next_batch(response.body)
        self._poll()
        if watch.marker in response.body:
            watch.got_it()

    def on_lost(self, error: RequestError) -> None:
        if not self._closing:
            self._watch.fail(error)

    def leave(self) -> None:
        self._closing = True
        self.close()


def _itself(waiter: Waiter) -> Waiter:
    return waiter


class Crowd:
    """The first users of a server, each waiting on a connection of its own from where `since` says."""

    def __init__(self, instance: Instance, tokens: Sequence[str], since: list[str], count: int) -> None:
        self._instance = instance
        self._tokens = tokens
        self._since = since
        self.count = count
        self._waiters: list[Waiter] = []
        self.watch = Watch()

    async def arrive(self, timeout_ms: int) -> None:
        """Open the polls, and wait until the server holds them all."""
        loop = asyncio.get_running_loop()
        for user in range(self.count):
            waiter = Waiter(self.watch, self._tokens[user], self._since[user], timeout_ms)
            self._waiters.append(waiter)
            await loop.create_connection(partial(_itself, waiter), HOST, self._instance.port)
        await self._instance.settle()
        self.check()
        if self.watch.answers > 3 * self.count:
            raise RequestError(f"{self.watch.answers} answers to {self.count} long-polls, with no news")

    def check(self) -> None:
        """Errors: RequestError when a waiting client has met an error."""
        if self.watch.error is not None:
            raise self.watch.error

    def leave(self) -> None:
        """Close all, and remember how far each has read."""
        for user, waiter in enumerate(self._waiters):
            waiter.leave()
            self._since[user] = waiter.since


News = Callable[[int], tuple[bytes, bytes]]
"""Of a number: the request that has something told, and what stands in the answers that tell it."""


async def delivery(side: Side) -> Samples:
    """Send messages, one after the other, to rooms of waiting clients."""
    instance = await side.populated()
    await side.catch_up(instance, max(side.scale.waiting))
    samples: Samples = {}
    for count in side.scale.waiting:
        samples |= await _deliver(side, instance, count)
    return samples


async def _deliver(side: Side, instance: Instance, count: int) -> Samples:
    population, tag = side.population, f"{count}-{time.time_ns()}"

    def news(number: int) -> tuple[bytes, bytes]:
        text = f"delivery {tag} {number} to everyone"
        request = matrix.send_request(
            population.speaker_token, population.waiting_rooms[str(count)], f"{tag}-{number}", text
        )
        return request, text.encode()

    crowd = Crowd(instance, population.tokens, population.since, count)
    return await told(side, instance, f"delivery.{count}", crowd, news)


async def told(side: Side, instance: Instance, key: str, crowd: Crowd, news: News) -> Samples:
    """Have waiting clients told one thing after the other."""
    connection, count = Connection(instance.port), crowd.count
    took: list[float] = []
    client_s = 0.0

    async def tell(number: int) -> None:
        nonlocal client_s
        request, marker = news(number)
        crowd.watch.expect(marker, count)
        client, began = own_cpu_seconds(), time.monotonic()
        answer = asyncio.create_task(connection.exchange(request))
        async with asyncio.timeout(DELIVERY_TIMEOUT_S):
            await crowd.watch.all_have_it.wait()
        client_s += own_cpu_seconds() - client
        crowd.check()
        if (await answer).status != 200:
            raise RequestError(f"the request was refused: {(await answer).body[:300]!r}")
        took.append(crowd.watch.last_at - began)
        await instance.settle_briefly()

    try:
        await crowd.arrive(POLL_TIMEOUT_MS)
        for number in range(WARM_UP):
            await tell(-1 - number)
        await instance.settle()
        took.clear()
        client_s, answers = 0.0, crowd.watch.answers
        meter = Meter(side, instance)
        for number in range(side.scale.deliveries):
            await tell(number)
        usage = await meter.stop()
    except TimeoutError:
        missing = f"{crowd.watch.missing} of {count} waiting clients"
        raise RequestError(f"{missing} have not been told after {DELIVERY_TIMEOUT_S:.0f} s") from None
    finally:
        connection.close()
        crowd.leave()
    await instance.settle()
    return {
        f"{key}.cpu": usage.cpu_s / (count * len(took)),
        f"{key}.p50": percentile(took, 0.5),
        f"{key}.p99": percentile(took, 0.99),
        f"{key}.answers": (crowd.watch.answers - answers) / (count * len(took)),
        f"{key}.busy": client_s / sum(took),
    }


async def polls(side: Side) -> Samples:
    """Open many long-polls on a freshly started server that knows its users; see how its memory grows."""
    instance = await side.populated(restarted=True)
    count = side.scale.polls
    await side.catch_up(instance, count)
    await instance.settle()
    before = instance.memory_bytes()
    crowd = Crowd(instance, side.population.tokens, side.population.since, count)
    try:
        await crowd.arrive(IDLE_POLL_TIMEOUT_MS)
        grown = instance.memory_bytes() - before
    finally:
        crowd.leave()
    await instance.settle()
    return {"polls.memory": grown / count * 1000}
