"""The example client of `docs/streaming.md` misses nothing, and prints nothing twice, whatever is killed meanwhile."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.databases import Databases
from tests.openapi import Specification
from tests.processes import ROOT, processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def printed(output: Path, room: str) -> list[str]:
    """The bodies of the room's messages that have been printed."""
    events = [
        json.loads(line) for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]
    return [
        event["content"]["body"]
        for event in events
        if event["room_id"] == room and event["type"] == "m.room.message"
    ]


def follow(url: str, token: str, output: Path, state: Path) -> "subprocess.Popen[bytes]":
    """Start the example."""
    command = [sys.executable, str(ROOT / "scripts/stream_example.py"), url, "--state", str(state)]
    with output.open("w") as file:
        return subprocess.Popen(command, env={**os.environ, "MATRIX_TOKEN": token}, stdout=file)


async def test_the_example_loses_nothing(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> None:
    listeners = [{"bind": "127.0.0.1", "port": free_port(), "tls": False}]
    url, output = databases.sqlite(tmp_path), tmp_path / "output"
    async with processes(tmp_path, url, specification, "homeserver", listeners=listeners) as (process,):
        alice, bob = [await process.door().user(name) for name in ("alice", "bob")]
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        follower = follow(process.url, str(alice.access_token), output, tmp_path / "state")
        try:
            await bob.send(room, "m0")
            while printed(output, room) != ["m0"]:
                await deferLater(reactor, 0.02)
            # More than an answer holds comes while the client is away and the server dies.
            follower.send_signal(signal.SIGSTOP)
            for number in range(1, 25):
                await bob.send(room, f"m{number}")
            # What falls due meanwhile is sent afterwards.
            later = {"delay_ms": 500, "content": {"msgtype": "m.text", "body": "m25"}}
            path = f"/_matrix/client/v3/rooms/{room}/delayed_event/m.room.message/t"
            (await bob.put(path, later)).ok()
            await process.kill()
            await process.start()
            bob = process.client(bob)
            follower.send_signal(signal.SIGCONT)
            while "m25" not in printed(output, room):
                await deferLater(reactor, 0.02)
            await bob.send(room, "m26")
            while "m26" not in printed(output, room):
                await deferLater(reactor, 0.02)
            assert printed(output, room) == [f"m{number}" for number in range(27)]
            (await process.client(alice).post("/_matrix/client/v3/logout")).ok()
            while follower.poll() is None:
                await deferLater(reactor, 0.02)
            assert follower.returncode == 1
        finally:
            follower.kill()
            follower.wait()
