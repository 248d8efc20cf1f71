from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import partial_joins
from homeserver.storage.partial_joins import PartialJoin
from tests.storage.store import Store

SERVERS = (ServerName("one.example"), ServerName("two.example"))


def join(room_nid: int = 1, *, join_nid: int = 11, position: int = 100) -> PartialJoin:
    return PartialJoin(
        room_nid, RoomID(f"!{room_nid}:x"), join_nid, EventID(f"${join_nid}"), position, SERVERS, 1_000, 0
    )


def begin(store: Store, begun: PartialJoin, *, due_ts: int = 1_000) -> None:
    store.write(partial_joins.begin, begun, due_ts=due_ts)


def claimed(store: Store, now_ts: int) -> PartialJoin | None:
    is_any_due = store.read(partial_joins.is_any_due, now_ts=now_ts)
    found = store.write(partial_joins.claim, now_ts=now_ts, until_ts=now_ts + 500)
    assert is_any_due == (found is not None)
    return found


def test_one_process_at_a_time_is_at_a_join(store: Store) -> None:
    begin(store, join())
    assert claimed(store, 999) is None
    assert claimed(store, 1_000) == join()
    assert claimed(store, 1_200) is None
    store.write(partial_joins.keep, join(), until_ts=2_000)
    assert claimed(store, 1_999) is None
    assert claimed(store, 2_000) == join()


def test_the_longest_due_comes_first(store: Store) -> None:
    begin(store, join(1, join_nid=11), due_ts=1_000)
    begin(store, join(2, join_nid=12), due_ts=900)
    assert claimed(store, 1_000) == join(2, join_nid=12)


def test_failures_are_counted(store: Store) -> None:
    assert store.read(partial_joins.failures, 1) is None
    begin(store, join())
    assert store.read(partial_joins.failures, 1) == 0
    store.write(partial_joins.fail, join(), due_ts=3_000)
    assert store.read(partial_joins.failures, 1) == 1
    assert claimed(store, 2_999) is None
    found = claimed(store, 3_000)
    assert found is not None
    assert found.failures == 1
    store.write(partial_joins.close, 1)
    assert store.read(partial_joins.failures, 1) is None


def test_all_can_be_released(store: Store) -> None:
    begin(store, join())
    assert claimed(store, 1_000) is not None
    store.write(partial_joins.release_all, now_ts=1_001)
    assert claimed(store, 1_001) is not None


def test_what_is_complete_is_never_claimed(store: Store) -> None:
    begin(store, join())
    assert store.read(partial_joins.underway, 1) == 11
    assert store.read(partial_joins.completed_at, 1) is None
    store.write(complete, 11, 150)
    assert claimed(store, 9_000) is None
    assert store.read(partial_joins.underway, 1) is None
    assert store.read(partial_joins.completed_at, 1) == 150
    store.write(partial_joins.keep, join(), until_ts=1)
    store.write(partial_joins.fail, join(), due_ts=1)
    assert claimed(store, 9_000) is None


def test_states_are_unsure_from_the_join_on_until_they_are_complete(store: Store) -> None:
    begin(store, join(position=100))
    assert not store.read(partial_joins.is_unsure, 1, 100)
    assert store.read(partial_joins.is_unsure, 1, 101)
    assert not store.read(partial_joins.is_unsure, 2, 101)
    assert not store.read(partial_joins.is_unsure, 1, None)
    assert not store.read(partial_joins.is_unsure, 1, -5)
    store.write(complete, 11, 150)
    assert not store.read(partial_joins.is_unsure, 1, 101)


def test_what_was_never_complete_stays_unsure(store: Store) -> None:
    """The room was left before, and is entered again."""
    begin(store, join(position=100))
    store.write(partial_joins.close, 1)
    assert claimed(store, 9_000) is None
    assert store.read(partial_joins.is_unsure, 1, 120)
    store.write(partial_joins.end, 1, 200)
    begin(store, join(join_nid=21, position=200))
    assert store.read(partial_joins.underway, 1) == 21
    store.write(complete, 21, 230)
    assert store.read(partial_joins.is_unsure, 1, 120)
    assert not store.read(partial_joins.is_unsure, 1, 210)
    assert store.read(partial_joins.completed_at, 1) == 230


def complete(tx: WriteTransaction, join_nid: int, position: int) -> None:
    tx.execute(partial_joins.COMPLETE, the_room=1, the_join=join_nid, position=position)
