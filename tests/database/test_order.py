"""Positions become visible in order, whichever process takes them: every reader sees a prefix without gaps."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import attrs
from twisted.internet.threads import deferToThread

from homeserver.database.database import Database
from tests.database.conftest import open_database
from tests.database.notes import published

ROOT = Path(__file__).parents[2]


@attrs.define
class Publisher:
    """A process that writes; `acknowledged` grows while it does."""

    process: "subprocess.Popen[str]"
    acknowledged: list[str] = attrs.field(factory=list)
    _thread: Thread | None = None

    def begin(self) -> None:
        """Let it write."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self._thread = Thread(target=self._listen)
        self._thread.start()

    @property
    def is_writing(self) -> bool:
        """Whether it has not finished."""
        return self._thread is not None and self._thread.is_alive()

    def _listen(self) -> None:
        assert self.process.stdout
        self.acknowledged.extend(line.strip() for line in self.process.stdout if line.endswith("\n"))


@contextmanager
def publishers(url: str, *names: str, count: int) -> Iterator[list[Publisher]]:
    """Processes that have opened the database and wait for the word."""
    made = [
        Publisher(
            subprocess.Popen(
                [sys.executable, "-m", "tests.database.publisher", url, name, str(count)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        for name in names
    ]
    try:
        for each in made:
            assert each.process.stdout
            assert each.process.stdout.readline() == "ready\n"
        yield made
    finally:
        for each in made:
            each.process.kill()
            each.process.wait()
            if each._thread is not None:
                each._thread.join()
            for pipe in (each.process.stdin, each.process.stdout):
                assert pipe
                pipe.close()


@attrs.define
class Follower:
    """Reads what is new, again and again, and checks each time that nothing is missing or late."""

    database: Database
    start: int
    position: int
    seen: list[tuple[int, str]] = attrs.field(factory=list)
    polls: int = 0

    async def poll(self) -> None:
        """Read once."""
        position, rows = await self.database.read(published, self.position)
        assert [at for at, _ in rows] == list(range(self.position + 1, position + 1))
        self.seen += rows
        self.position = position
        self.polls += bool(rows)


async def follower(url: str) -> Follower:
    database = open_database(url)
    start, _ = await database.read(published)
    return Follower(database, start, start)


async def check(follower: Follower, *processes: Publisher, killed: Publisher | None = None) -> None:
    await follower.poll()
    _, rows = await follower.database.read(published)
    assert rows == follower.seen, "nothing appeared behind the reader's back"
    assert [at for at, _ in rows] == list(range(follower.start + 1, follower.position + 1))
    written = {name for _, name in rows}
    acknowledged = {name for process in processes for name in process.acknowledged}
    if killed is None:
        assert written == acknowledged
    else:
        assert acknowledged | set(killed.acknowledged) <= written
    assert follower.polls > 10


async def test_three_processes_on_postgresql_and_two_readers(postgres_url: str) -> None:
    with publishers(postgres_url, "a", "b", "c", count=400) as processes:
        readers = [await follower(postgres_url), await follower(postgres_url)]
        # The second reader has leapt, too.
        readers[0].start = readers[0].position = readers[1].position
        for process in processes:
            process.begin()
        while any(process.is_writing for process in processes):
            for reader in readers:
                await reader.poll()
        for reader in readers:
            await check(reader, *processes)
            await deferToThread(reader.database.stop)


async def test_a_killed_process_leaves_no_hole(postgres_url: str) -> None:
    with publishers(postgres_url, "a", "b", "c", count=400) as processes:
        reader = await follower(postgres_url)
        for process in processes:
            process.begin()
        while any(process.is_writing for process in processes):
            await reader.poll()
            if len(reader.seen) > 300:
                processes[0].process.kill()
        assert processes[0].process.wait() == -9
        await check(reader, *processes[1:], killed=processes[0])
        assert len(processes[1].acknowledged) > 200
        await deferToThread(reader.database.stop)


async def test_a_command_beside_the_server_on_sqlite(sqlite_url: str) -> None:
    with publishers(sqlite_url, "a", "b", count=300) as processes:
        reader = await follower(sqlite_url)
        for process in processes:
            process.begin()
        while any(process.is_writing for process in processes):
            await reader.poll()
        await check(reader, *processes)
        await deferToThread(reader.database.stop)
