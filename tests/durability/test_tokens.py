"""A token stays good after a power cut, also one from beyond what had reached the disk.

Typing does not wait for the disk. So the machine may come back with the stream's position behind what clients have
been shown; without a leap the next event would take a position that a client believes to have seen.
"""

import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from homeserver.core.tokens import parse_stream_token
from homeserver.database.drivers import Location
from tests.api.server import Client, path_of, room_path
from tests.processes import ServerProcess

EPHEMERAL = ("typing", "presence", "device_presence", "stream")
"""Tables that writes change which do not wait for the disk."""

Restore = Callable[[], None]


def disk(location: Location) -> Restore:
    """What has reached the disk by now; the result sets the disk back to it.

    On SQLite that is the files as they are. On PostgreSQL, whose disk is not ours to set back, it is the rows that
    the lost commits would have changed.
    """
    if location.backend == "sqlite":
        return _files(Path(location.target))
    with psycopg.connect(location.target) as connection:
        rows = {
            table: connection.execute(f"SELECT * FROM {table}".encode()).fetchall() for table in EPHEMERAL
        }

    def restore() -> None:
        with psycopg.connect(location.target) as connection:
            for table, kept in rows.items():
                connection.execute(f"DELETE FROM {table}".encode())
                for row in kept:
                    places = ", ".join(["%s"] * len(row))
                    connection.execute(f"INSERT INTO {table} VALUES ({places})".encode(), row)

    return restore


def _files(database: Path) -> Restore:
    copies = database.parent / "as it was"
    copies.mkdir()
    names = [database.name, f"{database.name}-wal"]
    for name in names:
        shutil.copy(database.parent / name, copies / name)

    def restore() -> None:
        for name in names:
            shutil.copy(copies / name, database.parent / name)
        (database.parent / f"{database.name}-shm").unlink()

    return restore


def stored_position(location: Location) -> int:
    """The stream's position."""
    if location.backend == "sqlite":
        with closing(sqlite3.connect(location.target)) as connection:
            return int(connection.execute("SELECT position FROM stream").fetchone()[0])
    with psycopg.connect(location.target) as connection:
        row = connection.execute("SELECT position FROM stream").fetchone()
        assert row is not None
        return int(row[0])


@attrs.define
class Reader:
    """A client that keeps its token and remembers everything that it was shown."""

    client: Client
    room: str
    token: str = ""
    seen: list[str] = attrs.field(factory=list)

    async def sync(self, *, wait_ms: int = 0) -> Any:
        """One sync; the token must never go backwards."""
        wide = {"room": {"timeline": {"limit": 100}}}
        answer = await self.client.sync(self.token or None, timeout=wait_ms, filter=wide)
        position = parse_stream_token(answer["next_batch"])
        assert not self.token or position >= parse_stream_token(self.token)
        self.token = answer["next_batch"]
        section = answer.get("rooms", {}).get("join", {}).get(self.room, {"timeline": {"events": []}})
        assert not self.seen or not section["timeline"].get("limited")
        self.seen += [
            event["content"]["body"]
            for event in section["timeline"]["events"]
            if event["type"] == "m.room.message"
        ]
        return answer

    async def read_all(self) -> None:
        """Sync until there is nothing new."""
        while "rooms" in await self.sync():
            pass


@attrs.define
class Scene:
    """Alice sends; Bob has been shown what the disk has lost, Carol has not."""

    process: ServerProcess
    location: Location
    room: str
    alice: Client
    bob: Reader
    carol: Reader
    restore: Restore

    @property
    def readers(self) -> tuple[Reader, Reader]:
        return self.bob, self.carol

    def reconnect(self) -> None:
        """To the process that has been started anew."""
        self.alice = self.process.client(self.alice)
        for reader in self.readers:
            reader.client = self.process.client(reader.client)

    async def both_see(self, *bodies: str) -> None:
        """All of these in their order, and nothing twice."""
        for reader in self.readers:
            await reader.read_all()
            assert reader.seen == ["before", *bodies]


@pytest.fixture
async def scene(process: ServerProcess, database_url: str) -> Scene:
    """The power is about to be cut."""
    location = Location.parse(database_url)
    door = process.door()
    alice = await door.user("alice")
    room = await alice.create_room(preset="public_chat")
    readers = []
    for name in ("bob", "carol"):
        client = await door.user(name)
        await client.join(room)
        readers.append(Reader(client, room))
    bob, carol = readers
    await alice.send(room, "before")
    for reader in readers:
        await reader.read_all()

    # Nothing that is written from here on reaches the disk. The process stands still while the disk is looked at.
    process.signal(signal.SIGSTOP)
    restore = await deferToThread(disk, location)
    kept = stored_position(location)
    process.signal(signal.SIGCONT)

    typing = room_path(room, "typing", alice.user_id)
    for number in range(20):
        (await alice.put(typing, {"typing": number % 2 == 0, "timeout": 30_000})).ok()
        await bob.sync()
    assert parse_stream_token(bob.token) >= kept + 20, "he has been shown what is about to be lost"
    assert parse_stream_token(carol.token) <= kept
    return Scene(process, location, room, alice, bob, carol, restore)


async def cut_the_power(scene: Scene) -> None:
    """The process ends, the disk is as it was, and all of it is started again."""
    await scene.process.kill()
    await deferToThread(scene.restore)
    assert stored_position(scene.location) < parse_stream_token(scene.bob.token)
    await scene.process.start()
    scene.reconnect()


async def test_nothing_is_missed_or_repeated(scene: Scene) -> None:
    await cut_the_power(scene)
    for number in range(30):
        await scene.alice.send(scene.room, f"m{number}")
        if number % 10 == 3:
            await scene.bob.sync()
    await scene.both_see(*(f"m{number}" for number in range(30)))


async def test_a_poll_that_waits_with_a_token_from_beyond_is_woken(scene: Scene) -> None:
    await cut_the_power(scene)
    poll = Deferred.fromCoroutine(scene.bob.sync(wait_ms=20_000))
    (await scene.alice.get(path_of("account", "whoami"))).ok()
    await scene.alice.send(scene.room, "after")
    await poll
    assert scene.bob.seen == ["before", "after"]
    await scene.both_see("after")


async def test_a_token_from_beyond_goes_with_full_state_and_messages(scene: Scene) -> None:
    await cut_the_power(scene)
    await scene.alice.send(scene.room, "after")
    token = scene.bob.token
    answer = await scene.bob.client.sync(token, full_state=True)
    timeline = answer["rooms"]["join"][scene.room]["timeline"]["events"]
    assert [event["content"]["body"] for event in timeline] == ["after"]
    page = await scene.bob.client.get(room_path(scene.room, "messages"), dir="f", **{"from": token})
    assert [event["content"]["body"] for event in page.ok()["chunk"]] == ["after"]
    page = await scene.bob.client.get(room_path(scene.room, "messages"), dir="b", limit=1, **{"from": token})
    assert [event["content"]["body"] for event in page.ok()["chunk"]] == ["before"]


async def test_what_was_lost_can_be_written_anew(scene: Scene) -> None:
    await cut_the_power(scene)
    typing = room_path(scene.room, "typing", scene.alice.user_id)
    (await scene.alice.put(typing, {"typing": True, "timeout": 30_000})).ok()
    for reader in scene.readers:
        answer = await reader.sync()
        (event,) = answer["rooms"]["join"][scene.room]["ephemeral"]["events"]
        assert event["content"]["user_ids"] == [scene.alice.user_id]


async def test_several_power_cuts_in_a_row(scene: Scene) -> None:
    for number in range(3):
        await scene.process.kill()
        if number == 0:
            await deferToThread(scene.restore)
        await scene.process.start()
        scene.reconnect()
        await scene.alice.send(scene.room, f"m{number}")
        await scene.bob.read_all()
    await scene.both_see("m0", "m1", "m2")


async def test_a_database_that_lost_its_power_beneath_a_running_server(scene: Scene) -> None:
    """Only PostgreSQL can: the process stays, its connections break, and the last commits are gone."""
    if scene.location.backend == "sqlite":
        pytest.skip("SQLite is part of the process")
    scene.process.signal(signal.SIGSTOP)
    await deferToThread(_terminate_all, scene.location.target)
    await deferToThread(scene.restore)
    assert stored_position(scene.location) < parse_stream_token(scene.bob.token)
    scene.process.signal(signal.SIGCONT)
    # Before anything is written already: nobody sees the stream go backwards.
    await scene.bob.sync()
    for number in range(5):
        await scene.alice.send(scene.room, f"m{number}")
    await scene.both_see(*(f"m{number}" for number in range(5)))


def _terminate_all(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_a_token_from_before_a_restored_backup_leads_back(
    process: ServerProcess, database_url: str
) -> None:
    """A backup may lie further behind than any leap reaches: a client goes on from what there is."""
    alice = await process.door().user("alice")
    room = await alice.create_room()
    await alice.sync()
    answer = await alice.sync("s99000000", timeout=100)
    position = parse_stream_token(answer["next_batch"])
    assert position <= stored_position(Location.parse(database_url))
    await alice.send(room, "after")
    answer = await alice.sync(answer["next_batch"])
    assert [event["content"]["body"] for event in answer["rooms"]["join"][room]["timeline"]["events"]] == [
        "after"
    ]
    poll = Deferred.fromCoroutine(alice.sync("s99000000", timeout=20_000))
    (await alice.get(path_of("account", "whoami"))).ok()
    await alice.send(room, "more")
    answer = await poll
    assert parse_stream_token(answer["next_batch"]) < 99_000_000
