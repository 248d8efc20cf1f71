"""What an event with many children costs: as much as one with few. Counted are the database's own steps."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest

from homeserver.core.endpoint_errors import DuplicateAnnotation
from homeserver.core.event import Event
from homeserver.core.identifiers import UserID
from homeserver.core.json import decode_object
from homeserver.core.relations import annotation_key
from homeserver.database.statements import insert_into
from homeserver.database.tables.relations import relations as relations_table
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import relations
from homeserver.rooms.draft import Draft
from homeserver.services.room_events import read_event
from homeserver.services.timelines import EVERYTHING, Direction, PageRequest, read_messages
from homeserver.storage import rooms, threads
from tests.rooms.holding import enter
from tests.rooms.signed_rooms import ALICE, BOB, SignedRoom
from tests.storage.store import Store, sqlite_store

FEW, MANY = 300, 10_000
INSERT = insert_into(relations_table)


class Busy:
    """A room with a message that has an edit, a thread, and `count` children of one kind."""

    def __init__(self, store: Store, rel_type: str, count: int) -> None:
        self.store = store
        self.room = SignedRoom.new("10")
        self.room.join(BOB)
        self.message = self.room.say(ALICE, "the message")
        self._child(ALICE, "m.replace")
        self.reply = self._child(BOB, "m.thread")
        store.write(enter, self.room, list(self.room.events.values()))
        store.write(self._crowd, rel_type, count)

    def _child(self, sender: UserID, rel_type: str) -> Event:
        relation = {"rel_type": rel_type, "event_id": self.message.event_id}
        content = {"body": "x", "m.relates_to": relation, "m.new_content": {"body": "y"}}
        return self.room.send("m.room.message", sender, content)

    def _crowd(self, tx: WriteTransaction, rel_type: str, count: int) -> None:
        """Children before all others, as rows: as if they had been fetched with older history."""
        room = rooms.of(tx, self.room.room_id)
        assert room is not None
        row: dict[str, object] = {
            "room_nid": room.room_nid,
            "parent_id": self.message.event_id,
            "rel_type": rel_type,
            "type": "m.reaction",
            "is_sound": 1,
            "annotation_key": annotation_key({"m.relates_to": {"key": "k"}}),
        }
        tx.execute_many(
            INSERT,
            [
                row | {"position": -n, "event_id": f"${n}", "sender": f"@user{n}:x", "origin_server_ts": n}
                for n in range(1, count + 1)
            ],
        )
        if rel_type == "m.thread":
            for position in (-1, -count):
                tx.execute(
                    threads.ADD, room_nid=room.room_nid, root_id=self.message.event_id, position=position
                )

    def show(self) -> None:
        """The event, and a page of the timeline with it."""
        room_id, message = self.room.room_id, self.message
        shown = decode_object(self.store.read(read_event, room_id, message.event_id, ALICE, None, now_ts=0))
        found = shown["unsigned"]["m.relations"]  # type: ignore[index, call-overload]  # JSON
        assert found.keys() == {"m.replace", "m.thread"}  # type: ignore[union-attr]  # JSON
        request = PageRequest(room_id, Direction.BACKWARDS, None, None, 100, EVERYTHING)
        answer = self.store.read(read_messages, request, ALICE, None, now_ts=0)
        assert message.event_id.encode() in answer.body

    def react(self) -> None:
        """One more reaction, and once more the same."""
        self.store.write(self._check, "@new:x")
        with pytest.raises(DuplicateAnnotation):
            self.store.write(self._check, "@user1:x")

    def _check(self, tx: WriteTransaction, sender: str) -> None:
        relation = {"rel_type": "m.annotation", "event_id": self.message.event_id, "key": "k"}
        room = rooms.of(tx, self.room.room_id)
        assert room is not None
        draft = Draft(UserID(sender), "m.reaction", {"m.relates_to": relation})  # type: ignore[dict-item]  # JSON
        relations.check(tx, room.room_nid, draft)


def steps_of(store: Store, work: Callable[[], None]) -> int:
    """How many steps of its virtual machine SQLite takes, in hundreds."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    cursor = store.cursor
    assert isinstance(cursor, sqlite3.Cursor)
    work()
    cursor.connection.set_progress_handler(count, 100)
    work()
    cursor.connection.set_progress_handler(None, 100)
    return taken


@pytest.fixture
def empty() -> Iterator[Callable[[], Store]]:
    """Makes databases."""
    open_stores = []

    def make() -> Store:
        manager = sqlite_store()
        open_stores.append(manager)
        return manager.__enter__()

    yield make
    for manager in open_stores:
        manager.__exit__(None, None, None)


@pytest.mark.parametrize("rel_type", ["m.annotation", "m.thread", "m.replace", "org.example.any"])
def test_many_children_cost_what_few_cost(empty: Callable[[], Store], rel_type: str) -> None:
    steps = []
    for count in (FEW, MANY):
        busy = Busy(empty(), rel_type, count)
        steps.append(steps_of(busy.store, busy.show))
    few, many = steps
    assert many <= few * 1.1 + 2


def test_a_reaction_among_many_costs_what_one_among_few_costs(empty: Callable[[], Store]) -> None:
    steps = []
    for count in (FEW, MANY):
        busy = Busy(empty(), "m.annotation", count)
        steps.append(steps_of(busy.store, busy.react))
    few, many = steps
    assert many <= few * 1.1 + 2
