"""SIGKILL at a random moment of many writes: nothing that was acknowledged is lost, nothing is there twice."""

import os
import random
import time

import pytest
from twisted.internet.defer import Deferred

from tests.durability.writing import Ledger, Writers, check
from tests.processes import ServerProcess

PEOPLE = 8

KILLS = 2
"""Per round."""

ROUNDS = int(os.environ.get("HOMESERVER_TEST_ROUNDS", "1"))
"""Twenty are for a thorough test by hand."""


async def writers(process: ServerProcess, chance: random.Random) -> Writers:
    """A user with some rooms, and people who will join one of them."""
    door = process.door()
    alice = await door.user("alice")
    rooms = [await alice.create_room(preset="public_chat", name=f"room {number}") for number in range(3)]
    people = [await door.user(f"person{number}") for number in range(PEOPLE)]
    return Writers(alice, people, rooms, Ledger(), chance)


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_what_was_acknowledged_survives_a_kill(process: ServerProcess, round_: int) -> None:
    """Each round on a new database: killed, started, checked, and that once more."""
    seed = time.time_ns()
    print(f"round {round_}, seed {seed}")
    chance = random.Random(seed)
    writing = await writers(process, chance)
    restarts = []
    for _ in range(KILLS):
        before = writing.ledger.acknowledged
        fatal = before + chance.randint(20, 500)

        def kill_at(count: int, fatal: int = fatal) -> None:
            if count == fatal:
                writing.killed = True
                assert process.process is not None
                process.process.kill()

        writing.on_acknowledged = kill_at
        await writing.write_until_killed()
        await process.kill()
        started = time.monotonic()
        await process.start()
        restarts.append(time.monotonic() - started)
        writing.on_acknowledged = lambda count: None
        door = process.door()
        writing.alice.base_url, writing.alice.pool = door.base_url, door.pool
        for person in writing.people:
            person.base_url, person.pool = door.base_url, door.pool
        await check(writing)
    ledger = writing.ledger
    print(
        f"{KILLS} kills, {ledger.acknowledged} writes acknowledged, {ledger.unanswered} unanswered, "
        f"{len(ledger.messages)} messages, {len(ledger.state)} state events; restarts took "
        f"{min(restarts):.1f} to {max(restarts):.1f} s"
    )
    assert [record for record in process.complaints if record["level"] == "error"] == []


async def test_a_stop_under_load_is_orderly(process: ServerProcess) -> None:
    """SIGTERM: running requests are finished or refused, none is lost."""
    chance = random.Random(7)
    writing = await writers(process, chance)
    stopped: list[Deferred[int]] = []

    def stop_at(count: int) -> None:
        if count == 150:
            writing.killed = True
            stopped.append(Deferred.fromCoroutine(process.stop()))

    writing.on_acknowledged = stop_at
    started = time.monotonic()
    await writing.write_until_killed()
    assert await stopped[0] == 0
    assert time.monotonic() - started < 30
    assert process.complaints == []
    await process.start()
    writing.on_acknowledged = lambda count: None
    door = process.door()
    writing.alice.base_url, writing.alice.pool = door.base_url, door.pool
    await check(writing)
