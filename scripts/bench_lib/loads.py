"""The measurements themselves: each loads one side once and gives its samples."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from bench_lib import matrix
from bench_lib.http_client import Connection, RequestError
from bench_lib.measuring import Meter, Samples, Side
from bench_lib.options import SENDERS
from bench_lib.servers import Instance

MOST_SENDS = 20_000
MOST_SYNCS = 2_000
PAGE = 100


def percentile(values: list[float], share: float) -> float:
    """Give the value that `share` of the values do not exceed, interpolated between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


async def start(side: Side) -> Samples:
    """Start a server that has its database, without users; leave it alone for a while and read its memory."""
    instance = await side.spare()
    cost = await instance.start()
    try:
        await asyncio.sleep(side.scale.idle_s)
        return {"start.wall": cost.wall_s, "start.cpu": cost.cpu_s, "idle.memory": instance.memory_bytes()}
    finally:
        instance.stop()


async def send(side: Side) -> Samples:
    """Send messages for some seconds: 1, 8 and 32 users in a room each, then 32 users in one room."""
    instance = await side.populated()
    population = side.population
    samples: Samples = {}
    for count in SENDERS:
        samples |= await _send(side, instance, f"send.{count}", population.own_rooms[:count])
    shared = [population.shared_room] * max(SENDERS)
    return samples | await _send(side, instance, "send.shared", shared)


async def _send(side: Side, instance: Instance, key: str, rooms: list[str]) -> Samples:
    tag = f"{key}-{time.time_ns()}"
    words = matrix.texts(len(rooms))
    took: list[float] = []

    async def sender(user: int, connection: Connection, prefix: str, until: float, most: int) -> None:
        for number in range(most):
            began = time.monotonic()
            if began >= until:
                return
            transaction = f"{tag}-{prefix}{number}"
            await matrix.send_text(
                connection, side.population.tokens[user], rooms[user], transaction, next(words)
            )
            took.append(time.monotonic() - began)

    connections = [Connection(instance.port) for _ in rooms]

    async def all_send(prefix: str, seconds: float, most: int) -> None:
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for user, connection in enumerate(connections):
                tasks.create_task(sender(user, connection, prefix, until, most))

    try:
        await all_send("warm", 5.0, 3)
        await instance.settle()
        took.clear()
        meter = Meter(side, instance)
        await all_send("m", side.scale.load_s, MOST_SENDS // len(rooms))
        usage = await meter.stop()
    finally:
        for connection in connections:
            connection.close()
    return {
        f"{key}.rate": len(took) / usage.wall_s,
        f"{key}.cpu": usage.cpu_s / len(took),
        f"{key}.p99": percentile(took, 0.99),
        f"{key}.busy": usage.busy,
    }


async def _repeat(seconds: float, most: int, work: Callable[[int], Awaitable[None]]) -> int:
    """Do `work` again and again, at least once, within bounds of time and number; give the number."""
    until = time.monotonic() + seconds
    for number in range(most):
        await work(number)
        if time.monotonic() >= until:
            return number + 1
    return most


async def sync(side: Side) -> Samples:
    """Sync as the user of all rooms: first after a start, again, with lazy members, and with nothing new."""
    instance = await side.populated(restarted=True)
    token = side.population.reader_token
    connection = Connection(instance.port)
    samples: Samples = {}
    body = b""

    async def initial(number: int, sync_filter: str | None = None) -> None:
        # A timeout does not matter here, but a different one keeps a server from repeating an earlier answer.
        nonlocal body
        body = await matrix.sync(connection, token, timeout_ms=number, sync_filter=sync_filter)

    async def measure(key: str, seconds: float, most: int, work: Callable[[int], Awaitable[None]]) -> None:
        meter = Meter(side, instance)
        count = await _repeat(seconds, most, work)
        usage = await meter.stop()
        samples.update({f"{key}.wall": usage.wall_s / count, f"{key}.cpu": usage.cpu_s / count})
        samples[f"{key}.busy"] = usage.busy

    try:
        await measure("sync.first", 0.0, 1, initial)
        _check_initial(body, len(side.population.rooms))
        samples["sync.bytes"] = len(body)
        await measure("sync.again", side.scale.load_s, MOST_SYNCS, lambda number: initial(number + 1))
        await measure(
            "sync.lazy", side.scale.load_s, MOST_SYNCS, lambda number: initial(number + 1, matrix.LAZY)
        )
        since = matrix.next_batch(body)

        async def nothing_new(_number: int) -> None:
            await matrix.sync(connection, token, since=since)

        await nothing_new(0)
        await measure("sync.nothing", side.scale.load_s, MOST_SYNCS, nothing_new)
    finally:
        connection.close()
    return samples


def _check_initial(body: bytes, rooms: int) -> None:
    """Errors: RequestError unless the answer has every room, each with messages and state."""
    joined = json.loads(body)["rooms"]["join"]
    whole = [room for room in joined.values() if room["timeline"]["events"] and room["state"]["events"]]
    if len(whole) < rooms:
        raise RequestError(f"an initial sync has {len(whole)} whole rooms of {rooms}")


async def messages(side: Side) -> Samples:
    """Page through a long room from its end to its beginning, 100 events at a time, again and again."""
    instance = await side.populated()
    population = side.population
    connection = Connection(instance.port)
    events = 0

    async def read_all(_number: int) -> None:
        nonlocal events
        start: str | None = None
        for _ in range(side.scale.history):
            body = await matrix.page_back(
                connection, population.reader_token, population.history_room, start, PAGE
            )
            events += body.count(b'"origin_server_ts":')
            start = matrix.string_at(body, "end")
            if start is None:
                return
        raise RequestError("/messages does not come to an end")

    try:
        await read_all(0)
        if events < side.scale.history:
            raise RequestError(f"/messages gave {events} events of {side.scale.history} and more")
        events = 0
        meter = Meter(side, instance)
        await _repeat(side.scale.load_s, MOST_SYNCS, read_all)
        usage = await meter.stop()
    finally:
        connection.close()
    return {
        "messages.rate": events / usage.wall_s,
        "messages.cpu": usage.cpu_s / events,
        "messages.busy": usage.busy,
    }


async def database(side: Side) -> Samples:
    """Give what was measured while the data was made."""
    await side.populate()
    population = side.population
    return {
        "database.alone": population.alone_bytes_per_10000,
        "database.crowded": population.crowded_bytes_per_10000,
    }
