"""End-to-end encryption: asking for keys, uploading them, messages to many devices, and hearing of new ones."""

import asyncio
import hashlib
import json
import sys
import time
from asyncio.subprocess import PIPE
from base64 import b64encode
from pathlib import Path
from typing import cast

from bench_lib import matrix
from bench_lib.finding import measured
from bench_lib.http_client import Connection, Json, RequestError, encode_request, for_each, path_of
from bench_lib.measuring import Samples, Side
from bench_lib.servers import Instance, own_python
from bench_lib.waiting import WARM_UP, Crowd, told

SIGNER = Path(__file__).with_name("sign_keys.py")
DEVICES = 3
"""Of each user."""
ONE_TIME_KEYS = 50
"""In one upload, as clients do it."""
UPLOADERS = 50
"""Devices that take turns, so that none has more keys than a device should."""


class Keyed:
    """Users with keys: whose tokens there are, and who has which devices."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.devices: dict[str, list[str]] = {}
        self.since: list[str] = []
        """What each has of the sync, as far as it has been asked for."""


_keyed: dict[str, Keyed] = {}
"""By folder of the instance."""


async def encryption(side: Side) -> Samples:
    """The measurements on one server."""
    instance, is_new = await side.kept("keyed")
    if is_new:
        _keyed[str(instance.data_dir)] = await _fill(side, instance)
    users = _keyed[str(instance.data_dir)]
    connection = Connection(instance.port)
    tag = time.time_ns()
    question: Json = {"device_keys": {user_id: [] for user_id in users.devices}}
    letters = {user_id: {devices[0]: {"number": 1}} for user_id, devices in users.devices.items()}

    async def ask(_number: int) -> None:
        answer = await connection.send("POST", f"{matrix.CLIENT}/keys/query", users.tokens[0], question)
        if answer.count(b'"curve25519:') < DEVICES * len(users.devices):
            raise RequestError("an answer lacks devices")

    async def upload(number: int) -> None:
        token = users.tokens[number % min(UPLOADERS, len(users.tokens))]
        keys: Json = {
            f"signed_curve25519:{tag}-{number}-{index}": {
                "key": _base64(hashlib.sha256(f"{tag}-{number}-{index}".encode()).digest()),
                "signatures": {"@a:b": {"ed25519:x": "y" * 86}},
            }
            for index in range(ONE_TIME_KEYS)
        }
        await connection.send("POST", f"{matrix.CLIENT}/keys/upload", token, {"one_time_keys": keys})

    async def fan_out(number: int) -> None:
        target = matrix.CLIENT + path_of("sendToDevice", "m.room.encrypted", f"{tag}-{number}")
        await connection.send("PUT", target, users.tokens[0], {"messages": letters})

    samples: Samples = {}
    try:
        for key, work in (("keys.query", ask), ("keys.upload", upload), ("keys.to_device", fan_out)):
            samples |= await measured(side, instance, key, work)
    finally:
        connection.close()
    return samples | await _new_devices(side, instance, users)


async def _new_devices(side: Side, instance: Instance, users: Keyed) -> Samples:
    """All users wait, and hear of one new device of the first of them after the other."""
    count = len(users.tokens)
    connection = Connection(instance.port)
    user_id, devices = "", dict[str, str]()
    for _ in range(WARM_UP + side.scale.deliveries):
        token = await matrix.login(connection, "keyed0")
        who = await connection.call("GET", f"{matrix.CLIENT}/account/whoami", token)
        user_id, devices[str(who["device_id"])] = str(who["user_id"]), token
    connection.close()
    requests = [
        encode_request(
            "POST",
            f"{matrix.CLIENT}/keys/upload",
            devices[str(keys["device_id"])],
            json.dumps({"device_keys": keys}).encode(),
        )
        for keys in await _signed({user_id: list(devices)})
    ]
    users.since = users.since or [""] * count

    async def catch_up(connection: Connection, user: int) -> None:
        since = users.since[user] or None
        body = await matrix.sync(connection, users.tokens[user], since=since, sync_filter=matrix.LAZY)
        users.since[user] = matrix.next_batch(body)

    await instance.settle()
    await for_each(instance.port, range(count), catch_up)
    crowd = Crowd(instance, users.tokens, users.since, count)
    marker = b'"changed":["%b"]' % user_id.encode()
    return await told(side, instance, "keys.told", crowd, lambda number: (requests[number], marker))


async def _fill(side: Side, instance: Instance) -> Keyed:
    count = side.scale.keyed_users
    print(
        f"bench: filling {side.software.name}: {count:,} users with {DEVICES} devices each", file=sys.stderr
    )
    first = Connection(instance.port)
    owner = await matrix.register(first, "keyed")
    room = await matrix.create_room(first, owner, "Encrypted")
    first.close()
    users = Keyed()
    tokens: dict[str, str] = {}

    async def enter(connection: Connection, number: int) -> None:
        name = f"keyed{number}"
        token = await matrix.register(connection, name)
        await matrix.join(connection, token, room)
        users.tokens.append(token)
        for device in range(DEVICES):
            if device:
                token = await matrix.login(connection, name)
            who = await connection.call("GET", f"{matrix.CLIENT}/account/whoami", token)
            user_id, device_id = str(who["user_id"]), str(who["device_id"])
            users.devices.setdefault(user_id, []).append(device_id)
            tokens[device_id] = token

    async def upload(connection: Connection, keys: Json) -> None:
        token = tokens[str(keys["device_id"])]
        await connection.send("POST", f"{matrix.CLIENT}/keys/upload", token, {"device_keys": keys})

    await for_each(instance.port, range(count), enter)
    await for_each(instance.port, await _signed(users.devices), upload)
    return users


async def _signed(devices: dict[str, list[str]]) -> list[Json]:
    """Keys of these devices, signed as clients do it: by what this server's environment has for that."""
    asked = json.dumps([[user_id, each] for user_id, listed in devices.items() for each in listed])
    process = await asyncio.create_subprocess_exec(str(own_python()), str(SIGNER), stdin=PIPE, stdout=PIPE)
    output, _ = await process.communicate(asked.encode())
    if process.returncode != 0:
        raise RequestError("the keys of devices could not be made")
    return cast("list[Json]", json.loads(output))


def _base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")
