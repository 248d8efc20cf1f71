"""Server-server API, "Receipts"."""

from typing import Any

import pytest
from sqlalchemy import func, select

from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.receipts import READ, UNTHREADED, Receipt
from homeserver.database.database import Database
from homeserver.database.statements import statement
from homeserver.database.tables.ephemeral import awaited_receipts
from homeserver.database.transactions import WriteTransaction
from homeserver.services.federation_edus.receipts import (
    ALL_MS,
    AWAITED_MS,
    MOST_AWAITED,
    MOST_RECEIPTS,
    IncomingReceipts,
)
from homeserver.storage import receipts as stored
from tests.population import add_event, add_room, leave
from tests.room_stories import Story
from tests.services.conftest import Commits, MovableClock

ALICE = UserID("@alice:x")
BOB = UserID("@bob:other.example")
CAROL = UserID("@carol:third.example")
ORIGIN = ServerName("other.example")
ROOM = RoomID("!room:x")
FIRST, SECOND, ROOT, REPLY, SOFT = (EventID(f"${name}") for name in ("1", "2", "root", "reply", "soft"))
ELSEWHERE = EventID("$elsewhere")
TS = 1_600_000_000_000
WAITING = statement(select(awaited_receipts.c.origin, func.count()).group_by(awaited_receipts.c.origin))


def populate(tx: WriteTransaction) -> int:
    room = add_room(tx, ROOM, ALICE, BOB, CAROL)
    for position, event_id in enumerate((FIRST, SECOND, ROOT), 1):
        add_event(tx, room, event_id, position=position)
    add_event(tx, room, REPLY, position=5, thread_id=ROOT)
    add_event(tx, room, SOFT, position=None)
    add_event(tx, add_room(tx, RoomID("!other:x"), ALICE), ELSEWHERE, position=6)
    return room


@pytest.fixture
async def room(database: Database) -> int:
    return await database.write(populate)


@pytest.fixture
def incoming(database: Database, clock: MovableClock) -> IncomingReceipts:
    return IncomingReceipts(database, clock)


def read(event_id: object, user_id: str = BOB, room_id: str = ROOM, **data: object) -> dict[str, Any]:
    return {room_id: {READ: {user_id: {"event_ids": [event_id], "data": {"ts": TS, **data}}}}}


async def seen(incoming: IncomingReceipts, room: int) -> list[Receipt]:
    found = await incoming.database.read(stored.since, ALICE, [room], since=0, upto=2**62)
    return found.get(room, [])


def receipt(event_id: EventID, user_id: UserID = BOB, thread_id: str = UNTHREADED, ts: int = TS) -> Receipt:
    return Receipt(user_id, READ, thread_id, event_id, ts)


async def test_a_receipt_moves_forward_only(incoming: IncomingReceipts, room: int, commits: Commits) -> None:
    await incoming.receive(ORIGIN, [read(SECOND)])
    assert await seen(incoming, room) == [receipt(SECOND)]
    assert await commits.take() == [{f"room:{ROOM}"}]
    await incoming.receive(ORIGIN, [read(FIRST)])
    assert await seen(incoming, room) == [receipt(SECOND)]
    assert await commits.take() == []


async def test_threads_are_kept_apart(incoming: IncomingReceipts, room: int) -> None:
    await incoming.receive(ORIGIN, [read(REPLY, thread_id=ROOT), read(FIRST, thread_id="main")])
    assert await seen(incoming, room) == [receipt(REPLY, thread_id=ROOT), receipt(FIRST, thread_id="main")]


async def test_nobody_has_read_in_the_future(
    incoming: IncomingReceipts, room: int, clock: MovableClock
) -> None:
    await incoming.receive(ORIGIN, [read(FIRST, ts=2**62)])
    assert await seen(incoming, room) == [receipt(FIRST, ts=clock.ts)]


@pytest.mark.parametrize(
    "false",
    [
        read(FIRST, CAROL),  # of a third server: CVE-2024-6301
        read(FIRST, ALICE),
        read(FIRST, "@nobody:other.example"),
        read(FIRST, "bob"),
        read(FIRST, room_id="!nowhere:x"),
        read(FIRST, room_id="!other:x"),  # CVE-2023-42453: a room that the user is not in
        read(ELSEWHERE),  # ... and an event of such a room
        read(ELSEWHERE, room_id="!other:x"),
        read(FIRST, thread_id=REPLY),
        read(FIRST, thread_id="\0"),
        read(FIRST, thread_id=5),
        read(FIRST, ts="now"),
        read(FIRST, ts=1.5),
        read(FIRST, ts=-1),
        read("1"),
        read(5),
        read(["$1"]),
        {ROOM: {READ: {BOB: {"event_ids": [], "data": {"ts": TS}}}}},
        {ROOM: {READ: {BOB: {"event_ids": [FIRST, SECOND], "data": {"ts": TS}}}}},
        {ROOM: {READ: {BOB: {"event_ids": [FIRST]}}}},
        {ROOM: {READ: {BOB: None}}},
        {ROOM: {READ: [BOB]}},
        {ROOM: {"m.read.private": {BOB: {"event_ids": [FIRST], "data": {"ts": TS}}}}},
        {ROOM: {"m.other": {BOB: {"event_ids": [FIRST], "data": {"ts": TS}}}}},
        {ROOM: []},
        [],
        None,
    ],
)
async def test_what_is_not_for_that_server_to_say_is_left_out(
    incoming: IncomingReceipts, room: int, false: object
) -> None:
    await incoming.receive(ORIGIN, [false])
    await incoming.settle()
    assert await seen(incoming, room) == []
    await incoming.receive(ORIGIN, [false, read(SECOND), false])
    assert await seen(incoming, room) == [receipt(SECOND)]


async def test_who_has_left_reads_nothing(incoming: IncomingReceipts, room: int, database: Database) -> None:
    await database.write(leave, room, BOB)
    await incoming.receive(ORIGIN, [read(FIRST)])
    assert await seen(incoming, room) == []


async def test_a_receipt_waits_for_its_event(
    incoming: IncomingReceipts, room: int, database: Database, commits: Commits
) -> None:
    """Both may come in the same transaction, and the event takes longer."""
    late = EventID("$late")
    await incoming.receive(ORIGIN, [read(FIRST), read(late, ts=TS + 1)])
    await incoming.settle()
    assert await seen(incoming, room) == [receipt(FIRST)]
    await database.write(add_event, room, late, position=9)
    await commits.take()
    await incoming.settle()
    assert await seen(incoming, room) == [receipt(late, ts=TS + 1)]
    assert await commits.take() == [{f"room:{ROOM}"}]
    await incoming.settle()
    assert await commits.take() == []


async def test_a_receipt_waits_for_history_that_is_fetched(
    incoming: IncomingReceipts, room: int, database: Database, clock: MovableClock
) -> None:
    """It gets a place among what is here, and is not news: what waits is looked through from time to time."""
    old = EventID("$old")
    await incoming.settle()
    await incoming.receive(ORIGIN, [read(old)])
    await database.write(add_event, room, old, position=4)
    await incoming.settle()
    assert await seen(incoming, room) == []
    clock.advance(ALL_MS)
    await incoming.settle()
    assert await seen(incoming, room) == [receipt(old)]


async def test_what_has_been_overtaken_while_it_waited_changes_nothing(
    incoming: IncomingReceipts, room: int, database: Database
) -> None:
    late = EventID("$late")
    await incoming.receive(ORIGIN, [read(late)])
    await incoming.receive(ORIGIN, [read(REPLY)])
    await database.write(add_event, room, late, position=-9)
    await incoming.settle()
    assert await seen(incoming, room) == [receipt(REPLY)]


async def test_who_left_while_the_receipt_waited_has_not_read(
    incoming: IncomingReceipts, room: int, database: Database
) -> None:
    late = EventID("$late")
    await incoming.receive(ORIGIN, [read(late)])
    await database.write(leave, room, BOB)
    await database.write(add_event, room, late, position=9)
    await incoming.settle()
    assert await seen(incoming, room) == []


async def test_events_outside_the_timeline_are_not_read(incoming: IncomingReceipts, room: int) -> None:
    """Soft-failed events, for example: nobody here sees them."""
    await incoming.receive(ORIGIN, [read(SOFT)])
    await incoming.settle()
    assert await seen(incoming, room) == []


async def test_nothing_waits_for_ever(
    incoming: IncomingReceipts, room: int, database: Database, clock: MovableClock
) -> None:
    late = EventID("$late")
    await incoming.receive(ORIGIN, [read(late)])
    clock.advance(AWAITED_MS + 1)
    await incoming.prune()
    await database.write(add_event, room, late, position=9)
    await incoming.settle()
    assert await seen(incoming, room) == []


async def test_a_server_has_its_share_of_what_may_wait(
    incoming: IncomingReceipts, room: int, database: Database, clock: MovableClock
) -> None:
    other = ServerName("third.example")
    await incoming.receive(other, [read("$late", CAROL)])
    for thread in range(0, MOST_AWAITED + 1, 100):
        clock.advance(1)
        await incoming.receive(
            ORIGIN, [read("$late", thread_id=f"$thread{thread + number}") for number in range(100)]
        )
    kept = await database.read(lambda tx: tx.all(WAITING))
    assert dict(kept) == {"other.example": MOST_AWAITED, "third.example": 1}


async def test_one_transaction_has_no_more_than_so_many(
    incoming: IncomingReceipts, room: int, database: Database
) -> None:
    many = {f"@{number}:other.example": read(FIRST)[ROOM][READ][BOB] for number in range(MOST_RECEIPTS)}
    await incoming.receive(ORIGIN, [{ROOM: {READ: {**many, BOB: many["@0:other.example"]}}}])
    assert await seen(incoming, room) == []


async def test_a_room_that_denies_the_server_ignores_all_its_receipts(
    incoming: IncomingReceipts, database: Database, commits: Commits
) -> None:
    """ "All receipts for a particular room ID MUST be ignored if the sending server is denied access.\""""
    story = await Story(database, ALICE).begin("shared")
    await story.member(BOB, "join")
    await story.say("hello")
    await story.set("m.room.server_acl", {"allow": ["*"], "deny": ["other.example"]})
    await commits.take()
    await incoming.receive(ORIGIN, [read(story.said["hello"], room_id=story.room_id)])
    assert await commits.take() == []
