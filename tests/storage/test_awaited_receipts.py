from homeserver.core.identifiers import EventID, ServerName, UserID
from homeserver.core.receipts import READ, UNTHREADED, Receipt
from homeserver.storage import awaited_receipts
from tests.population import add_event
from tests.storage.store import Store

BOB = UserID("@bob:other.example")
ORIGIN = ServerName("other.example")


def receipt(event: str, thread_id: str = UNTHREADED) -> Receipt:
    return Receipt(BOB, READ, thread_id, EventID(event), 1000)


def put(store: Store, given: Receipt, *, room_nid: int = 1, at: int = 5000) -> None:
    store.write(awaited_receipts.put, room_nid, given, origin=ORIGIN, received_ts=at)


def arrive(store: Store, event: str, *, room_nid: int = 1, position: int | None = 7) -> None:
    store.write(add_event, room_nid, EventID(event), position=position)


def test_a_receipt_is_due_when_its_event_is_in_the_timeline_of_its_room(store: Store) -> None:
    put(store, receipt("$late"))
    assert not store.read(awaited_receipts.is_any_due)
    arrive(store, "$other")
    arrive(store, "$late", position=None, room_nid=1)
    assert not store.read(awaited_receipts.is_any_due)
    assert store.write(awaited_receipts.take_due, most=10) == []


def test_what_is_taken_is_gone(store: Store) -> None:
    put(store, receipt("$late"))
    arrive(store, "$late")
    assert store.read(awaited_receipts.is_any_due)
    assert store.write(awaited_receipts.take_due, most=10) == [(1, receipt("$late"))]
    assert not store.read(awaited_receipts.is_any_due)


def test_what_has_come_after_a_position(store: Store) -> None:
    assert store.read(awaited_receipts.newest) == 0
    put(store, receipt("$late"))
    arrive(store, "$late", position=7)
    assert store.read(awaited_receipts.newest) == 7
    assert not store.read(awaited_receipts.is_any_due, after=7)
    assert store.write(awaited_receipts.take_due, most=10, after=7) == []
    assert store.read(awaited_receipts.is_any_due, after=6)
    assert store.write(awaited_receipts.take_due, most=10, after=6) == [(1, receipt("$late"))]
    assert not store.read(awaited_receipts.is_any_due, after=6)


def test_an_event_of_another_room_is_not_what_it_waits_for(store: Store) -> None:
    put(store, receipt("$late"))
    arrive(store, "$late", room_nid=2)
    assert not store.read(awaited_receipts.is_any_due)


def test_only_so_many_are_taken_the_oldest_first(store: Store) -> None:
    put(store, receipt("$late", "main"), at=2000)
    put(store, receipt("$late"), at=1000)
    arrive(store, "$late")
    assert store.write(awaited_receipts.take_due, most=1) == [(1, receipt("$late"))]
    assert store.write(awaited_receipts.take_due, most=1) == [(1, receipt("$late", "main"))]


def test_the_newest_of_a_thread_replaces_the_one_before(store: Store) -> None:
    put(store, receipt("$first"))
    put(store, receipt("$second"))
    arrive(store, "$first")
    assert not store.read(awaited_receipts.is_any_due)


def test_the_newest_of_a_server_are_kept(store: Store) -> None:
    for number in range(5):
        put(store, receipt("$late", f"$thread{number}"), at=1000 + number)
    store.write(awaited_receipts.keep_newest, ServerName("third.example"), most=0)
    store.write(awaited_receipts.keep_newest, ORIGIN, most=5)
    store.write(awaited_receipts.keep_newest, ORIGIN, most=3)
    arrive(store, "$late")
    threads = [taken.thread_id for _, taken in store.write(awaited_receipts.take_due, most=10)]
    assert threads == ["$thread2", "$thread3", "$thread4"]


def test_old_ones_are_forgotten(store: Store) -> None:
    put(store, receipt("$late"), at=1000)
    put(store, receipt("$late", "main"), at=2000)
    assert store.write(awaited_receipts.prune, before_ts=2000) == 1
