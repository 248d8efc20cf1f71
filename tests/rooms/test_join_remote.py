"""Entering a room of others: two processes of this server may do so at the same time."""

from collections.abc import Iterable
from typing import Any

import pytest

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, UserID
from homeserver.database.database import Database
from homeserver.database.statements import Statement
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.arrivals import Arrival, Given, weigh
from homeserver.rooms.join_remote import begin, enter, store_members, store_part, store_state
from homeserver.services.room_purge import close_forgotten
from homeserver.storage import pending_joins, room_purges, rooms
from homeserver.storage.room_purges import RoomPurge
from tests.rooms.holding import US, check_rows, held, receive
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, FAMILIES, SignedRoom

ANN = UserID("@ann:a.example")


class Joining:
    """One process, which has an answer to a join, and stores it in several transactions."""

    def __init__(self, database: Database, room: SignedRoom, arrival: Arrival) -> None:
        self.database = database
        self.room = room
        self.arrival = arrival
        self.place: tuple[int, int] | None = None
        self.numbers: dict[EventID, int] = {}
        self.root = 0

    async def begin(self) -> bool:
        self.place = await self.database.write(begin, self.arrival, US, now_ts=1)
        return self.place is not None

    async def store_events(self) -> None:
        assert self.place is not None
        arrival, room_nid = self.arrival, self.place[0]
        self.numbers = await self.database.write(
            store_part, self.room.room_id, room_nid, arrival.pdus, arrival.rejected
        )
        self.root = await self.database.write(store_state, room_nid, arrival, self.numbers)

    async def store_members(self) -> None:
        assert self.place is not None
        remote = [event for user_id, event in self.arrival.members().items() if not user_id.endswith(US)]
        await self.database.write(store_members, self.place, remote, self.numbers, US)

    async def enter(self) -> bool:
        assert self.place is not None
        return await self.database.write(
            enter, self.arrival, self.root, self.numbers, US, position=self.place[1], now_ts=1
        )


async def joining(database: Database, room: SignedRoom, join: Event) -> Joining:
    """What an honest server answers to this join, and what is made of it."""
    before = room.before(join.prev_events)
    given = await room.checked(join, *(room.events[event_id] for event_id in before.values()))
    chain = await room.checked(*(room.events[each] for each in room.events if each != join.event_id))
    return Joining(database, room, weigh(Given(room.room_id, given[0], given[1:], chain)))


@pytest.fixture(params=FAMILIES)
def room(request: pytest.FixtureRequest) -> SignedRoom:
    """A room of Bob and Carol."""
    made = SignedRoom.new(request.param, creator=BOB)
    made.join(CAROL)
    return made


async def test_a_room_is_entered(database: Database, room: SignedRoom) -> None:
    one = await joining(database, room, room.join(ALICE))
    assert await one.begin()
    await one.store_events()
    await one.store_members()
    assert await one.enter()
    found = await database.read(held, room)
    assert found.state == room.states[room.last.event_id]
    check_rows(room, found)


@pytest.mark.parametrize("other_stops_at", ["begin", "events", "members"])
async def test_the_slower_of_two_changes_nothing(
    database: Database, room: SignedRoom, other_stops_at: str
) -> None:
    carol = room.last
    one = await joining(database, room, room.join(ALICE, prev=[carol]))
    join = room.last
    other = await joining(database, room, room.join(ANN, prev=[carol]))
    steps = ["begin", "events", "members"]
    late = steps[steps.index(other_stops_at) :]
    if "begin" not in late:
        assert await other.begin()
    assert await one.begin()
    if "events" not in late:
        await other.store_events()
    await one.store_events()
    await one.store_members()
    assert await one.enter()
    # Then the room goes on, of which the slower one knows nothing.
    leave = room.send("m.room.member", CAROL, {"membership": "leave"}, CAROL, prev=[join])
    assert (await database.write(receive, room.checked_at_once(leave)[0])) is not None
    before = await database.read(held, room)
    assert before.members[CAROL] == "leave"
    if "begin" in late:
        assert not await other.begin()
    else:
        if "events" in late:
            await other.store_events()
        await other.store_members()
        assert not await other.enter()
    found = await database.read(held, room)
    assert (found.members, found.counts, found.servers) == (before.members, before.counts, before.servers)
    assert (found.state, found.extremities) == (before.state, before.extremities)
    check_rows(room, found)


async def test_a_room_that_is_removed_meanwhile_is_not_entered(database: Database, room: SignedRoom) -> None:
    one = await joining(database, room, room.join(ALICE))
    assert await one.begin()
    assert one.place is not None
    await database.write(room_purges.close, RoomPurge(one.place[0], room.room_id))
    await one.store_events()
    await one.store_members()
    assert not await one.enter()
    assert await database.read(rooms.of, room.room_id) is None


async def test_a_room_that_is_being_entered_is_not_removed(database: Database, room: SignedRoom) -> None:
    """What an earlier attempt has left is due for removal; now it is needed."""
    one = await joining(database, room, room.join(ALICE))
    assert await database.write(pending_joins.claim, room.room_id, "holder", now_ts=1, until_ts=10)
    assert await one.begin()
    assert one.place is not None
    purge = RoomPurge(one.place[0], room.room_id)
    assert not await database.write(close_forgotten, purge, now_ts=9)
    await one.store_events()
    await one.store_members()
    assert await one.enter()


async def test_many_events_take_no_more_statements_than_few(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events, their auth edges and the members are stored in bulk."""
    statements: list[Statement] = []
    run, run_many = WriteTransaction._run, WriteTransaction.execute_many

    def counted(tx: WriteTransaction, query: Statement, params: dict[str, Any]) -> None:
        statements.append(query)
        run(tx, query, params)

    def counted_many(tx: WriteTransaction, query: Statement, rows: Iterable[dict[str, Any]]) -> None:
        statements.append(query)
        run_many(tx, query, rows)

    taken = []
    for creator, size in ((BOB, 5), (CAROL, 40)):
        room = SignedRoom.new("10", creator=creator)
        for number in range(size):
            room.join(UserID(f"@user{number}:b.example"))
        one = await joining(database, room, room.join(ALICE))
        assert await one.begin()
        with monkeypatch.context() as patched:
            patched.setattr(WriteTransaction, "_run", counted)
            patched.setattr(WriteTransaction, "execute_many", counted_many)
            assert one.place is not None
            one.numbers = await database.write(
                store_part, room.room_id, one.place[0], one.arrival.pdus, one.arrival.rejected
            )
            await one.store_members()
        assert len(one.numbers) > size
        taken.append(len(statements))
        statements.clear()
    assert 0 < taken[1] <= taken[0]
