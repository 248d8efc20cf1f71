"""The measurements of federation: each side meets servers that a process of its own plays."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench_lib import matrix
from bench_lib.http_client import Connection, RequestError, encode_request, path_of
from bench_lib.measuring import Meter, Samples, Side, Usage
from bench_lib.processes import die_with_parent
from bench_lib.servers import REPOSITORY, Instance, own_python

BATCH = 50
MANY = 100
"""Destinations of one message."""
TURNS = 10
ROOM_SERVERS = 50
"""Servers whose users are in the large room."""
LONGEST_LINE = 2**20
READY_TIMEOUT_S = 60.0
ARRIVAL_TIMEOUT_S = 300.0
LOOK_AGAIN_S = 0.5


class ForeignServers:
    """The link to the process that plays them."""

    def __init__(self, process: asyncio.subprocess.Process, names: list[str]) -> None:
        self._process = process
        self.names = names

    async def tell(self, what: str, **arguments: object) -> Any:
        """Give a command, and await its answer.

        Errors: RequestError when it failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        answer = await _answer(self._process)
        if "failed" in answer:
            raise RequestError(f"{what} of the foreign servers: {answer['failed']}")
        return answer


async def _answer(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RequestError("the process that plays foreign servers has ended; its words are above")
    return json.loads(line)


@asynccontextmanager
async def foreign_servers(side: Side, count: int) -> AsyncIterator[ForeignServers]:
    """Run new servers with new names, so that their keys are not known yet."""
    authority = side.authority
    certificate, private_key = authority.certify("foreign")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    scripts = REPOSITORY / "scripts"
    process = await asyncio.create_subprocess_exec(
        *(str(own_python()), "-m", "bench_lib.foreign"),
        *(str(count), str(certificate), str(private_key), str(authority.file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": f"{scripts}:{REPOSITORY}"},
        preexec_fn=die_with_parent(signal.SIGKILL),
    )
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            ready = await _answer(process)
        yield ForeignServers(process, ready["names"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _meeting(
    side: Side, servers: int
) -> AsyncIterator[tuple[Instance, Connection, str, ForeignServers]]:
    """The running server under test, a user's connection and token, and the foreign servers."""
    instance = await side.federated()
    connection = Connection(instance.port)
    try:
        token = await matrix.register(connection, f"user{time.time_ns()}")
        async with foreign_servers(side, servers) as foreign:
            yield instance, connection, token, foreign
    finally:
        connection.close()


async def receive(side: Side) -> Samples:
    """Messages from another server in a room of one local user: single ones, then many in a transaction."""
    samples: Samples = {}
    async with _meeting(side, 1) as (instance, connection, token, foreign):
        name = _name(instance)
        room_id = await matrix.create_room(connection, token, "Receiving")
        await foreign.tell("join", room_id=room_id, server_name=name, servers=1)
        await _receive(side, instance, connection, foreign, (token, room_id), (1, 5))
        for key, batch, batches in (
            ("receive.single", 1, side.scale.singles),
            ("receive.batch", BATCH, side.scale.batches),
        ):
            usage = await _receive(side, instance, connection, foreign, (token, room_id), (batch, batches))
            samples[f"{key}.cpu"] = usage.cpu_s / (batch * batches)
            samples[f"{key}.wall"] = usage.wall_s / (batch * batches)
    return samples


async def _receive(
    side: Side,
    instance: Instance,
    connection: Connection,
    foreign: ForeignServers,
    place: tuple[str, str],
    amount: tuple[int, int],
) -> Any:
    """Have transactions sent, and wait until the last event is there: a server may answer before."""
    batch, batches = amount
    last = (await foreign.tell("prepare", batch=batch, batches=batches))["last"]
    await instance.settle()
    meter = Meter(side, instance)
    await foreign.tell("send", server_name=_name(instance))
    token, room_id = place
    request = encode_request("GET", matrix.CLIENT + path_of("rooms", room_id, "event", last), token)
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        while (await connection.exchange(request)).status != 200:
            instance.check()
            await asyncio.sleep(LOOK_AGAIN_S)
    return await meter.stop()


async def outgoing(side: Side) -> Samples:
    """Messages of a local user in a room with no other server, with one, and with many.

    The first kind is subtracted from the others, so they are measured in turns, some messages of each at a time:
    whatever else goes on in the machine, it goes on for all of them.
    """
    counts = {servers: max(1, side.scale.outgoing // TURNS) for servers in (0, 1)}
    counts[MANY] = max(1, side.scale.outgoing // TURNS // 5)
    usages: dict[int, list[Usage]] = {servers: [] for servers in counts}
    async with _meeting(side, MANY) as (instance, connection, token, foreign):
        places = {}
        for servers in counts:
            room_id = await matrix.create_room(connection, token, f"Sending to {servers}")
            await foreign.tell("join", room_id=room_id, server_name=_name(instance), servers=servers)
            places[servers] = (token, room_id)
            await _send(instance, connection, foreign, places[servers], servers, 3)
        for _ in range(TURNS):
            for servers, count in counts.items():
                await instance.settle()
                meter = Meter(side, instance)
                await _send(instance, connection, foreign, places[servers], servers, count)
                usages[servers].append(await meter.stop())
    samples: Samples = {}
    for servers, count in counts.items():
        samples[f"outgoing.{servers}.cpu"] = sum(each.cpu_s for each in usages[servers]) / (count * TURNS)
        samples[f"outgoing.{servers}.wall"] = sum(each.wall_s for each in usages[servers]) / (count * TURNS)
    alone = samples["outgoing.0.cpu"]
    one, many = (max(samples[f"outgoing.{servers}.cpu"] - alone, 1e-6) for servers in (1, MANY))
    return samples | {"outgoing.one.cpu": one, "outgoing.many.cpu": many, "outgoing.factor": many / one}


async def _send(
    instance: Instance,
    connection: Connection,
    foreign: ForeignServers,
    place: tuple[str, str],
    servers: int,
    count: int,
) -> None:
    """Send messages; each when the one before has reached all servers."""
    token, room_id = place
    for number in range(count):
        text = f"outgoing {time.time_ns()} {number}"
        await foreign.tell("expect", marker=text, servers=servers)
        await matrix.send_text(connection, token, room_id, text.replace(" ", "-"), text)
        if servers:
            await foreign.tell("arrived")
        instance.check()


async def big_join(side: Side) -> Samples:
    """Join a room of many members: until the client has its answer; until the server knows them all, and is quiet."""
    members = side.scale.joined_members
    async with _meeting(side, ROOM_SERVERS) as (instance, connection, token, foreign):
        made = await foreign.tell("room", members=members, servers=ROOM_SERVERS, version=matrix.ROOM_VERSION)
        await instance.settle()
        meter = Meter(side, instance)
        began = time.monotonic()
        target = (
            f"{matrix.CLIENT}{path_of('join', made['room_id'])}?server_name={made['via']}&via={made['via']}"
        )
        await connection.send("POST", target, token, {})
        answered = time.monotonic() - began
        # A server may have the members still to fetch, with pauses in which it seems to be done: this waits for them.
        await _check_members(connection, token, made["room_id"], members + 1)
        usage = await meter.stop(late_work=True)
    return {"join.answer": answered, "join.cpu": usage.cpu_s}


async def _check_members(connection: Connection, token: str, room_id: str, wanted: int) -> None:
    """Errors: RequestError unless the room has so many members."""
    target = matrix.CLIENT + path_of("rooms", room_id, "joined_members")
    found = len((await connection.call("GET", target, token))["joined"])  # type: ignore[arg-type]  # what the test wants to be taken
    if found != wanted:
        raise RequestError(f"the room has {found} members of {wanted}")


def _name(instance: Instance) -> str:
    assert instance.federation is not None
    return instance.federation.server_name
