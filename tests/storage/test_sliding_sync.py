"""Connections of sliding sync in the database."""

import msgspec
from sqlalchemy import func, select

from homeserver.core.identifiers import UserID
from homeserver.core.sliding_sync.required_state import RequiredState
from homeserver.core.sliding_sync.told import MOST_UNUSED, RoomRecord, Rules, Telling, Told
from homeserver.database.statements import statement
from homeserver.database.tables.sliding_sync import sliding_steps
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import sliding_sync, state
from homeserver.storage.sliding_sync import Connection, Step

ALICE = UserID("@alice:test.example")


def opened(tx: WriteTransaction, name: str = "", *, used_ts: int = 0, most: int = 10) -> Connection:
    made = Connection(tx.new_nid(), ALICE, "D", name, used_ts)
    sliding_sync.open_connection(tx, made, most=most)
    return made


def with_rooms(told: Told, *nids: int, upto: int = 0, rules: Rules = ()) -> Told:
    telling = Telling(told)
    for nid in nids:
        telling.record(nid, RoomRecord(upto, telling.place_of(rules), 1, 0))
    return telling.done()


def add(
    tx: WriteTransaction, connection: Connection, told: Told, parent: Step | None, *, now_ts: int = 0
) -> Step:
    nid = tx.new_nid()
    base = nid if parent is None else parent.base_nid
    new = Step(connection.connection_nid, nid, base, told)
    sliding_sync.add_step(tx, new, parent=parent, now_ts=now_ts, most=3)
    tx.caches.told.clear()
    stored = sliding_sync.step(tx, connection.connection_nid, nid)
    assert stored is not None
    assert dict(stored.told.compact().rooms) == dict(told.compact().rooms)
    return stored


def is_there(tx: WriteTransaction, step: Step) -> bool:
    tx.caches.told.clear()
    return sliding_sync.step(tx, step.connection_nid, step.step_nid) is not None


def test_steps_are_kept_while_they_may_be_asked_for(tx: WriteTransaction) -> None:
    connection = opened(tx)
    first = add(tx, connection, with_rooms(Told(), *range(1, 500)), None)
    second = add(tx, connection, with_rooms(first.told, 1, upto=5), first)
    instead = add(tx, connection, with_rooms(first.told, 2, upto=5), first)
    assert second.base_nid == instead.base_nid == first.step_nid
    third = add(tx, connection, with_rooms(second.told, 3, upto=6), second)
    assert not is_there(tx, instead)
    assert is_there(tx, second)
    assert dict(third.told.rooms) == dict(with_rooms(first.told, 1, upto=5).rooms) | {3: third.told.rooms[3]}
    # What differs too much is written as a whole, and needs nothing that was before.
    fourth = add(tx, connection, with_rooms(third.told, *range(1, 500), upto=7), third)
    assert fourth.base_nid == fourth.step_nid
    fifth = add(tx, connection, with_rooms(fourth.told, 1, upto=8), fourth)
    assert [is_there(tx, step) for step in (first, second, third, fourth, fifth)] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_so_many_answers_are_kept(tx: WriteTransaction) -> None:
    connection = opened(tx)
    first = add(tx, connection, with_rooms(Told(), 1), None)
    answers = [add(tx, connection, with_rooms(first.told, n), first, now_ts=n) for n in range(2, 7)]
    assert [is_there(tx, step) for step in answers] == [False, False, True, True, True]


def test_what_is_wanted_differently_each_time_is_not_kept(tx: WriteTransaction) -> None:
    connection = opened(tx)
    step: Step | None = None
    for number in range(12):
        rules = (RequiredState(((f"org.example.{number}".ljust(10_000, "x"), ""),)),)
        step = add(tx, connection, with_rooms(step.told if step else Told(), 1, rules=rules), step)
    stored = tx.value(statement(select(func.sum(func.length(sliding_steps.c.told)))))
    assert stored < 3 * (MOST_UNUSED + 2) * 10_000


def test_connections_of_the_same_name_and_too_many(tx: WriteTransaction) -> None:
    one, two, three = (opened(tx, name, used_ts=ts, most=3) for ts, name in enumerate("abc"))
    anew = opened(tx, "b", used_ts=5, most=3)
    found = [sliding_sync.connection(tx, each.connection_nid) for each in (one, two, three, anew)]
    assert found == [one, None, three, anew]
    opened(tx, "d", used_ts=6, most=3)
    assert sliding_sync.connection(tx, one.connection_nid) is None
    sliding_sync.use(tx, three.connection_nid, now_ts=9)
    assert sliding_sync.connection(tx, three.connection_nid) == msgspec.structs.replace(three, used_ts=9)


def test_what_is_unused_goes_with_all_that_it_has(tx: WriteTransaction) -> None:
    old, new = opened(tx, "old", used_ts=1), opened(tx, "new", used_ts=5)
    step = add(tx, old, with_rooms(Told(), 1), None)
    assert sliding_sync.unused(tx, before_ts=5, most=10) == [old.connection_nid]
    sliding_sync.close(tx, [old.connection_nid])
    assert not is_there(tx, step)
    sliding_sync.close_all_of(tx, ALICE, ["E"])
    assert sliding_sync.connection(tx, new.connection_nid) == new
    sliding_sync.close_all_of(tx, ALICE, ["D"])
    assert sliding_sync.connection(tx, new.connection_nid) is None


def test_keys_of_a_type_of_which_there_are_few(tx: WriteTransaction) -> None:
    keys = {("org.example.few", str(number)): number + 1 for number in range(3)}
    root = state.make(tx, 1, keys | {("org.example.other", ""): 9})
    names = state.numbers_of_type(tx, "org.example.few", most=3)
    assert names is not None
    assert set(names.values()) == keys.keys()
    assert state.of_numbers(tx, root, names) == keys
    assert state.numbers_of_type(tx, "org.example.few", most=2) is None
