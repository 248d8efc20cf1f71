"""Work that is done again and again."""

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from homeserver.runtime.loops import Loop, Loops


class Passing(Exception):  # noqa: N818 - a state of affairs
    """It will be over soon."""


class Work:
    """Counts how often it was done; the outcome is what the test says."""

    def __init__(self, outcome: Callable[[], "Deferred[None] | None"] = lambda: None) -> None:
        self.times = 0
        self.outcome = outcome

    async def __call__(self) -> None:
        self.times += 1
        waiting = self.outcome()
        if waiting is not None:
            await waiting


def fail(error: Exception) -> Callable[[], None]:
    def outcome() -> None:
        raise error

    return outcome


def test_each_has_its_turns() -> None:
    clock, often, seldom = Clock(), Work(), Work()
    Loops(clock, [Loop("often", 1.0, often), Loop("seldom", 5.0, seldom)]).start()
    assert (often.times, seldom.times) == (0, 0)
    clock.pump([1.0] * 10)
    assert (often.times, seldom.times) == (10, 2)


def test_a_turn_follows_the_end_of_the_one_before() -> None:
    clock, running = Clock(), Deferred[None]()
    work = Work(lambda: running)
    Loops(clock, [Loop("slow", 1.0, work)]).start()
    clock.pump([1.0] * 5)
    assert work.times == 1
    running.callback(None)
    clock.advance(1.0)
    assert work.times == 2


@pytest.mark.parametrize(
    ("error", "is_bug"), [(ValueError("a bug"), True), (Passing("the disk is full"), False)], ids=repr
)
def test_a_failure_is_logged_and_the_next_turn_comes(
    error: Exception, is_bug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, work = Clock(), Work(fail(error))
    Loops(clock, [Loop("failing", 1.0, work)], passing=(Passing,)).start()
    clock.pump([1.0] * 3)
    assert work.times == 3
    said = capsys.readouterr().out
    assert said.count(str(error)) >= 3
    assert ("Traceback" in said) == is_bug


async def test_stopping_waits_for_what_is_running() -> None:
    clock, running = Clock(), Deferred[None]()
    work, other = Work(lambda: running), Work()
    loops = Loops(clock, [Loop("slow", 1.0, work), Loop("other", 10.0, other)])
    loops.start()
    clock.advance(1.0)
    stopped = Deferred.fromCoroutine(loops.stop())
    assert not stopped.called
    running.callback(None)
    await stopped
    clock.pump([10.0] * 3)
    assert (work.times, other.times) == (1, 0)
    assert clock.getDelayedCalls() == []


async def test_stopping_goes_on_when_what_is_running_is_cancelled() -> None:
    clock, running = Clock(), Deferred[None]()
    loops = Loops(clock, [Loop("slow", 1.0, Work(lambda: running))])
    loops.start()
    clock.advance(1.0)
    stopped = Deferred.fromCoroutine(loops.stop())
    loops._running["slow"].addErrback(lambda failure: failure.trap(CancelledError))
    running.cancel()
    await stopped
