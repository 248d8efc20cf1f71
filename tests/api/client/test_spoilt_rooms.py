"""A row of the database that is spoilt harms the room that it is of, and no other one: reliability, P9."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import bindparam, select, update

from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from tests.api.client.sliding_sync.harness import EVERYTHING, Sliding, bodies, old_list, one_list
from tests.api.server import Client, TestServer, path_of, running_server
from tests.openapi import Specification

STORED = statement(select(events.c.event_id, events.c.pdu).where(in_list(events.c.event_id, "event_ids")))
STORE = statement(
    update(events).where(events.c.event_id == bindparam("the_event")).values(pdu=bindparam("the_pdu"))
)
SPOILT = b'{"type":'


def stored(tx: ReadTransaction, event_ids: Collection[str]) -> list[tuple[str, bytes]]:
    return [(row[0], bytes(row[1])) for row in tx.all(STORED, event_ids=sorted(event_ids))]


def store(tx: WriteTransaction, rows: Collection[tuple[str, bytes]]) -> None:
    for event_id, pdu in rows:
        assert tx.execute(STORE, the_event=event_id, the_pdu=pdu) == 1


@attrs.frozen
class House:
    """A server that is started again and again, so that what it has read before is forgotten."""

    database_url: str
    folder: Path
    specification: Specification | None

    def open(self) -> AbstractAsyncContextManager[TestServer]:
        return running_server(self.database_url, self.folder, self.specification)


@pytest.fixture
def house(database_url: str, tmp_path: Path, specification: Specification | None) -> House:
    return House(database_url, tmp_path, specification)


def moved(client: Client, server: TestServer) -> Client:
    return attrs.evolve(client, base_url=server.base_url, pool=server.pool)


async def events_of(client: Client, room: str) -> dict[str, str]:
    """The newest event of each type in the room."""
    synced = await client.sync()
    listed: list[Any] = synced["rooms"]["join"][room]["timeline"]["events"]
    return {event["type"]: event["event_id"] for event in listed}


@pytest.mark.parametrize(
    "kind", ["m.room.message", "m.room.create", "m.room.name", "m.room.encryption", "m.room.member"]
)
async def test_other_rooms_are_shown_to_a_new_client(house: House, kind: str) -> None:
    async with house.open() as server:
        alice = await server.user("alice")
        good, bad = [await alice.create_room(name=name) for name in ("good", "bad")]
        await alice.set_state(bad, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
        await alice.send(bad, "hello")
        event_id = (await events_of(alice, bad))[kind]
        await server.server.database.write(store, [(event_id, SPOILT)])
    async with house.open() as server:
        alice = moved(alice, server)
        for filters in ({}, {"is_encrypted": False}, {"room_types": [None]}):
            answer = await Sliding(alice, "a").ask(lists=one_list(state=EVERYTHING, **filters))
            assert set(answer["rooms"]) == {good}
        answer = await Sliding(alice, "b").ask_old(lists=old_list(state=[["*", "*"]]))
        assert set(answer["rooms"]) == {good}
        assert (await alice.sync())["rooms"]["join"].keys() == {good}
        looked = (await alice.get(path_of("initialSync"))).ok()
        assert [room["room_id"] for room in looked["rooms"]] == [good]


async def test_a_client_is_told_of_what_it_has_missed_when_the_room_can_be_read_again(house: House) -> None:
    async with house.open() as server:
        alice = await server.user("alice")
        good, bad = await alice.create_room(), await alice.create_room()
        client = Sliding(alice)
        assert set((await client.ask(lists=one_list()))["rooms"]) == {good, bad}
        event_id = await alice.send(bad, "unreadable for a while")
        rows = await server.server.database.read(stored, [event_id])
        await server.server.database.write(store, [(event_id, SPOILT)])
    async with house.open() as server:
        client.client = alice = moved(alice, server)
        await alice.send(good, "one")
        answer = await client.ask(lists=one_list())
        assert {room: bodies(told) for room, told in answer["rooms"].items()} == {good: ["one"]}
        await alice.send(good, "two")
        answer = await client.ask(lists=one_list())
        assert {room: bodies(told) for room, told in answer["rooms"].items()} == {good: ["two"]}
        await server.server.database.write(store, rows)
    async with house.open() as server:
        client.client = moved(alice, server)
        answer = await client.ask(lists=one_list())
        assert {room: bodies(told) for room, told in answer["rooms"].items()} == {
            bad: ["unreadable for a while"]
        }
        assert (await client.ask(lists=one_list()))["rooms"] == {}


async def test_who_shares_the_room_is_still_told_of(house: House) -> None:
    """Of a room whose encryption cannot be looked up, it is not concluded that nobody shares it."""
    async with house.open() as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        bad, other = await alice.create_room(), await alice.create_room()
        for room in (bad, other):
            await alice.set_state(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
            await alice.invite(room, bob.user_id)
            await bob.join(room)
        event_id = (await events_of(alice, bad))["m.room.create"]
        await server.server.database.write(store, [(event_id, SPOILT)])
    async with house.open() as server:
        alice, bob = moved(alice, server), moved(bob, server)
        since = (await alice.sync())["next_batch"]
        await bob.leave(other)
        assert "left" not in (await alice.sync(since)).get("device_lists", {})
