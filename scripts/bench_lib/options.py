"""What one run is asked to do: the command line, and how large the loads are."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

SCENARIOS = (
    *("start", "send", "delivery", "polls", "sync", "sliding", "messages", "database"),
    *("search", "hierarchy", "crowd", "encryption"),
    *("receive", "outgoing", "join"),
)
POPULATION_VERSION = 3
"""Raised whenever the data sets are built differently, so that older ones are not taken from the cache."""


@dataclass(frozen=True)
class Scale:
    """How much data the servers hold, and how long each load lasts."""

    name: str
    rounds: int
    users: int
    rooms: int
    """Rooms of the user whose initial sync is measured."""
    members: int
    messages: int
    """Messages in each of these rooms."""
    history: int
    """Messages in the one room that is paged through."""
    waiting: tuple[int, ...]
    """Numbers of clients that wait for the same message."""
    deliveries: int
    """Messages sent to each such number of clients."""
    polls: int
    """Long-polls opened to measure their memory."""
    idle_s: float
    """From the start of a server to the reading of its idle memory."""
    load_s: float
    """Length of every load that is bounded by time."""
    singles: int
    """Events received from another server in transactions of one."""
    batches: int
    """Transactions of many events received from another server."""
    outgoing: int
    """Messages sent to no other server, and to one; a fifth of that to many."""
    joined_members: int
    """Members of the room on another server that is joined."""
    list_rooms: int
    """Rooms of the user whose sliding sync is measured."""
    searched: int
    """Messages that are searched."""
    space_rooms: int
    crowd: int
    """Members of this server in one room."""
    keyed_users: int
    """Users whose devices have keys."""


_MOST = ("full", 3, 1000, 200, 20, 100, 5000, (100, 500), 40, 1000, 10.0, 6.0, 200, 10, 400, 5000, 1000)
FULL = Scale(*_MOST, searched=100_000, space_rooms=500, crowd=5000, keyed_users=1000)
QUICK = Scale(
    "quick", 2, 60, 20, 5, 20, 500, (20, 50), 10, 50, 3.0, 2.0, 50, 3, 20, 500, 100, 2000, 50, 200, 50
)
SENDERS = (1, 8, 32)


@dataclass(frozen=True)
class Options:
    """The command line."""

    only: tuple[str, ...]
    rounds: int
    scale: Scale
    postgresql: bool
    postgres_url: str | None
    peer_venv: Path
    peer_version: str | None
    cache: Path
    ours: bool
    peer: bool
    rebuild: bool
    json_file: Path | None
    markdown: bool


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or not names:
        known = ", ".join(SCENARIOS)
        raise argparse.ArgumentTypeError(
            f"unknown measurement {', '.join(unknown) or repr(text)}; known: {known}"
        )
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _parser(cache: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Compare this server with Synapse in one run on this machine, and print ratios.",
        epilog="The first run installs Synapse and fills both servers with data; both are kept in the cache.",
    )
    add = parser.add_argument
    add("--only", type=_names, default=SCENARIOS, metavar="NAME,...", help=f"of: {', '.join(SCENARIOS)}")
    add(
        "--rounds",
        type=_positive,
        metavar="N",
        help="rounds of ours, Synapse, ours, Synapse (default 3; quick: 2)",
    )
    add("--quick", action="store_true", help="small loads: about two minutes per server")
    add(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="of both servers (default sqlite)",
    )
    add(
        "--postgres-url",
        metavar="URL",
        help="a local PostgreSQL whose user may create databases (else a throw-away one)",
    )
    add(
        "--peer-venv",
        type=Path,
        default=cache / "synapse",
        metavar="DIR",
        help="where Synapse is (to be) installed",
    )
    add("--peer-version", metavar="X.Y.Z", help="this version of Synapse, not the newest")
    add("--cache-dir", type=Path, default=cache, metavar="DIR", help=f"for data sets (default {cache})")
    add("--rebuild", action="store_true", help="fill the servers with data anew")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--no-peer", action="store_true", help="measure our server only")
    side.add_argument("--only-peer", action="store_true", help="measure Synapse only")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    add("--markdown", action="store_true", help="print the table for the README")
    return parser


def parse(arguments: list[str]) -> Options:
    """Read the command line; leaves the process with a message when it is wrong."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeserver-bench"
    parser = _parser(cache)
    given = parser.parse_args(arguments)
    scale = QUICK if given.quick else FULL
    if given.postgres_url and given.database != "postgresql":
        parser.error("--postgres-url needs --database postgresql")
    return Options(
        only=tuple(name for name in SCENARIOS if name in given.only),
        rounds=given.rounds or scale.rounds,
        scale=scale,
        postgresql=given.database == "postgresql",
        postgres_url=given.postgres_url,
        peer_venv=given.peer_venv.expanduser().absolute(),
        peer_version=given.peer_version,
        cache=given.cache_dir.expanduser().absolute(),
        ours=not given.only_peer,
        peer=not given.no_peer,
        rebuild=given.rebuild,
        json_file=given.json,
        markdown=given.markdown,
    )
