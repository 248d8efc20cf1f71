"""Sliding sync of a user in many rooms, asked as a client does that shows the newest twenty of them."""

import json
import sys
import time
from collections.abc import Awaitable, Callable

from bench_lib import matrix
from bench_lib.http_client import Connection, Json, RequestError, for_each
from bench_lib.measuring import Meter, Samples, Side
from bench_lib.servers import Instance

TARGET = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
WINDOW = 20
MOST = 500
STATE = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
    ("m.room.power_levels", ""),
    ("m.room.join_rules", ""),
    ("m.room.tombstone", ""),
    ("m.space.child", "*"),
    ("m.room.member", "$LAZY"),
    ("m.room.member", "$ME"),
)
_users: dict[str, tuple[str, list[str]]] = {}
"""By folder of the instance: the user's token and rooms, made before the first round."""


def _body(conn_id: str) -> Json:
    wanted: Json = {
        "ranges": [[0, WINDOW - 1]],
        "timeline_limit": 1,
        "required_state": [list(pair) for pair in STATE],
        "filters": {"not_room_types": ["m.space"]},
    }
    on: Json = {"enabled": True}
    extensions: Json = {"account_data": on, "receipts": on, "typing": on}
    return {"conn_id": conn_id, "lists": {"all_rooms": wanted}, "extensions": extensions}


async def _ask(connection: Connection, token: str, conn_id: str, pos: str | None = None) -> bytes:
    query = "?timeout=0&set_presence=offline" + ("" if pos is None else f"&pos={pos}")
    return await connection.send("POST", TARGET + query, token, _body(conn_id))


async def sliding(side: Side) -> Samples:
    """Ask for the first answer after a start, and again on new connections; then go on with one of these."""
    instance, is_new = await side.kept("listed")
    if is_new:
        _users[str(instance.data_dir)] = await _fill(side, instance)
    token, rooms = _users[str(instance.data_dir)]
    instance.stop()
    await instance.start()
    await instance.settle()
    connection = Connection(instance.port)
    samples: Samples = {}
    body = b""
    tag = str(time.time_ns())

    async def measure(key: str, work: Callable[[int], Awaitable[None]], most: int = MOST) -> None:
        until = time.monotonic() + side.scale.load_s
        meter = Meter(side, instance)
        count = 0
        while count == 0 or (count < most and time.monotonic() < until):
            await work(count)
            count += 1
        usage = await meter.stop()
        samples.update({f"{key}.wall": usage.wall_s / count, f"{key}.cpu": usage.cpu_s / count})
        samples[f"{key}.busy"] = usage.busy

    async def first(number: int) -> None:
        nonlocal body
        body = await _ask(connection, token, f"c{number % 8}")

    async def go_on(_number: int) -> None:
        nonlocal body
        body = await _ask(connection, token, "main", matrix.string_at(body, "pos"))

    async def message(number: int) -> None:
        room = rooms[number % WINDOW]
        await matrix.send_text(connection, token, room, f"{tag}-{number}", "hello")
        await go_on(number)
        if room not in json.loads(body)["rooms"]:
            raise RequestError("a sliding sync lacks the room of a message")

    try:
        await measure("sliding.first", first, most=1)
        _check(body, len(rooms))
        await measure("sliding.again", first)
        body = await _ask(connection, token, "main")
        await go_on(0)
        await measure("sliding.nothing", go_on)
        await measure("sliding.message", message)
    finally:
        connection.close()
    return samples


def _check(body: bytes, rooms: int) -> None:
    """Errors: RequestError unless the answer is that of the window."""
    answer = json.loads(body)
    shown = [room for room in answer["rooms"].values() if room["timeline"] and room["required_state"]]
    if len(shown) != min(WINDOW, rooms) or answer["lists"]["all_rooms"]["count"] != rooms:
        raise RequestError(f"a sliding sync has {len(shown)} rooms, and lists {answer['lists']}")


async def _fill(side: Side, instance: Instance) -> tuple[str, list[str]]:
    count = side.scale.list_rooms
    print(f"bench: filling {side.software.name}: {count} rooms of one user", file=sys.stderr)
    connection = Connection(instance.port)
    token = await matrix.register(connection, "lister")
    connection.close()
    rooms = [""] * count

    async def build(connection: Connection, number: int) -> None:
        rooms[number] = await matrix.create_room(connection, token, f"Room {number}")
        await matrix.send_text(connection, token, rooms[number], f"first{number}", "hello")

    await for_each(instance.port, range(count), build)
    return token, rooms
