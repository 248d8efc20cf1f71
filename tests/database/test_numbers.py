"""Numbers are unique, whoever takes them."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from homeserver.database.database import Database
from homeserver.database.numbers import NumberPool, NumbersRanOut
from homeserver.database.transactions import WriteTransaction
from tests.database.conftest import open_database


def take(tx: WriteTransaction, count: int) -> list[int]:
    return [tx.new_nid() for _ in range(count)]


async def test_many_functions_of_two_processes_take_different_numbers(url: str) -> None:
    databases = [open_database(url), open_database(url)]
    taken = [database.write(take, 700) for _ in range(20) for database in databases]
    numbers = [number for each in taken for number in await each]
    assert len(set(numbers)) == len(numbers) == 28_000
    for database in databases:
        await deferToThread(database.stop)


@pytest.mark.parametrize("count", [NumberPool.BLOCK - 1, NumberPool.BLOCK * 2, NumberPool.BLOCK * 17 + 1])
async def test_a_function_may_take_more_than_was_leased(database: Database, count: int) -> None:
    others = [database.write(take, 10) for _ in range(5)]
    numbers = await database.write(take, count)
    for each in others:
        numbers += await each
    assert len(set(numbers)) == len(numbers) == count + 50


async def test_numbers_that_a_failed_function_took_do_not_come_again(database: Database) -> None:
    taken: list[int] = []

    def fail(tx: WriteTransaction) -> None:
        taken.extend(take(tx, 100))
        raise ValueError

    with pytest.raises(ValueError):
        await database.write(fail)
    assert not set(taken) & set(await database.write(take, 1_000))


@given(st.lists(st.one_of(st.integers(1, 40), st.none()), max_size=60))
def test_a_pool_gives_each_leased_number_once_in_any_order_of_events(events: list[int | None]) -> None:
    """An integer is a lease of that many numbers, None takes one."""
    pool = NumberPool()
    leased = 0
    taken: list[int] = []
    for event in events:
        if event is not None:
            pool.add(leased, event)
            leased += event
        elif len(taken) < leased:
            taken.append(pool.take())
        else:
            with pytest.raises(NumbersRanOut):
                pool.take()
    assert len(set(taken)) == len(taken)
    assert all(0 <= number < leased for number in taken)


def test_a_pool_in_many_threads() -> None:
    pool = NumberPool()
    pool.add(0, 8_000)
    taken: list[list[int]] = [[] for _ in range(8)]

    def work(numbers: list[int]) -> None:
        numbers.extend(pool.take() for _ in range(1_000))

    threads = [threading.Thread(target=work, args=(numbers,)) for numbers in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for numbers in taken for number in numbers) == list(range(8_000))
