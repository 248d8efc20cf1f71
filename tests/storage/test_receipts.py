from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.receipts import READ, READ_PRIVATE, UNTHREADED, Receipt
from homeserver.database.kinds import Kind
from homeserver.storage import receipts
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ROOM = RoomID("!room:test")
EVERYTHING = 2**62


def receipt(
    event: str, user_id: UserID = ALICE, receipt_type: str = READ, thread_id: str = UNTHREADED, ts: int = 1000
) -> Receipt:
    return Receipt(user_id, receipt_type, thread_id, EventID(event), ts)


def move(store: Store, given: Receipt, at: int, *, room_nid: int = 1) -> bool:
    return store.write(receipts.move, room_nid, ROOM, given, event_position=at)


def of_room(store: Store, reader: UserID = BOB, *, since: int = 0, upto: int = EVERYTHING) -> list[Receipt]:
    return store.read(receipts.since, reader, [1], since=since, upto=upto).get(1, [])


def test_a_receipt_moves_forward_and_is_replaced(store: Store) -> None:
    assert move(store, receipt("$first"), at=10)
    assert move(store, receipt("$second", ts=2000), at=11)
    assert of_room(store) == [receipt("$second", ts=2000)]


def test_the_room_is_told_of_public_receipts_and_only_the_user_of_private_ones(store: Store) -> None:
    move(store, receipt("$event"), at=10)
    assert store.topics == ["room:!room:test"]
    assert [row.kinds for row in store.published] == [(Kind.RECEIPTS,)]
    move(store, receipt("$event", receipt_type=READ_PRIVATE), at=10)
    assert store.topics == ["user:@alice:test"]


def test_a_receipt_does_not_move_backwards_or_again_to_the_same_event(store: Store) -> None:
    move(store, receipt("$new"), at=10)
    assert not move(store, receipt("$old"), at=9)
    assert not move(store, receipt("$new", ts=5000), at=10)
    assert store.published == []
    assert of_room(store) == [receipt("$new")]


def test_of_two_transactions_at_the_same_time_the_further_receipt_wins(store: Store) -> None:
    """Neither has seen the other's row when it decides; the one behind is committed last."""
    with_room = (1, ROOM)
    ahead, behind = store.transaction(), store.transaction()
    receipts.move(ahead, *with_room, receipt("$ahead"), event_position=20)
    receipts.move(behind, *with_room, receipt("$behind"), event_position=15)
    store.flush(ahead)
    store.flush(behind)
    assert of_room(store) == [receipt("$ahead")]


def test_it_moves_on_from_fetched_history_to_the_live_timeline(store: Store) -> None:
    move(store, receipt("$history"), at=-50)
    assert not move(store, receipt("$older history"), at=-51)
    assert move(store, receipt("$live"), at=3)


def test_types_and_threads_have_receipts_of_their_own(store: Store) -> None:
    given = [
        receipt("$a"),
        receipt("$a", thread_id="main"),
        receipt("$b", thread_id="$root"),
        receipt("$c", receipt_type=READ_PRIVATE),
    ]
    for each, position in zip(given, (10, 10, 5, 12), strict=True):
        assert move(store, each, at=position)
    assert of_room(store, ALICE) == given


def test_private_receipts_are_shown_to_their_user_only(store: Store) -> None:
    private, public = receipt("$b", receipt_type=READ_PRIVATE), receipt("$a")
    move(store, private, at=11)
    move(store, public, at=10)
    assert of_room(store, ALICE) == [private, public]
    assert of_room(store, BOB) == [public]


def test_only_what_lies_between_two_positions_is_read(store: Store) -> None:
    for number in range(1, 5):
        move(store, receipt("$event", UserID(f"@user{number}:test")), at=10)
    assert [each.user_id for each in of_room(store, since=1, upto=3)] == ["@user2:test", "@user3:test"]


def test_several_rooms_are_read_at_once_and_others_not_at_all(store: Store) -> None:
    for room_nid in (1, 2, 3):
        move(store, receipt("$event"), at=10, room_nid=room_nid)
    found = store.read(receipts.since, BOB, [1, 3, 4], since=0, upto=EVERYTHING)
    assert found == {1: [receipt("$event")], 3: [receipt("$event")]}


def test_own_gives_the_further_of_public_and_private_per_thread(store: Store) -> None:
    move(store, receipt("$a"), at=10)
    move(store, receipt("$b", receipt_type=READ_PRIVATE), at=12)
    move(store, receipt("$c", thread_id="$root"), at=9)
    move(store, receipt("$d", BOB), at=99)
    move(store, receipt("$e"), at=7, room_nid=2)
    found = store.read(receipts.own, ALICE, [1, 2, 3])
    assert found == {1: {UNTHREADED: 12, "$root": 9}, 2: {UNTHREADED: 7}}
