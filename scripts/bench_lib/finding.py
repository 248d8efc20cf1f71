"""Searching many messages, walking a large space, and sending to a room of many local members."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from bench_lib import matrix
from bench_lib.http_client import Connection, Json, RequestError, encode_request, for_each, path_of
from bench_lib.measuring import Meter, Samples, Side
from bench_lib.servers import Instance

ROOMS = 20
"""Rooms that the messages are divided among."""
MOST = 200
PAGE = 50
LOOK_AGAIN_S = 1.0
INDEX_TIMEOUT_S = 600.0
LAST_WORD = "zanzibar"
_places: dict[str, tuple[str, str]] = {}
"""By folder of the instance: a user's token and a room, made before the first round."""


async def _place(
    side: Side, name: str, fill: Callable[[Side, Instance], Awaitable[tuple[str, str]]]
) -> Instance:
    """The running server for a measurement, filled once."""
    instance, is_new = await side.kept(name)
    if is_new:
        _places[str(instance.data_dir)] = await fill(side, instance)
    return instance


def _note(side: Side, what: str) -> None:
    print(f"bench: filling {side.software.name}: {what}", file=sys.stderr)


async def measured(
    side: Side, instance: Instance, key: str, work: Callable[[int], Awaitable[None]]
) -> Samples:
    """Do the work again and again for a while: what one turn costs."""
    await work(0)
    await instance.settle()
    until = time.monotonic() + side.scale.load_s
    meter = Meter(side, instance)
    count = 0
    while count == 0 or (count < MOST and time.monotonic() < until):
        count += 1
        await work(count)
    usage = await meter.stop()
    return {f"{key}.wall": usage.wall_s / count, f"{key}.cpu": usage.cpu_s / count, f"{key}.busy": usage.busy}


async def search(side: Side) -> Samples:
    """Search for one word after another, each of which is in a few messages of a hundred."""
    instance = await _place(side, "searched", _fill_with_messages)
    token, _ = _places[str(instance.data_dir)]
    words = " ".join(next(matrix.texts(room)) for room in range(ROOMS)).split()
    connection = Connection(instance.port)
    samples: Samples = {}
    try:
        for order in ("recent", "rank"):

            async def one(number: int, order: str = order) -> None:
                if await _search(connection, token, words[number % len(words)], order) == 0:
                    raise RequestError("a search found nothing")

            samples |= await measured(side, instance, f"search.{order}", one)
    finally:
        connection.close()
    return samples


async def _search(connection: Connection, token: str, word: str, order: str) -> int:
    """How many results the first page has."""
    wanted: Json = {"search_term": word, "order_by": order, "keys": ["content.body"], "filter": {"limit": 10}}
    body: Json = {"search_categories": {"room_events": wanted}}
    answer = json.loads(await connection.send("POST", f"{matrix.CLIENT}/search", token, body))
    return len(answer["search_categories"]["room_events"]["results"])


async def _fill_with_messages(side: Side, instance: Instance) -> tuple[str, str]:
    _note(side, f"{side.scale.searched:,} messages in {ROOMS} rooms")
    connection = Connection(instance.port)
    token = await matrix.register(connection, "searcher")
    rooms = [await matrix.create_room(connection, token, f"Room {number}") for number in range(ROOMS)]

    async def fill(connection: Connection, room: int) -> None:
        words = matrix.texts(room)
        for number in range(side.scale.searched // ROOMS):
            await matrix.send_text(connection, token, rooms[room], f"fill{number}", next(words))

    await for_each(instance.port, range(ROOMS), fill)
    await matrix.send_text(connection, token, rooms[0], "last", LAST_WORD)
    async with asyncio.timeout(INDEX_TIMEOUT_S):
        while await _search(connection, token, LAST_WORD, "recent") == 0:
            instance.check()
            await asyncio.sleep(LOOK_AGAIN_S)
    connection.close()
    return token, rooms[0]


async def hierarchy(side: Side) -> Samples:
    """Read a space with all its rooms, page by page."""
    instance = await _place(side, "spaces", _fill_with_rooms)
    token, space = _places[str(instance.data_dir)]
    connection = Connection(instance.port)

    async def walk(_number: int) -> None:
        found, start = 0, ""
        while True:
            query = urlencode({"limit": PAGE} | ({"from": start} if start else {}))
            target = f"/_matrix/client/v1{path_of('rooms', space, 'hierarchy')}?{query}"
            answer = json.loads(await _patiently(connection, target, token))
            found += len(answer["rooms"])
            start = answer.get("next_batch", "")
            if not start:
                break
        if found != side.scale.space_rooms + 1:
            raise RequestError(f"a space has {found} rooms")

    try:
        return await measured(side, instance, "hierarchy", walk)
    finally:
        connection.close()


async def _patiently(connection: Connection, target: str, token: str) -> bytes:
    """GET, again and again while there have been too many: of this Synapse has a limit that no configuration lifts."""
    while True:
        response = await connection.exchange(encode_request("GET", target, token))
        if response.status == 200:
            return response.body
        if response.status != 429:
            raise RequestError(f"GET {target}: status {response.status}: {response.body[:300]!r}")
        await asyncio.sleep(json.loads(response.body)["retry_after_ms"] / 1000)


async def _fill_with_rooms(side: Side, instance: Instance) -> tuple[str, str]:
    count = side.scale.space_rooms
    _note(side, f"a space of {count} rooms")
    connection = Connection(instance.port)
    token = await matrix.register(connection, "organiser")
    made: Json = {
        "preset": "public_chat",
        "name": "Space",
        "room_version": matrix.ROOM_VERSION,
        "creation_content": {"type": "m.space"},
    }
    space = str((await connection.call("POST", f"{matrix.CLIENT}/createRoom", token, made))["room_id"])
    rooms = [""] * count

    async def build(connection: Connection, number: int) -> None:
        rooms[number] = await matrix.create_room(connection, token, f"Room {number}")

    await for_each(instance.port, range(count), build)
    for room in rooms:
        target = matrix.CLIENT + path_of("rooms", space, "state", "m.space.child", room)
        await connection.send("PUT", target, token, {"via": [room.partition(":")[2]]})
    connection.close()
    return token, space


async def crowd(side: Side) -> Samples:
    """Send messages to a room of many members of this server, for each of whom push rules count."""
    instance = await _place(side, "crowd", _fill_with_members)
    token, room = _places[str(instance.data_dir)]
    connection = Connection(instance.port)
    tag = time.time_ns()

    async def one(number: int) -> None:
        await matrix.send_text(connection, token, room, f"{tag}-{number}", "hello everybody")

    try:
        return await measured(side, instance, "crowd", one)
    finally:
        connection.close()


async def _fill_with_members(side: Side, instance: Instance) -> tuple[str, str]:
    _note(side, f"a room of {side.scale.crowd:,} members")
    connection = Connection(instance.port)
    token = await matrix.register(connection, "speaker")
    room = await matrix.create_room(connection, token, "Crowd")

    async def enter(connection: Connection, number: int) -> None:
        await matrix.join(connection, await matrix.register(connection, f"member{number}"), room)

    await for_each(instance.port, range(side.scale.crowd - 1), enter)
    connection.close()
    return token, room
