import pytest

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.receipts import FULLY_READ, READ, READ_PRIVATE, UNTHREADED, Receipt
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.services.presence import Presence
from homeserver.services.receipts import Marker, Receipts
from homeserver.storage import account_data
from homeserver.storage import receipts as stored
from tests.population import add_event, add_member, add_room, leave
from tests.services.conftest import Commits, MovableClock, requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ROOM = RoomID("!room:test")
OTHER = RoomID("!other:test")
ROOT = EventID("$root")
REPLY = EventID("$reply")
FIRST, SECOND, THIRD = EventID("$1"), EventID("$2"), EventID("$3")
ELSEWHERE = EventID("$elsewhere")
REJECTED = EventID("$rejected")
HISTORY = EventID("$history")


def populate(tx: WriteTransaction) -> int:
    room_nid = add_room(tx, ROOM, ALICE, BOB)
    for position, event_id in enumerate((FIRST, SECOND, THIRD, ROOT), 1):
        add_event(tx, room_nid, event_id, position=position)
    add_event(tx, room_nid, REPLY, position=5, thread_id=ROOT)
    add_event(tx, room_nid, HISTORY, position=-7)
    add_event(tx, room_nid, REJECTED, position=None)
    add_event(tx, add_room(tx, OTHER, ALICE), ELSEWHERE, position=6)
    return room_nid


@pytest.fixture
async def room(database: Database) -> int:
    return await database.write(populate)


@pytest.fixture
def receipts(database: Database, clock: MovableClock) -> Receipts:
    return Receipts(database, clock, Presence(database, clock))


async def send(
    receipts: Receipts, event_id: EventID, receipt_type: str = READ, body: JsonObject | None = None
) -> None:
    await receipts.send(requester(ALICE), ROOM, receipt_type, event_id, body or {})


async def seen_by(receipts: Receipts, room: int, reader: UserID) -> list[Receipt]:
    found = await receipts.database.read(stored.since, reader, [room], since=0, upto=2**62)
    return found.get(room, [])


async def fully_read(receipts: Receipts) -> bytes | None:
    return await receipts.database.read(account_data.of, ALICE, ROOM, FULLY_READ)


async def test_a_public_receipt_is_seen_by_the_room(
    receipts: Receipts, room: int, clock: MovableClock
) -> None:
    await send(receipts, FIRST)
    clock.advance(10)
    await send(receipts, SECOND)
    assert await seen_by(receipts, room, BOB) == [Receipt(ALICE, READ, UNTHREADED, SECOND, clock.ts)]


async def test_a_private_receipt_is_seen_by_its_user_alone(
    receipts: Receipts, room: int, clock: MovableClock, commits: Commits
) -> None:
    """Client-server API, "Private read receipts"."""
    await send(receipts, FIRST, READ_PRIVATE)
    assert await commits.take() == [{"user:@alice:test"}]
    assert await seen_by(receipts, room, BOB) == []
    assert await seen_by(receipts, room, ALICE) == [Receipt(ALICE, READ_PRIVATE, UNTHREADED, FIRST, clock.ts)]


async def test_receipts_do_not_move_backwards(receipts: Receipts, room: int, commits: Commits) -> None:
    await send(receipts, SECOND)
    await commits.take()
    for event_id in (FIRST, HISTORY, SECOND):
        await send(receipts, event_id)
    assert await commits.take() == []
    assert [receipt.event_id for receipt in await seen_by(receipts, room, BOB)] == [SECOND]


@pytest.mark.parametrize("event_id", [ELSEWHERE, REJECTED, EventID("$unknown")])
@pytest.mark.parametrize("receipt_type", [READ, READ_PRIVATE, FULLY_READ])
async def test_the_event_must_be_in_the_rooms_timeline(
    receipts: Receipts, room: int, event_id: EventID, receipt_type: str
) -> None:
    with pytest.raises(NotFound):
        await send(receipts, event_id, receipt_type)
    assert await seen_by(receipts, room, ALICE) == []
    assert await fully_read(receipts) is None


@pytest.mark.parametrize("receipt_type", [READ, READ_PRIVATE, FULLY_READ])
async def test_only_joined_members_send_them(
    receipts: Receipts, database: Database, room: int, receipt_type: str
) -> None:
    carol = UserID("@carol:test")
    await database.write(add_member, room, carol, membership="invite")
    with pytest.raises(Forbidden):
        await receipts.send(requester(carol), ROOM, receipt_type, FIRST, {})
    await database.write(leave, room, ALICE)
    with pytest.raises(Forbidden):
        await send(receipts, FIRST, receipt_type)
    with pytest.raises(Forbidden):
        await receipts.send(requester(ALICE), RoomID("!unknown:test"), receipt_type, FIRST, {})


async def test_unknown_types_are_refused(receipts: Receipts, room: int) -> None:
    with pytest.raises(InvalidParam):
        await send(receipts, FIRST, "m.other")


@pytest.mark.parametrize("thread_id", ["", 5, None, ["main"], {}])
async def test_a_thread_id_is_a_non_empty_string(receipts: Receipts, room: int, thread_id: object) -> None:
    with pytest.raises(InvalidParam):
        await send(receipts, FIRST, READ, {"thread_id": thread_id})  # type: ignore[dict-item]  # JSON


@pytest.mark.parametrize("thread_id", ["main", ROOT])
async def test_the_fully_read_marker_has_no_thread(receipts: Receipts, room: int, thread_id: str) -> None:
    with pytest.raises(InvalidParam):
        await send(receipts, ROOT, FULLY_READ, {"thread_id": thread_id})


@pytest.mark.parametrize(
    ("event_id", "thread_id", "is_related"),
    [
        (FIRST, "main", True),
        (ROOT, "main", True),
        (ROOT, ROOT, True),
        (REPLY, ROOT, True),
        (REPLY, "main", False),
        (REPLY, REPLY, False),
        (FIRST, ROOT, False),
        (FIRST, "$unknown", False),
        (FIRST, "other", False),
    ],
)
async def test_the_event_must_be_in_the_thread(
    receipts: Receipts, room: int, event_id: EventID, thread_id: str, is_related: bool
) -> None:
    """Client-server API, `receipts.yaml`: "The `event_id` is not related to the `thread_id`" is an error."""
    if not is_related:
        with pytest.raises(InvalidParam):
            await send(receipts, event_id, READ, {"thread_id": thread_id})
        return
    await send(receipts, event_id, READ, {"thread_id": thread_id})
    found = await seen_by(receipts, room, BOB)
    assert [(receipt.event_id, receipt.thread_id) for receipt in found] == [(event_id, thread_id)]


async def test_an_unthreaded_receipt_goes_on_any_event(receipts: Receipts, room: int) -> None:
    await send(receipts, REPLY)
    assert [receipt.thread_id for receipt in await seen_by(receipts, room, BOB)] == [UNTHREADED]


async def test_the_fully_read_marker_is_account_data(receipts: Receipts, room: int, commits: Commits) -> None:
    """Client-server API, "Fully read markers"."""
    await send(receipts, SECOND, FULLY_READ)
    assert await fully_read(receipts) == b'{"event_id":"$2"}'
    assert await commits.take() == [{"user:@alice:test"}]
    assert await seen_by(receipts, room, ALICE) == []


async def test_the_fully_read_marker_does_not_move_backwards(receipts: Receipts, room: int) -> None:
    for event_id in (HISTORY, SECOND, FIRST, HISTORY):
        await send(receipts, event_id, FULLY_READ)
    assert await fully_read(receipts) == b'{"event_id":"$2"}'
    await send(receipts, THIRD, FULLY_READ)
    assert await fully_read(receipts) == b'{"event_id":"$3"}'


async def test_several_markers_are_moved_at_once(receipts: Receipts, room: int, clock: MovableClock) -> None:
    markers = [Marker(FULLY_READ, FIRST), Marker(READ, SECOND), Marker(READ_PRIVATE, THIRD)]
    await receipts.mark(requester(ALICE), ROOM, markers)
    assert await fully_read(receipts) == b'{"event_id":"$1"}'
    assert await seen_by(receipts, room, ALICE) == [
        Receipt(ALICE, READ, UNTHREADED, SECOND, clock.ts),
        Receipt(ALICE, READ_PRIVATE, UNTHREADED, THIRD, clock.ts),
    ]


async def test_of_several_markers_none_is_moved_if_one_is_wrong(receipts: Receipts, room: int) -> None:
    with pytest.raises(NotFound):
        await receipts.mark(requester(ALICE), ROOM, [Marker(FULLY_READ, FIRST), Marker(READ, ELSEWHERE)])
    assert await fully_read(receipts) is None
