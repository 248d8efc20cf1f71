"""Functions that share a commit, or wait for one another, do not harm each other."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from homeserver.core.errors import Forbidden
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.caches import Cache
from tests.database.conftest import Commits, Gate, open_database, outcome
from tests.database.notes import (
    KEEP,
    KEPT,
    KEPT_LOCKED,
    KEPT_ONE,
    TOPIC,
    keep,
    kept,
    names,
    publish,
    published,
    text_of,
)

Function = Callable[[WriteTransaction], object]


async def together(database: Database, *functions: Function) -> list[object]:
    """Write all of these in one go; their outcomes."""
    gate = await Gate.close(database)
    written: list[Deferred[Any]] = [database.write(function) for function in functions]
    gate.open()
    await gate.passed
    return [await outcome(each) for each in written]


def good(name: str) -> Function:
    def function(tx: WriteTransaction) -> str:
        keep(tx, name)
        publish(tx, name)
        return name

    return function


def refused(tx: WriteTransaction) -> None:
    raise Forbidden("before any change")


def changed_mind(tx: WriteTransaction) -> None:
    keep(tx, "changed mind")
    publish(tx, "changed mind")
    raise Forbidden("after a change")


def fails_at_its_publication(tx: WriteTransaction) -> None:
    keep(tx, "fails at its publication")
    publish(tx, "first", new=True)


def fails_in_a_statement(tx: WriteTransaction) -> None:
    keep(tx, "twice")
    keep(tx, "twice")


@pytest.mark.parametrize("bad", [refused, changed_mind, fails_at_its_publication, fails_in_a_statement])
async def test_a_failing_function_takes_nothing_with_it(
    single: Database, commits: Commits, bad: Function
) -> None:
    outcomes = await together(single, good("first"), bad, good("second"))
    assert outcomes[0] == "first"
    assert isinstance(outcomes[1], Exception)
    assert outcomes[2] == "second"
    assert await single.read(kept) == {"first", "second"}
    assert await single.read(names) == {"first", "second"}
    assert {topic for _, topics in commits.told for topic in topics} == {TOPIC}


async def test_several_failing_functions_take_nothing_with_them(single: Database, commits: Commits) -> None:
    runs: list[str] = []

    def counted(name: str) -> Function:
        def function(tx: WriteTransaction) -> str:
            runs.append(name)
            keep(tx, name)
            publish(tx, name)
            return name

        return function

    before, _ = await single.read(published)
    bad = [changed_mind, refused, fails_in_a_statement, fails_at_its_publication, changed_mind]
    good_ones = ["first", "n1", "n2", "n3", "n4", "last"]
    functions = [each for name, one in zip(good_ones, bad, strict=False) for each in (counted(name), one)]
    outcomes = await together(single, *functions, counted("last"))
    assert [isinstance(each, Exception) for each in outcomes] == [False, True] * 5 + [False]
    after, rows = await single.read(published)
    assert [name for _, name in rows] == good_ones
    assert (
        [position for position, _ in rows]
        == list(range(before + 1, before + 7))
        == list(range(after - 5, after + 1))
    )
    assert await single.read(kept) == set(good_ones)
    assert max(map(runs.count, good_ones)) <= 2, "nothing is begun anew for each failure"
    assert {topic for _, topics in commits.told for topic in topics} == {TOPIC}


async def test_what_is_to_be_run_later_shares_the_fate_of_its_function(single: Database) -> None:
    def later(name: str, *, fails: bool = False) -> Function:
        def function(tx: WriteTransaction) -> set[str]:
            tx.execute_later(KEEP, alias=name, room_id="!room:test.example", creator="", created_ts=0)
            publish(tx, name)
            found = kept(tx)
            if fails:
                raise Forbidden("no")
            return found

        return function

    outcomes = await together(single, later("a"), later("b", fails=True), later("a"), later("c"))
    assert outcomes[0] == set(), "not yet"
    assert isinstance(outcomes[1], Forbidden)
    assert isinstance(outcomes[2], Exception)
    assert outcomes[3] == {"a"}
    assert await single.read(kept) == await single.read(names) == {"a", "c"}


async def test_what_is_asked_ahead_is_answered_once_and_not_past_a_change(single: Database) -> None:
    def asking(tx: WriteTransaction) -> list[str | None]:
        tx.ask_ahead([(KEPT_ONE, {"name": "a"}), (KEPT_ONE, {"name": "b"}), (KEPT, {})])
        found = [text_of(tx, "b"), text_of(tx, "a"), text_of(tx, "a"), text_of(tx, "c")]
        keep(tx, "b", "of b")
        return [*found, text_of(tx, "b"), ",".join(sorted(kept(tx)))]

    await single.write(keep, "a", "of a")
    assert await single.write(asking) == [None, "of a", "of a", None, "of b", "a,b"]


async def test_processes_that_lock_the_same_rows_in_any_order_do_not_stand_in_each_others_way(
    url: str,
) -> None:
    databases = [open_database(url), open_database(url)]
    rows = ["a", "b", "c", "d"]
    for name in rows:
        await databases[0].write(keep, name)
    runs = 0

    def lock_all(tx: WriteTransaction, order: list[str], name: str) -> None:
        nonlocal runs
        runs += 1
        for each in order:
            tx.one(KEPT_LOCKED, name=each)
        publish(tx, name)

    written = [
        databases[number % 2].write(lock_all, rows if number % 4 < 2 else rows[::-1], f"n{number}")
        for number in range(60)
    ]
    for each in written:
        await each
    assert runs == 60, "no deadlock had to be undone"
    assert len(await databases[0].read(names)) == 60
    for database in databases:
        await deferToThread(database.stop)


async def test_a_function_sees_what_was_written_before_it_in_the_same_commit(single: Database) -> None:
    outcomes = await together(single, good("first"), kept, changed_mind, kept)
    assert outcomes[1] == {"first"}
    assert outcomes[3] == {"first"}


async def test_only_what_is_committed_is_remembered(single: Database) -> None:
    cache: Cache[str, str] = Cache(10)

    def remembering(name: str, error: Exception | None = None) -> Function:
        def function(tx: WriteTransaction) -> bool:
            keep(tx, name)
            tx.remember(cache, name, name)
            if error is not None:
                raise error
            return cache.get(name) is None

        return function

    def violating(tx: WriteTransaction) -> None:
        keep(tx, "c")
        tx.remember(cache, "c", "c")
        publish(tx, "p", new=True)

    outcomes = await together(
        single, good("p"), remembering("a"), remembering("b", Forbidden("no")), violating, remembering("d")
    )
    assert outcomes[1] is True, "nothing is remembered before the commit"
    assert outcomes[4] is True
    assert [cache.get(name) for name in "abcd"] == ["a", None, None, "d"]


async def test_positions_are_given_in_the_order_of_commits_without_gaps(
    single: Database, commits: Commits
) -> None:
    before, _ = await single.read(published)
    functions = [changed_mind if number % 3 == 0 else good(f"n{number:02}") for number in range(40)]
    await together(single, *functions)
    after, rows = await single.read(published)
    assert [position for position, _ in rows] == list(range(before + 1, after + 1))
    assert [name for _, name in rows] == [f"n{number:02}" for number in range(40) if number % 3]
    assert commits.told[-1][0] == after


async def test_positions_are_left_free_before_a_row(single: Database) -> None:
    """Readers go by the positions that were taken; what comes next in the same commit follows on."""
    start, _ = await single.read(published)

    def leave_room(tx: WriteTransaction) -> None:
        publish(tx, "before")
        publish(tx, "after a gap", room_before=1_000)

    await together(single, leave_room, good("next"))
    expected = [(start + 1, "before"), (start + 1_002, "after a gap"), (start + 1_003, "next")]
    assert await single.read(published, start) == (start + 1_003, expected)


async def test_positions_are_left_free_only_where_the_commit_waits_for_the_disk(single: Database) -> None:
    before = await single.read(published)
    with pytest.raises(ValueError, match="does not wait for the disk"):
        await single.write_soon(publish, "lost with the power", room_before=1_000)
    assert await single.read(published) == before


async def test_a_function_that_publishes_much(single: Database) -> None:
    def much(tx: WriteTransaction) -> None:
        for number in range(500):
            publish(tx, f"n{number:03}")

    before, _ = await single.read(published)
    await together(single, good("a"), much, good("b"))
    after, rows = await single.read(published)
    assert after == before + 502
    assert [name for _, name in rows] == ["a", *(f"n{number:03}" for number in range(500)), "b"]


async def test_a_savepoint_is_not_mistaken_for_that_of_another_function(single: Database) -> None:
    def reads_then_fails(tx: WriteTransaction) -> None:
        kept(tx)
        raise Forbidden("nothing was changed")

    outcomes = await together(single, good("a"), reads_then_fails, good("b"), changed_mind, reads_then_fails)
    assert [isinstance(each, Forbidden) for each in outcomes] == [False, True, False, True, True]
    assert await single.read(kept) == {"a", "b"}


async def test_a_cancelled_write_is_done_and_a_cancelled_read_is_not(single: Database) -> None:
    gate = await Gate.close(single)
    write = single.write(good("kept"))
    write.cancel()
    assert "CancelledError" in repr(await outcome(write))
    gate.open()
    assert await single.write(kept) == {"kept"}

    seen: list[str] = []
    held = threading.Event()
    first = single.read(lambda tx: seen.append("first" if held.wait(30) else "nobody let go"))
    second = single.read(lambda tx: seen.append("second"))
    third = single.read(lambda tx: seen.append("third"))
    second.cancel()
    held.set()
    assert "CancelledError" in repr(await outcome(second))
    await first
    await third
    assert seen == ["first", "third"]


async def test_what_is_neither_row_nor_error_is_handed_to_the_caller(database: Database) -> None:
    def impossible(tx: WriteTransaction) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await database.write(impossible)
    await database.write(good("a"))
    assert await database.read(text_of, "a") == ""
