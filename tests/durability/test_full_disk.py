"""A full disk: writes are refused with 503, reading and syncing go on, and nobody need do anything afterwards."""

import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.api.server import Answer, Client, path_of, room_path
from tests.databases import Databases
from tests.openapi import Specification
from tests.processes import ServerProcess, processes


@pytest.fixture
async def process(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[ServerProcess]:
    """A running server on SQLite: that PostgreSQL's disk is full is PostgreSQL's to find out."""
    async with processes(tmp_path, databases.sqlite(tmp_path), specification, "homeserver") as (made,):
        yield made


def allow(process: ServerProcess, most_bytes: int) -> None:
    """The system lets no file of the process grow beyond this: its writes fail then, as on a full disk."""
    assert process.process is not None
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


def refused(answer: Answer) -> None:
    answer.error(503, "M_UNKNOWN")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_full_disk(process: ServerProcess) -> None:
    door = process.door()
    alice, bob = await door.user("alice"), await door.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    await alice.send(room, "before")

    allow(process, 4096)
    message = {"msgtype": "m.text", "body": "during"}
    path = room_path(room, "send", "m.room.message", "the same")
    for _ in range(3):
        refused(await alice.put(path, message))
    refused(await alice.put(room_path(room, "state", "m.room.topic", ""), {"topic": "during"}))
    refused(await alice.put(room_path(room, "typing", alice.user_id), {"typing": True}))
    refused(await alice.post(path_of("createRoom")))
    refused(await alice.put(path_of("profile", alice.user_id, "displayname"), {"displayname": "A"}))
    await reads_go_on(alice, bob, room, since)

    allow(process, resource.RLIM_INFINITY)
    sent = (await alice.put(path, message)).ok()["event_id"]
    assert (await alice.put(path, message)).ok()["event_id"] == sent
    assert await bob.messages_in(room) == ["before", "during"]
    answer = await bob.sync(since)
    assert bodies(answer, room) == ["before", "during"]
    assert not [record for record in process.complaints if "Traceback" in str(record)]
    # And it is on the disk.
    await process.kill()
    await process.start()
    assert await process.client(bob).messages_in(room) == ["before", "during"]


def bodies(answer: dict[str, object], room: str) -> list[str]:
    timeline = answer["rooms"]["join"][room]["timeline"]["events"]  # type: ignore[index]  # JSON
    return [event["content"]["body"] for event in timeline]


async def reads_go_on(alice: Client, bob: Client, room: str, since: str) -> None:
    assert await bob.messages_in(room) == ["before"]
    assert bodies(await bob.sync(since), room) == ["before"]
    assert room in (await alice.sync())["rooms"]["join"]
    (await alice.get(room_path(room, "state"))).ok()
    (await alice.get(path_of("account", "whoami"))).ok()
    # Somebody who comes only now is let in with a token from before, and waits as usual.
    answer = await bob.sync(since)
    poll = Deferred.fromCoroutine(bob.sync(answer["next_batch"], timeout=300))
    assert "rooms" not in await poll
