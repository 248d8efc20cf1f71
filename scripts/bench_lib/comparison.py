"""One run from its set-up to its table: sides in turn, round by round, and nothing left behind."""

import asyncio
import contextlib
import fcntl
import gc
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Self

from bench_lib import encryption, federation, finding, loads, peer, report, sliding, waiting
from bench_lib.certificates import Authority, CertificateError
from bench_lib.databases import Cluster, Database, DatabaseError, Postgresql, Sqlite, TemporaryCluster
from bench_lib.http_client import RequestError
from bench_lib.measuring import Samples, Side
from bench_lib.options import Options
from bench_lib.population import PopulationCache
from bench_lib.servers import Ours, ServerError, Software

LOADS: dict[str, Callable[[Side], Awaitable[Samples]]] = {
    "start": loads.start,
    "send": loads.send,
    "delivery": waiting.delivery,
    "polls": waiting.polls,
    "sync": loads.sync,
    "sliding": sliding.sliding,
    "messages": loads.messages,
    "database": loads.database,
    "search": finding.search,
    "hierarchy": finding.hierarchy,
    "crowd": finding.crowd,
    "encryption": encryption.encryption,
    "receive": federation.receive,
    "outgoing": federation.outgoing,
    "join": federation.big_join,
}
ONCE = ("database",)
WITHOUT_DATA = (
    "start",
    "sliding",
    "search",
    "hierarchy",
    "crowd",
    "encryption",
    "receive",
    "outgoing",
    "join",
)
RUN_PREFIX = "run-"
ELSEWHERE = "folders-elsewhere"
"""In a run's folder: a file with the folders that it has made in other places."""
LOAD_TIMEOUT_S = 3600.0
"""Some make their data first."""
EXPECTED = (ServerError, RequestError, DatabaseError, CertificateError, OSError, TimeoutError)


class BusyError(Exception):
    """Another run is under way."""


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def only_run(cache: Path) -> Iterator[None]:
    """Keep a second run off the machine.

    Errors: BusyError.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another run uses {cache}; two at once would spoil both") from None
        yield


def remove_leftovers(cache: Path) -> None:
    """Remove the folders of runs that were killed; only to be called by the only run."""
    for folder in cache.glob(f"{RUN_PREFIX}*"):
        noted = folder / ELSEWHERE
        for place in noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []:
            shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(folder)


def _software(options: Options, work: Path) -> list[Software]:
    found: list[Software] = []
    if options.ours:
        found.append(Ours(work / "code"))
    if options.peer:
        found.append(peer.synapse(options.peer_venv, options.peer_version))
    return found


def _folder_for_clusters() -> Path:
    """Choose a parent that the user `postgres` can enter when we are root, on a disk where there is one."""
    place = Path("/var/tmp")
    return place if place.is_dir() else Path(tempfile.gettempdir())


class Comparison:
    """A run; used as a context, so that whatever happens its processes and files go away."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sides: list[Side] = []
        self._samples: dict[str, list[Samples]] = {}
        self._failures: list[str] = []
        self._stack = contextlib.ExitStack()
        self._database_name = "SQLite"

    def __enter__(self) -> Self:
        options = self._options
        with self._stack:
            self._stack.enter_context(only_run(options.cache))
            remove_leftovers(options.cache)
            work = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=options.cache))
            self._stack.callback(shutil.rmtree, work)
            cache = PopulationCache(
                options.cache, options.scale, postgresql=options.postgresql, rebuild=options.rebuild
            )
            authority = Authority(work)
            for software in _software(options, work):
                folder = work / software.name.lower()
                side = Side(software, self._database(folder), folder, cache, options.scale, authority)
                self._stack.callback(side.remove)
                self._sides.append(side)
                self._samples[software.name] = []
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _database(self, folder: Path) -> Database:
        """Give a side its kind of database; without a URL each side has a cluster of its own."""
        options = self._options
        if not options.postgresql:
            return Sqlite()
        if options.postgres_url is not None:
            cluster = Cluster(options.postgres_url)
        else:
            parent = Path(tempfile.mkdtemp(prefix="homeserver-bench-", dir=_folder_for_clusters()))
            self._stack.callback(shutil.rmtree, parent)
            with (folder.parent / ELSEWHERE).open("a", encoding="utf-8") as noted:
                noted.write(f"{parent}\n")
            parent.chmod(0o755)
            temporary = TemporaryCluster(parent / "cluster")
            self._stack.callback(temporary.stop)
            cluster = temporary.start()
        self._database_name = f"PostgreSQL {cluster.sql('SHOW server_version').split()[0]}"
        return Postgresql(cluster)

    async def run(self) -> None:
        """Do every measurement that was asked for, in all rounds."""
        for name in self._options.only:
            failed: set[str] = set()
            rounds = 1 if name in ONCE else self._options.rounds
            for number in range(rounds):
                for side in self._sides:
                    if side.software.name not in failed:
                        _say(f"{name}, round {number + 1} of {rounds}: {side.software.name}")
                        if not await self._one(name, side):
                            failed.add(side.software.name)

    async def _one(self, name: str, side: Side) -> bool:
        """Measure one side once; a failure is written down, and the others go on."""
        for other in self._sides:
            other.pause()
        side.resume()
        measured = False
        gc.collect()
        gc.disable()
        try:
            if name not in WITHOUT_DATA:
                await side.populate()
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                self._samples[side.software.name].append(await LOADS[name](side))
            measured = True
        except* EXPECTED as group:
            self._note_failure(name, side, group)
        finally:
            gc.enable()
        return measured

    def _note_failure(self, name: str, side: Side, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        story = f"{name}, {side.software.name}: {str(error) or type(error).__name__}"
        if not isinstance(error, ServerError):
            story += "".join(f"\n{tale}" for instance in side.instances() if (tale := instance.last_words()))
        self._failures.append(story)
        _say(f"FAILED: {story.splitlines()[0]}")
        side.stop()

    def show(self) -> bool:
        """Print the table; say whether all went well."""
        options, names = self._options, list(self._samples)
        table = report.lines(options.scale, self._samples)
        notes = report.facts(options, self._sides, self._database_name)
        if table:
            print(
                report.markdown_table(table, names) if options.markdown else report.plain_table(table, names)
            )
            print()
        for note in notes:
            print(f"{'- ' if options.markdown else ''}{note}")
        for failure in self._failures:
            print(f"\nFAILED: {failure}")
        if options.json_file is not None:
            report.write_json(options.json_file, notes, self._samples, table)
        return not self._failures


async def _run_until_done(comparison: Comparison) -> None:
    """Run; an ending signal ends it as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await comparison.run()


def _raise_file_limit() -> None:
    """Allow a connection per waiting client, here and in the servers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(options: Options) -> int:
    """Do a whole run; give the exit code."""
    if not Path("/proc/self/smaps_rollup").exists():
        print("bench: needs Linux, whose /proc tells CPU time and memory", file=sys.stderr)
        return 2
    _raise_file_limit()
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - a help for the client, not a need

        loop_factory = uvloop.new_event_loop
    try:
        with Comparison(options) as comparison, asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run_until_done(comparison))
            return 0 if comparison.show() else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted")
        return 130
    except (BusyError, peer.PeerError, *EXPECTED) as error:
        _say(str(error))
        return 2
