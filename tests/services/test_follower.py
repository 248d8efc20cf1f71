"""Following the stream: nobody whom something concerns waits on, whatever became of the hints."""

import threading
from collections.abc import Callable, Collection

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Timers
from twisted.internet.task import deferLater

from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import SystemClock
from homeserver.services.sync import follower as follower_module
from homeserver.services.sync import tail as tail_module
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.tail import read_tail
from homeserver.services.sync.waiters import Waiter, Waiters
from tests.database.notes import AUTHOR, TOPIC, position, publish


@attrs.frozen
class Scene:
    """A follower that has been started, and how time goes by for it."""

    database: Database
    follower: Follower
    waiters: Waiters
    timers: Timers

    def wait(self, *topics: str, key: str = AUTHOR) -> Waiter:
        return self.waiters.add(key, frozenset(topics))

    async def settle(self) -> None:
        """Until the follower has read what there is."""
        upto = await self.database.read(position)
        await until(lambda: self.follower.tail.position >= upto and not self.follower._reading)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it does not come about")


@pytest.fixture
def unstarted(database: Database) -> Scene:
    waiters, timers = Waiters(), Timers()
    follower = Follower(database, SystemClock(), timers, waiters, Remembered())
    return Scene(database, follower, waiters, timers)


@pytest.fixture
async def scene(unstarted: Scene) -> Scene:
    await unstarted.follower.start()
    await unstarted.settle()
    return unstarted


async def test_a_hint_wakes(scene: Scene) -> None:
    mine, other = scene.wait(TOPIC), scene.wait("user:@other:test.example", key="other")
    await scene.database.write(publish, "a")
    scene.follower.hint([TOPIC])
    await mine.woken
    assert not other.woken.called


async def test_without_a_hint_the_tick_wakes(scene: Scene) -> None:
    waiter = scene.wait(TOPIC)
    await scene.database.write(publish, "a")
    assert not waiter.woken.called
    scene.timers.advance(Follower.TICK_S)
    await waiter.woken


async def test_a_hint_that_comes_after_its_row_has_been_read_wakes_nevertheless(scene: Scene) -> None:
    """Of what the tail does not follow, such as presence, only the hint says whom it concerns."""
    waiter = scene.wait(TOPIC)
    await scene.database.write(publish, "a", kind=Kind.PRESENCE)
    scene.timers.advance(Follower.TICK_S)
    await scene.settle()
    assert not waiter.woken.called
    scene.follower.hint([TOPIC])
    await waiter.woken
    assert not scene.follower.tail.holds(0), "who was woken asks the database"


async def test_when_hints_were_lost_everybody_is_woken_for_what_the_tail_does_not_follow(
    scene: Scene,
) -> None:
    mine, other = scene.wait(TOPIC), scene.wait("user:@other:test.example", key="other")
    scene.follower.lost_touch()
    await scene.settle()
    assert not mine.woken.called, "there is nothing new"
    await scene.database.write(publish, "a", kind=Kind.PRESENCE)
    scene.follower.lost_touch()
    await mine.woken
    await other.woken


async def test_hints_are_not_forgotten_when_the_database_fails(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter = scene.wait(TOPIC)
    await scene.database.write(publish, "a", kind=Kind.PRESENCE)
    failing = True

    def fail(*args: object, **kwargs: object) -> object:
        if failing:
            raise StorageUnavailable("the disk is full")
        return read_tail(*args, **kwargs)  # type: ignore[arg-type]  # what the test wants to be taken

    monkeypatch.setattr(follower_module, "read_tail", fail)
    scene.follower.hint([TOPIC])
    await until(lambda: not scene.follower._reading)
    assert not waiter.woken.called
    failing = False
    scene.timers.advance(Follower.TICK_S)
    await waiter.woken


async def test_hints_before_the_start_do_not_read_the_whole_stream(
    unstarted: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus is there before the follower, and says at once that messages may have been lost."""
    read_after: list[int] = []

    def spy(tx: WriteTransaction, *, after: int, now_ts: int) -> object:
        read_after.append(after)
        return read_tail(tx, after=after, now_ts=now_ts)

    monkeypatch.setattr(follower_module, "read_tail", spy)
    for number in range(5):
        await unstarted.database.write(publish, f"n{number}")
    upto = await unstarted.database.read(position)
    unstarted.follower.lost_touch()
    await unstarted.follower.start()
    await unstarted.settle()
    assert set(read_after) == {upto}
    assert unstarted.follower.tail.floor == upto


async def test_a_row_that_cannot_be_read_does_not_stop_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = await scene.database.read(position) + 1

    def trip(tx: WriteTransaction, *, after: int, now_ts: int) -> object:
        if after < bad:
            raise ValueError("a row that nobody understands")
        return read_tail(tx, after=after, now_ts=now_ts)

    monkeypatch.setattr(follower_module, "read_tail", trip)
    first, other = scene.wait(TOPIC), scene.wait("user:@other:test.example", key="other")
    await scene.database.write(publish, "bad")
    scene.follower.hint([TOPIC])
    await first.woken
    await other.woken
    assert "a row that nobody understands" in capsys.readouterr().out
    assert not scene.follower.tail.holds(bad - 1), "who was before it asks the database"
    again = scene.wait(TOPIC)
    await scene.database.write(publish, "good")
    scene.follower.hint([TOPIC])
    await again.woken
    assert scene.follower.tail.holds(bad)


async def test_who_is_far_behind_does_not_read_all_of_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the process was suspended."""
    monkeypatch.setattr(tail_module, "MOST_BEHIND", 20)
    waiter, other = scene.wait(TOPIC), scene.wait("user:@other:test.example", key="other")

    def much(tx: WriteTransaction) -> None:
        for number in range(30):
            publish(tx, f"n{number}")

    before = scene.follower.tail.position
    await scene.database.write(much)
    scene.timers.advance(Follower.TICK_S)
    await waiter.woken
    await other.woken
    tail = scene.follower.tail
    assert tail.position == tail.floor == before + 30
    assert tail.after(0, [TOPIC], most=100) == []


async def test_hints_while_reading_cause_one_more_reading(scene: Scene) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold(tx: ReadTransaction) -> None:
        entered.set()
        assert leave.wait(20)

    blocked = [scene.database.read(hold) for _ in range(2)]
    waiter = scene.wait(TOPIC)
    await scene.database.write(publish, "a")
    scene.follower.hint([TOPIC])
    await scene.database.write(publish, "b")
    for _ in range(10):
        scene.follower.hint([TOPIC])
    leave.set()
    for each in blocked:
        await each
    await waiter.woken
    await scene.settle()
    entries = scene.follower.tail.after(0, [TOPIC], most=100)
    assert entries is not None
    assert len(entries) == 2


async def test_what_concerns_nobody_who_waits_is_read_together(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []

    def spy(tx: ReadTransaction, *, after: int, now_ts: int) -> object:
        readings.append(after)
        return read_tail(tx, after=after, now_ts=now_ts)

    monkeypatch.setattr(follower_module, "read_tail", spy)
    scene.wait("user:@other:test.example", key="other")
    # Who has waited for it, and may come again, does not wait.
    scene.waiters.remove(scene.wait(TOPIC))
    for number in range(5):
        await scene.database.write(publish, f"n{number}")
        scene.follower.hint([TOPIC])
    assert not scene.follower._reading
    scene.timers.advance(Follower.PAUSE_S)
    await scene.settle()
    assert len(readings) == 1
    assert len(scene.follower.tail.after(0, [TOPIC], most=100) or []) == 5
    scene.timers.advance(Follower.PAUSE_S)
    assert not scene.follower._reading, "nothing is put off any more"


async def test_who_comes_has_what_was_put_off_read_at_once(scene: Scene) -> None:
    await scene.database.write(publish, "a")
    scene.follower.hint([TOPIC])
    upto = await scene.database.read(position)
    assert scene.follower.tail.position < upto
    await scene.follower.catch_up()
    assert scene.follower.tail.position == upto
    await scene.follower.catch_up()
    await scene.database.write(publish, "b")
    scene.follower.hint([TOPIC])
    waiter = scene.wait(TOPIC)
    scene.follower.hurry()
    await waiter.woken


async def test_who_comes_does_not_wait_for_a_database_that_is_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> object:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(follower_module, "read_tail", fail)
    scene.follower.hint([TOPIC])
    await scene.follower.catch_up()
    # What was hinted is not forgotten.
    monkeypatch.undo()
    waiter = scene.wait(TOPIC)
    scene.timers.advance(Follower.TICK_S)
    await waiter.woken


async def test_a_stopped_follower_does_nothing(scene: Scene) -> None:
    scene.follower.hint([TOPIC])
    scene.follower.stop()
    assert scene.timers.getDelayedCalls() == []
    scene.follower.hint([TOPIC])
    await scene.follower.catch_up()
    assert not scene.follower._reading
    assert scene.timers.getDelayedCalls() == []


def test_waking_everybody() -> None:
    waiters = Waiters()
    waiting: Collection[Deferred[None]] = [
        waiters.add(f"user {number}", frozenset([f"topic {number}"])).woken for number in range(5)
    ]
    waiters.wake_all()
    assert all(each.called for each in waiting)
    assert not waiters.closing
