"""A process that writes to a database, for tests: `python -m tests.database.publisher URL NAME COUNT`.

It says `ready` when it has opened the database, begins at the first line of its input, and then prints the name of
each note when it has been acknowledged, one per line.
"""

import random
import sys
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from homeserver.cli.accounts import MainThread
from homeserver.core.errors import Forbidden
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.transactions import WriteTransaction
from tests.database.notes import keep, publish

AT_ONCE = 24


def note(tx: WriteTransaction, names: list[str], fails: str) -> None:
    """Publish, or fail before or after a change, or when the rows are inserted."""
    if fails == "first":
        raise Forbidden(fails)
    keep(tx, names[0])
    for name in names:
        publish(tx, name)
    if fails == "late":
        raise Forbidden(fails)
    if fails == "at its publication":
        publish(tx, names[0], new=True)


async def write(database: Database, name: str, chance: random.Random) -> None:
    names = [f"{name}.{part}" for part in range(chance.choice((1, 1, 1, 2, 5)))]
    fails = chance.choice(("", "", "", "", "first", "late", "at its publication"))
    do = database.write if chance.random() < 0.7 else database.write_soon
    try:
        await do(note, names, fails)
    except Exception:  # whatever the database makes of the failure
        if not fails:
            raise
        return
    assert not fails
    print(*names, sep="\n", flush=True)


def work(database: Database, name: str, count: int) -> Coroutine[Deferred[Any], Any, None]:
    chance = random.Random(name)
    places = DeferredSemaphore(AT_ONCE)

    async def all_of_them() -> None:
        written = [places.run(write, database, f"{name}-{number}", chance) for number in range(count)]
        await gatherResults(written, consumeErrors=True)

    return all_of_them()


def main(url: str, name: str, count: str) -> None:
    """Open, wait for the word, write, close."""
    loop = MainThread()
    database = Database(Location.parse(url), loop, on_commit=lambda *_: None)
    database.start()
    print("ready", flush=True)
    sys.stdin.readline()
    loop.run(work(database, name, int(count)))
    database.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
