"""The command: starts both servers, goes through the steps in both directions, and shows what came of it."""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench_lib import peer
from bench_lib.certificates import Authority, CertificateError
from bench_lib.databases import Sqlite
from bench_lib.http_client import RequestError
from bench_lib.servers import Instance, Ours, ServerError, Software

from interop_lib import memberships, talking
from interop_lib.agreement import Conversation, Place
from interop_lib.clients import Client, StepError
from interop_lib.scene import STEPS, Scene, SkippedError

assert memberships
assert talking

VERSIONS = ("6", "10", "11", "12")
SIDES = ("ours", "synapse")
STEP_TIMEOUT_S = 60.0

AGREEMENT = "the same state everywhere"
PASSED, FAILED, BLOCKED, SKIPPED = "ok", "FAILED", "blocked", "-"


@dataclass
class Column:
    """The outcomes of one scene: rooms of one version on one server."""

    version: str
    resident: str
    joiner: str
    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"v{self.version} {self.resident}<{self.joiner}"


@dataclass(frozen=True)
class Side:
    """A running server."""

    name: str
    instance: Instance

    @property
    def server_name(self) -> str:
        assert self.instance.federation is not None
        return self.instance.federation.server_name


async def play(scene: Scene, column: Column, only: Sequence[str]) -> None:
    """Go through the steps; one that fails does not keep the others from being tried."""
    outcomes = column.outcomes
    for name, step in STEPS.items():
        if only and not any(word in name for word in only) and not _is_needed(name, only):
            continue
        if int(scene.version) < step.from_version:
            outcomes[name] = SKIPPED
            continue
        if any(outcomes.get(need) != PASSED for need in step.needs):
            outcomes[name] = BLOCKED
            continue
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await step.work(scene)
            outcomes[name] = PASSED
        except SkippedError as error:
            outcomes[name], column.reasons[name] = SKIPPED, str(error)
        except TimeoutError:
            outcomes[name], column.reasons[name] = FAILED, f"not done within {STEP_TIMEOUT_S:.0f} s"
        except (StepError, RequestError, KeyError, OSError) as error:
            outcomes[name], column.reasons[name] = FAILED, f"{type(error).__name__}: {error}"
        print(f"interop: {column.title}: {name}: {outcomes[name]}", file=sys.stderr, flush=True)


def _is_needed(name: str, only: Sequence[str]) -> bool:
    """Whether a chosen step needs this one."""
    wanted = [step for step in STEPS.values() if any(word in step.name for word in only)]
    while wanted:
        step = wanted.pop()
        if name in step.needs:
            return True
        wanted += [STEPS[need] for need in step.needs]
    return False


async def _scene(version: str, tag: str, resident: Side, joiner: Side) -> Scene:
    async def user(side: Side, name: str) -> Client:
        return await Client.register(side.instance.port, side.server_name, f"{name}-{tag}")

    return Scene(
        version,
        tag,
        alice=await user(resident, "alice"),
        dora=await user(resident, "dora"),
        bob=await user(joiner, "bob"),
        carol=await user(joiner, "carol"),
    )


async def converse(sides: Sequence[Side], options: argparse.Namespace) -> list[Column]:
    """Play all scenes: each version, each server once as the one where the rooms are."""
    columns = []
    for version in options.versions:
        for resident, joiner in (sides, sides[::-1]):
            if options.rooms_of not in (None, resident.name):
                continue
            column = Column(version, resident.name, joiner.name)
            columns.append(column)
            scene = await _scene(version, f"{len(columns)}-{time.time_ns() % 10**6}", resident, joiner)
            try:
                await play(scene, column, options.only)
            finally:
                for client in scene.clients:
                    client.close()
            for side in sides:
                side.instance.check()
    return columns


async def agree(sides: Sequence[Side], options: argparse.Namespace) -> list[Column]:
    """Let all servers talk in one room of each version; they must agree in the end."""
    columns = []
    for version in options.versions:
        seed = options.seed or time.time_ns()
        column = Column(version, "all", f"seed {seed}")
        columns.append(column)
        places = []
        for side in sides:
            names = f"anchor-{version}", f"other-{version}"
            clients = [await Client.register(side.instance.port, side.server_name, name) for name in names]
            places.append(Place(side.name, *clients))
        conversation = Conversation(version, Random(seed), places)
        try:
            await conversation.begin()
            await conversation.live(options.agree)
            print(f"interop: {column.title}: {await conversation.end()}", file=sys.stderr, flush=True)
            column.outcomes[AGREEMENT] = PASSED
        except (StepError, RequestError, KeyError, OSError) as error:
            column.outcomes[AGREEMENT] = FAILED
            column.reasons[AGREEMENT] = f"{type(error).__name__}: {error}"
        finally:
            for place in places:
                place.anchor.close()
                place.other.close()
    return columns


def show(columns: Sequence[Column]) -> str:
    """Draw the table, and below it the reasons."""
    names = [name for name in (*STEPS, AGREEMENT) if any(name in column.outcomes for column in columns)]
    titles = [column.title for column in columns]
    width = max([len(name) for name in names], default=0)
    lines = [" " * width + "  " + "  ".join(titles)]
    for name in names:
        cells = [
            column.outcomes.get(name, "").rjust(len(title))
            for column, title in zip(columns, titles, strict=True)
        ]
        lines.append("  ".join([name.ljust(width), *cells]))
    for outcome in (PASSED, FAILED, BLOCKED, SKIPPED):
        count = sum(1 for column in columns for found in column.outcomes.values() if found == outcome)
        lines.append(f"{outcome}: {count}")
    for column in columns:
        lines += [f"{column.title}: {name}: {reason}" for name, reason in column.reasons.items()]
    return "\n".join(lines)


def _software(name: str, folder: Path, options: argparse.Namespace) -> Software:
    if name == "ours":
        return Ours(folder / "code")
    return peer.synapse(options.peer_venv, options.peer_version)


@contextlib.contextmanager
def _running(names: Sequence[str], work: Path, options: argparse.Namespace) -> Iterator[list[Side]]:
    """Two servers that trust the same authority, not yet started."""
    authority = Authority(work)
    sides: list[Side] = []
    try:
        for number, name in enumerate(names):
            folder = work / f"{number}-{name}"
            (folder / "data").mkdir(parents=True)
            title = name if names.count(name) == 1 else f"{name}{number + 1}"
            instance = Instance(
                _software(name, folder, options),
                Sqlite(),
                folder / "data",
                folder / "log",
                authority.federation(f"{number}-{name}", with_presence=True),
            )
            sides.append(Side(title, instance))
        yield sides
    finally:
        for side in sides:
            side.instance.stop()


async def _start_and_converse(sides: Sequence[Side], options: argparse.Namespace) -> list[Column]:
    for side in sides:
        await side.instance.start()
    return await (converse(sides, options) if options.agree is None else agree(sides, options))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeserver-bench"
    parser = argparse.ArgumentParser(
        prog="scripts/interop",
        description="Let this server and Synapse talk to each other in rooms of both, and show what works.",
        epilog="The first run installs Synapse into the folder that scripts/bench uses, too.",
    )
    add = parser.add_argument
    add(
        "--servers",
        nargs="+",
        choices=SIDES,
        metavar="NAME",
        help=f"of: {', '.join(SIDES)} (default: one of each)",
    )
    add(
        "--agree",
        type=int,
        metavar="N",
        help="instead of the steps: N bursts of things at the same time, then the state must be the same "
        "(default of --servers: ours ours synapse)",
    )
    add("--seed", type=int, metavar="N", help="of --agree")
    add(
        "--versions",
        type=lambda text: text.split(","),
        default=VERSIONS,
        metavar="V,...",
        help="of the rooms",
    )
    add("--rooms-of", metavar="A", help="only rooms that this one of the two has made")
    add("--only", action="append", default=[], metavar="WORDS", help="only steps with this in their name")
    add("--peer-venv", type=Path, default=cache / "synapse", metavar="DIR", help="where Synapse is installed")
    add("--peer-version", metavar="X.Y.Z", help="this version of Synapse, not the newest")
    add("--json", type=Path, metavar="FILE", help="write every outcome to FILE")
    add("--keep", type=Path, metavar="DIR", help="a new folder for the servers' files and logs, which stays")
    options = parser.parse_args(arguments)
    if options.servers is None:
        options.servers = SIDES if options.agree is None else ("ours", "ours", "synapse")
    if len(options.servers) < 2 or (options.agree is None and len(options.servers) != 2):
        parser.error("the steps are for two servers, --agree is for two or more")
    return options


def main(arguments: Sequence[str]) -> int:
    """Give the exit code: 1 if a step failed, 2 if the servers could not be had."""
    options = _parse(arguments)
    work = options.keep or Path(tempfile.mkdtemp(prefix="homeserver-interop-"))
    work.mkdir(exist_ok=True)
    try:
        with _running(options.servers, work.absolute(), options) as sides:
            columns = asyncio.run(_start_and_converse(sides, options))
    except (CertificateError, ServerError, peer.PeerError, RequestError) as error:
        print(f"interop: {error}", file=sys.stderr)
        return 2
    finally:
        if options.keep is None:
            shutil.rmtree(work)
    print(show(columns))
    if options.json is not None:
        document = [{"title": c.title, "outcomes": c.outcomes, "reasons": c.reasons} for c in columns]
        options.json.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return 1 if any(FAILED in column.outcomes.values() for column in columns) else 0
