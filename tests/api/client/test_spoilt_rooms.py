"""A row of the database that is spoilt harms the room that it is of, and no other one: reliability, P9."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import bindparam, select, update

from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.account_data import account_data
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.storage import rooms as storage
from homeserver.storage import stripped_states
from tests.api.client.sliding_sync.harness import EVERYTHING, Sliding, bodies, old_list, one_list
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification

STORED = statement(select(events.c.event_id, events.c.pdu).where(in_list(events.c.event_id, "event_ids")))
STORE = statement(
    update(events).where(events.c.event_id == bindparam("the_event")).values(pdu=bindparam("the_pdu"))
)
STORE_TAGS = statement(
    update(account_data).where(account_data.c.type == "m.tag").values(content=bindparam("it"))
)
LEAVE = statement(update(rooms).where(rooms.c.room_id == bindparam("the_room")).values(state_root=0))
SPOILT = b'{"type":'


def stored(tx: ReadTransaction, event_ids: Collection[str]) -> list[tuple[str, bytes]]:
    return [(row[0], bytes(row[1])) for row in tx.all(STORED, event_ids=sorted(event_ids))]


def store(tx: WriteTransaction, rows: Collection[tuple[str, bytes]]) -> None:
    for event_id, pdu in rows:
        assert tx.execute(STORE, the_event=event_id, the_pdu=pdu) == 1


def store_tags(tx: WriteTransaction, content: bytes) -> None:
    assert tx.execute(STORE_TAGS, it=content) == 1


def make_elsewhere(tx: WriteTransaction, room_id: RoomID, user_id: UserID) -> None:
    """Have a room look as if this server was not in it, with what came with an invitation of the user."""
    assert tx.execute(LEAVE, the_room=room_id) == 1
    room = storage.of(tx, room_id)
    assert room is not None
    stripped_states.put(tx, room.room_nid, user_id, SPOILT)


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


async def test_of_a_room_that_cannot_be_read_nothing_is_told_by_extensions(house: House) -> None:
    """What its extensions had to tell comes with the room, once, whether the client knows the room or not."""
    wanted: Any = {name: {"enabled": True} for name in ("account_data", "receipts", "typing")}
    async with house.open() as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        good, bad = await alice.create_room(), await alice.create_room(invite=[bob.user_id])
        await bob.join(bad)
        known = Sliding(alice, "known")
        await known.ask(lists=one_list(), extensions=wanted)
        event_id = await bob.send(bad, "unreadable for a while")
        (await alice.put(data_path(alice, bad), {"n": 1})).ok()
        (await alice.post(room_path(bad, "receipt", "m.read", event_id))).ok()
        (await bob.put(room_path(bad, "typing", bob.user_id), {"typing": True, "timeout": 120_000})).ok()
        rows = await server.server.database.read(stored, [event_id])
        await server.server.database.write(store, [(event_id, SPOILT)])
    async with house.open() as server:
        known.client = alice = moved(alice, server)
        new = Sliding(alice, "new")
        for client in (known, new):
            for number in range(2):
                await alice.send(good, f"{number}")
                answer = await client.ask(lists=one_list(), extensions=wanted)
                assert set(answer["rooms"]) == {good}
                assert told_of(answer) == set()
        await server.server.database.write(store, rows)
    async with house.open() as server:
        for client in (known, new):
            client.client = moved(alice, server)
            answer = await client.ask(lists=one_list(), extensions=wanted)
            assert told_of(answer) == {(name, bad) for name in wanted}
            answer = await client.ask(lists=one_list(), extensions=wanted)
            assert (answer["rooms"], answer["extensions"]) == ({}, {})


def data_path(client: Client, room: str, kind: str = "org.example") -> str:
    return path_of("user", client.user_id, "rooms", room, "account_data", kind)


def told_of(answer: Any) -> set[tuple[str, str]]:
    """The rooms of which extensions tell, each with the extension's name."""
    return {(name, room) for name, told in answer["extensions"].items() for room in told.get("rooms", ())}


async def test_sticky_events_of_other_rooms_are_shown(house: House) -> None:
    extension = "org.matrix.msc4354.sticky_events"
    async with house.open() as server:
        alice = await server.user("alice")
        both = [await alice.create_room() for _ in range(2)]
        event_ids = []
        for room in both:
            path = room_path(room, "send", "m.room.message", "sticky")
            query = {"org.matrix.msc4354.sticky_duration_ms": 3_600_000}
            event_ids.append((await alice.put(path, {"body": "sticks"}, **query)).ok()["event_id"])
            for _ in range(2):
                await alice.send(room, "what comes after it")
        await server.server.database.write(store, [(event_ids[1], SPOILT)])
    async with house.open() as server:
        answer = await Sliding(moved(alice, server)).ask(
            lists=one_list(limit=1), extensions={extension: {"enabled": True}}
        )
        assert set(answer["rooms"]) == set(both)
        assert answer["extensions"][extension]["rooms"].keys() == {both[0]}


@pytest.mark.parametrize("kind", ["m.room.create", "m.space.child"])
async def test_the_rooms_of_other_spaces_are_shown(house: House, kind: str) -> None:
    async with house.open() as server:
        alice = await server.user("alice")
        both = [await alice.create_room() for _ in range(2)]
        spaces = [await alice.create_room(creation_content={"type": "m.space"}) for _ in range(2)]
        for space, room in zip(spaces, both, strict=True):
            await alice.set_state(space, "m.space.child", {"via": ["test.example"]}, room)
        event_id = (await events_of(alice, spaces[1]))[kind]
        await server.server.database.write(store, [(event_id, SPOILT)])
    async with house.open() as server:
        answer = await Sliding(moved(alice, server)).ask(lists=one_list(spaces=spaces))
        assert set(answer["rooms"]) == {both[0]}


async def test_rooms_with_other_tags_are_shown(house: House) -> None:
    async with house.open() as server:
        alice = await server.user("alice")
        good, bad = await alice.create_room(), await alice.create_room()
        (await alice.put(data_path(alice, bad, "m.tag"), {"tags": {"u.x": {}}})).ok()
        await server.server.database.write(store_tags, SPOILT)
        (await alice.put(data_path(alice, good, "m.tag"), {"tags": {"u.x": {}}})).ok()
    async with house.open() as server:
        answer = await Sliding(moved(alice, server)).ask(lists=one_list(tags=["u.x"]))
        assert set(answer["rooms"]) == {good}


async def test_other_invitations_are_shown(house: House) -> None:
    async with house.open() as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        good, bad = [await bob.create_room(invite=[alice.user_id]) for _ in range(2)]
        await server.server.database.write(make_elsewhere, RoomID(bad), UserID(alice.user_id))
    async with house.open() as server:
        alice = moved(alice, server)
        for filters in ({}, {"is_encrypted": False}):
            answer = await Sliding(alice).ask(lists=one_list(**filters))
            assert set(answer["rooms"]) == {good}
        assert (await alice.sync())["rooms"]["invite"].keys() == {good}
