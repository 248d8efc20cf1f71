import threading
from collections.abc import Iterator
from typing import cast

import argon2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from homeserver.core.errors import LimitExceeded
from homeserver.runtime.worker_pool import Loop, WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(cast("Loop", reactor), threads=1, queue_limit=3)
    made.start()
    yield made
    made.stop()


async def test_work_is_done_in_another_thread(pool: WorkerPool) -> None:
    assert await pool.run(threading.get_ident) != threading.get_ident()
    assert await pool.run(divmod, 7, 2) == (3, 1)


async def test_errors_come_back(pool: WorkerPool) -> None:
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)
    assert await pool.run(divmod, 1, 1) == (1, 0)


async def test_a_full_queue_refuses_at_once(pool: WorkerPool) -> None:
    gate = threading.Event()
    running = threading.Event()

    def wait() -> None:
        running.set()
        gate.wait(10)

    first = pool.run(wait)
    await deferToThread(running.wait, 10)
    waiting = [pool.run(int, text) for text in ("1", "2", "3")]
    with pytest.raises(LimitExceeded):
        await pool.run(int, "4")
    gate.set()
    await first
    assert [await each for each in waiting] == [1, 2, 3]
    assert await pool.run(int, "5") == 5


async def test_who_goes_away_leaves_room_and_no_work(pool: WorkerPool) -> None:
    gate = threading.Event()
    running = threading.Event()
    done: list[int] = []

    def wait() -> None:
        running.set()
        gate.wait(10)

    first = pool.run(wait)
    await deferToThread(running.wait, 10)
    waiting: list[Deferred[None]] = [pool.run(done.append, number) for number in range(3)]
    waiting[1].cancel()
    with pytest.raises(CancelledError):
        await waiting[1]
    last = pool.run(done.append, 9)
    gate.set()
    for each in (first, waiting[0], waiting[2], last):
        await each
    assert done == [0, 2, 9]


async def test_cancelling_what_runs_is_harmless(pool: WorkerPool) -> None:
    gate = threading.Event()
    running = threading.Event()

    def wait() -> None:
        running.set()
        gate.wait(10)

    first = pool.run(wait)
    await deferToThread(running.wait, 10)
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    gate.set()
    assert await pool.run(int, "1") == 1


async def test_stopping_refuses_what_waits() -> None:
    pool = WorkerPool(cast("Loop", reactor), threads=1, queue_limit=3)
    pool.start()
    gate = threading.Event()
    running = threading.Event()

    def wait() -> str:
        running.set()
        gate.wait(10)
        return "finished"

    first = pool.run(wait)
    await deferToThread(running.wait, 10)
    second = pool.run(int, "2")
    threading.Timer(0.05, gate.set).start()
    pool.stop()
    with pytest.raises(LimitExceeded):
        await second
    assert await first == "finished"
    with pytest.raises(LimitExceeded):
        await pool.run(int, "3")


async def test_the_reactor_stays_responsive_under_a_flood() -> None:
    pool = WorkerPool(cast("Loop", reactor), threads=2, queue_limit=200)
    pool.start()
    hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
    try:
        flood = [pool.run(hasher.hash, "password") for _ in range(40)]
        turns = 0
        while not flood[-1].called:
            await deferLater(reactor, 0.001)
            turns += 1
        # 40 hashes take half a second of two processors. Blocked by each, the reactor would turn 40 times.
        assert turns > 100
        for each in flood:
            await each
    finally:
        pool.stop()


async def test_what_takes_too_long_is_left_behind() -> None:
    """A mail server that does not answer must not hold up the end of the process."""
    pool = WorkerPool(cast("Loop", reactor), threads=1)
    pool.start()
    gate, running = threading.Event(), threading.Event()

    def wait() -> str:
        running.set()
        gate.wait(10)
        return "late"

    left_behind = pool.run(wait)
    await deferToThread(running.wait, 10)
    pool.stop(patience_s=0.01)
    assert not left_behind.called
    gate.set()
    assert await left_behind == "late"
