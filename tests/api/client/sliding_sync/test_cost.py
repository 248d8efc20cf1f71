"""What an answer costs: nothing is read of rooms that are not in it."""

from typing import Any

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.sliding_sync.requests import (
    Extensions,
    Form,
    RoomConfig,
    RoomList,
    Scope,
    SlidingRequest,
)
from homeserver.core.sliding_sync.required_state import RequiredState
from homeserver.core.sliding_sync.room_filters import RoomFilter
from homeserver.core.tokens import SlidingToken
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction
from homeserver.services.sliding_sync.context import Answer, Asking
from homeserver.services.sliding_sync.read import read_sliding
from homeserver.storage import events, memberships
from tests.api.client.sliding_sync.harness import Sliding, one_list
from tests.api.server import Client, TestServer
from tests.population import add_room

OTHERS = 400
WINDOW = 5


class Counting(ReadTransaction):
    """Counts statements and the rows that they give."""

    def __init__(self, tx: ReadTransaction) -> None:
        super().__init__(tx._cursor, tx.backend, tx.caches)
        self.asked: list[tuple[Statement, list[Row]]] = []

    def all(self, query: Statement, **params: Any) -> list[Row]:
        rows = super().all(query, **params)
        self.asked.append((query, rows))
        return rows

    def one(self, query: Statement, **params: Any) -> Row | None:
        row = super().one(query, **params)
        self.asked.append((query, [] if row is None else [row]))
        return row

    def rows_of(self, query: Statement) -> int:
        return sum(len(rows) for asked, rows in self.asked if asked is query)


def counted(tx: ReadTransaction, asking: Asking) -> tuple[Counting, Answer]:
    counting = Counting(tx)
    return counting, read_sliding(counting, asking)


def add_rooms(tx: WriteTransaction, user_id: UserID) -> None:
    for number in range(OTHERS):
        add_room(tx, RoomID(f"!room{number}:test.example"), user_id)


async def test_rooms_outside_the_windows_cost_their_row_in_the_list(
    alice: Client, server: TestServer
) -> None:
    await server.server.database.write(add_rooms, UserID(alice.user_id))
    rooms = [await alice.create_room() for _ in range(WINDOW + 1)]
    config = RoomConfig(3, (RequiredState((("m.room.create", ""),)),))
    wanted = RoomList("all", config, RoomFilter(), ((0, WINDOW - 1),))
    extensions = Extensions(Scope(), Scope(), Scope())
    asking = Asking(
        UserID(alice.user_id),
        alice.device_id,
        "",
        None,
        SlidingRequest(Form.STABLE, (wanted,), (), extensions),
        {},
        server.clock.now_ts(),
    )
    database = server.server.database
    counting, answer = await database.read(counted, asking)
    assert set(answer.rooms) == set(rooms[-WINDOW:])
    assert counting.rows_of(memberships.OF_USER) == OTHERS + len(rooms)
    # A timeline for each room of the window, one event more than is shown, and their create events.
    timelines = [rows for query, rows in counting.asked if query is events.BACKWARDS]
    assert [len(rows) for rows in timelines] == [4] * WINDOW
    assert len(counting.asked) < 20 * WINDOW
    all_rows = sum(len(rows) for _, rows in counting.asked)
    assert all_rows - OTHERS < 40 * WINDOW

    # Later, the rooms of the window cost nothing, either, unless something has happened in them.
    client = Sliding(alice)
    created = {"include": [{"type": "m.room.create", "state_key": ""}]}
    await client.ask(lists=one_list(last=WINDOW - 1, limit=3, state=created))
    event_id = await alice.send(rooms[0], "one comes in, one goes out")
    later = msgspec.structs.replace(asking, token=SlidingToken.parse(client.pos or ""))
    counting, answer = await database.read(counted, later)
    assert set(answer.rooms) == {rooms[0]}
    assert event_id.encode() in answer.rooms[RoomID(rooms[0])]
    assert len([query for query, _ in counting.asked if query is events.BACKWARDS]) == 1
    assert len(counting.asked) < 40


async def test_what_filters_ask_is_found_for_all_rooms_at_once(alice: Client, server: TestServer) -> None:
    for _ in range(25):
        await alice.create_room()
    await alice.create_room(creation_content={"type": "m.space"})
    wanted = RoomFilter(
        not_room_types=frozenset({"m.space"}), is_encrypted=False, not_tags=frozenset({"m.lowpriority"})
    )
    config = RoomConfig(1, ())
    request = SlidingRequest(Form.STABLE, (RoomList("all", config, wanted, ((0, 0),)),), (), Extensions())
    asking = Asking(UserID(alice.user_id), alice.device_id, "", None, request, {}, 0)
    for cache in (server.server.database.caches.nodes, server.server.database.caches.events):
        cache.clear()
    counting, answer = await server.server.database.read(counted, asking)
    assert answer.lists == {"all": b'{"count":25}'}
    assert len(answer.rooms) == 1
    assert len(counting.asked) < 20
    # What is known of a state need not be asked for again.
    counting, _ = await server.server.database.read(counted, asking)
    assert len(counting.asked) < 15


async def test_a_client_that_follows_its_rooms_writes_nothing(alice: Client, server: TestServer) -> None:
    rooms = [await alice.create_room() for _ in range(3)]
    client = Sliding(alice)
    await client.ask(lists=one_list())
    before = SlidingToken.parse(client.pos or "")
    for room in rooms:
        await alice.send(room, "hello")
        await client.ask(lists=one_list())
    after = SlidingToken.parse(client.pos or "")
    assert after.position > before.position
    assert (after.connection, after.step) == (before.connection, before.step)
