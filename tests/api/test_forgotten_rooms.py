"""Rooms that nobody remembers are removed. Client-server API, `POST /rooms/{roomId}/forget`."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from homeserver.database.statements import statement
from homeserver.database.tables import metadata
from homeserver.database.transactions import ReadTransaction
from homeserver.services.forgotten_rooms import PURGE_DELAY_MS
from homeserver.services.room_purge import BATCH, LEASE_MS
from homeserver.storage import room_purges, rooms
from tests.api.server import SERVER_NAME, Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification
from tests.services.conftest import MovableClock

HELD_BY_ROOM = [table for table in metadata.sorted_tables if {"room_nid", "room_id"} & set(table.c.keys())]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None, clock: MovableClock
) -> AsyncIterator[TestServer]:
    async with running_server(database_url, tmp_path, specification, clock=clock) as running:
        yield running


def rows_of(tx: ReadTransaction, room_nid: int, room_id: str) -> dict[str, int]:
    """How many rows each table has of a room; tables without any are left out."""
    found: dict[str, int] = {}
    for table in HELD_BY_ROOM:
        column = table.c.room_nid if "room_nid" in table.c else table.c.room_id
        value: Any = room_nid if "room_nid" in table.c else room_id
        if count := int(tx.value(statement(select(func.count()).where(column == value)))):
            found[table.name] = count
    return found


async def live(alice: Client, bob: Client, name: str) -> str:
    """A room in which everything has happened."""
    room = await alice.create_room(
        preset="public_chat", room_alias_name=name, name=name, visibility="public", invite=[bob.user_id]
    )
    await bob.join(room)
    event_id = ""
    for number in range(3):
        event_id = await bob.send(room, f"hello alice {number}")
    (await alice.post(room_path(room, "receipt", "m.read", event_id))).ok()
    (await bob.put(room_path(room, "typing", bob.user_id), {"typing": True, "timeout": 9000})).ok()
    (await alice.put(path_of("user", alice.user_id, "rooms", room, "tags", "u.fun"), {"order": 0.5})).ok()
    (await alice.put(path_of("user", alice.user_id, "rooms", room, "account_data", "x.y"), {"a": 1})).ok()
    await alice.set_state(room, "m.room.topic", {"topic": name})
    sticky = {"org.matrix.msc4354.sticky_duration_ms": 3_600_000}
    path = room_path(room, "send", "x.y", f"{name}-sticky")
    (await alice.request("PUT", path, {"body": "x"}, query=sticky, check=False)).ok()
    return room


async def forget(client: Client, room: str) -> None:
    await client.leave(room)
    (await client.post(room_path(room, "forget"))).ok()


async def snapshot(server: TestServer, nids: Mapping[str, int]) -> dict[str, dict[str, int]]:
    database = server.server.database
    return {room: await database.read(rows_of, nid, room) for room, nid in nids.items()}


async def nid_of(server: TestServer, room: str) -> int:
    found = await server.server.database.read(rooms.nid_of, room)
    assert found is not None
    return found


async def work(server: TestServer) -> None:
    await server.server.services.room_purge.work()


async def test_nothing_is_left_of_the_room_and_others_are_untouched(
    server: TestServer, alice: Client, bob: Client, clock: MovableClock
) -> None:
    gone, kept = await live(alice, bob, "gone"), await live(alice, bob, "kept")
    nids = {room: await nid_of(server, room) for room in (gone, kept)}
    await server.server.services.search_index.work()
    before = await snapshot(server, nids)
    while not all("directory_rooms" in rows and "directory_scans" not in rows for rows in before.values()):
        # The server's own loop may be at it: then this gives way.
        await server.server.services.user_directory_index.work()
        before = await snapshot(server, nids)
    touched = set(before[gone])
    assert touched == set(before[kept])
    assert touched >= {
        "account_data",
        "aliases",
        "events",
        "memberships",
        "push_outcomes",
        "receipts",
        "room_states",
        "rooms",
        "search_texts",
        "state_nodes",
        "sticky_events",
        "typing",
    }
    await forget(alice, gone)
    await forget(bob, gone)
    clock.advance(PURGE_DELAY_MS - 1)
    await work(server)
    assert (await snapshot(server, nids))[gone]["rooms"] == 1
    clock.advance(1)
    await work(server)
    after = await snapshot(server, nids)
    assert after[gone] == {}
    assert after[kept] == before[kept]
    # The name is free, the ID unknown, and the other room as alive as ever.
    (await alice.get(path_of("directory", "room", f"#gone:{SERVER_NAME}"))).error(404, "M_NOT_FOUND")
    (await alice.post(room_path(gone, "join"))).error(404, "M_NOT_FOUND")
    (await alice.post(room_path(gone, "forget"))).ok()
    assert await alice.messages_in(kept) == [f"hello alice {n}" for n in range(3)]
    assert "m.room.topic" in {event["type"] for event in (await bob.get(room_path(kept, "state"))).ok()}
    since = (await bob.sync())["next_batch"]
    await alice.send(kept, "still here")
    assert kept in (await bob.sync(since))["rooms"]["join"]


async def test_a_room_stays_while_anybody_remembers_it(
    server: TestServer, alice: Client, bob: Client, clock: MovableClock
) -> None:
    room = await live(alice, bob, "room")
    await forget(alice, room)
    await bob.leave(room)
    clock.advance(PURGE_DELAY_MS)
    await work(server)
    assert (await bob.get(room_path(room, "state"))).status == 200
    assert await bob.messages_in(room)


async def test_a_room_is_kept_for_who_comes_before_it_is_removed(
    server: TestServer, alice: Client, bob: Client, carol: Client, clock: MovableClock
) -> None:
    room = await live(alice, bob, "room")
    await forget(alice, room)
    await forget(bob, room)
    await carol.join(f"#room:{SERVER_NAME}")
    clock.advance(PURGE_DELAY_MS)
    await work(server)
    await carol.send(room, "just in time")
    # It is on the list no longer; and comes on it again when carol goes.
    await forget(carol, room)
    clock.advance(PURGE_DELAY_MS)
    await work(server)
    (await carol.post(room_path(room, "join"))).error(404, "M_NOT_FOUND")


async def test_who_was_banned_without_having_been_there_keeps_no_room(
    server: TestServer, alice: Client, bob: Client, clock: MovableClock
) -> None:
    room = await alice.create_room()
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    nid = await nid_of(server, room)
    await forget(alice, room)
    clock.advance(PURGE_DELAY_MS)
    await work(server)
    assert await server.server.database.read(rows_of, nid, room) == {}


async def test_a_removal_that_was_broken_off_is_gone_on_with(
    server: TestServer, alice: Client, bob: Client, clock: MovableClock
) -> None:
    """A process dies after some steps; another takes over when its lease has run out, and not before."""
    room = await live(alice, bob, "room")
    for number in range(BATCH // 50):
        await alice.set_state(room, "m.room.topic", {"topic": str(number)})
    nid = await nid_of(server, room)
    await forget(alice, room)
    await forget(bob, room)
    clock.advance(PURGE_DELAY_MS)
    database = server.server.database
    until_ts = clock.now_ts() + LEASE_MS
    purge = await database.write(room_purges.claim, now_ts=clock.now_ts(), until_ts=until_ts)
    assert purge is not None
    await database.write(room_purges.close, purge)
    for _ in range(3):
        assert await database.write(room_purges.remove_some, purge, most=2, until_ts=until_ts)
    await work(server)
    left = await database.read(rows_of, nid, room)
    assert left
    assert "rooms" not in left
    clock.advance(LEASE_MS)
    await work(server)
    assert await database.read(rows_of, nid, room) == {}


async def test_a_room_of_many_rows_goes_in_small_steps(
    server: TestServer, alice: Client, bob: Client, clock: MovableClock
) -> None:
    room = await live(alice, bob, "room")
    nid = await nid_of(server, room)
    await server.server.services.search_index.work()
    await server.server.services.user_directory_index.work()
    await forget(alice, room)
    await forget(bob, room)
    clock.advance(PURGE_DELAY_MS)
    database = server.server.database
    until_ts = clock.now_ts() + LEASE_MS
    purge = await database.write(room_purges.claim, now_ts=clock.now_ts(), until_ts=until_ts)
    assert purge is not None
    await database.write(room_purges.close, purge)
    # The two members come first, with what is theirs alone.
    assert await database.write(room_purges.remove_some, purge, most=4, until_ts=until_ts)
    before = sum((await database.read(rows_of, nid, room)).values())
    steps = 0
    while await database.write(room_purges.remove_some, purge, most=4, until_ts=until_ts):
        now = sum((await database.read(rows_of, nid, room)).values())
        assert before - 4 <= now < before
        before, steps = now, steps + 1
    assert steps > 5
    assert await database.read(rows_of, nid, room) == {"room_purges": 1}
