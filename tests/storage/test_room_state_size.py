"""What a large room costs: rows of state appear where the state changes, and nowhere else."""

from sqlalchemy import bindparam, func, select

from homeserver.core.event import StateKey
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.core.signing import SigningKey
from homeserver.database.statements import statement
from homeserver.database.tables.rooms import rooms as rooms_table
from homeserver.database.tables.state import room_states, state_nodes
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.storage import rooms, state
from tests.storage.store import Store

MEMBERS = 5_000
MESSAGES = 1_000
CHANGES = 50

SIGNER = Signer(ServerName("x"), SigningKey.generate("test", seed=bytes(32)))
OWNER = UserID("@owner:x")
ROOM = RoomID("!large:x")

NODES = statement(select(func.count()).select_from(state_nodes))
LARGEST_NODES = statement(select(func.max(func.length(state_nodes.c.node))).select_from(state_nodes))
ROOTS = statement(select(func.count()).select_from(room_states))
SET_ROOT = statement(
    rooms_table.update()
    .where(rooms_table.c.room_id == bindparam("the_room"))
    .values(state_root=bindparam("root"), joined_members=bindparam("members"))
)


def found(tx: WriteTransaction) -> None:
    create = Draft(OWNER, "m.room.create", {"room_version": "11"}, state_key="")
    appender = Appender.found(tx, "11", ROOM, create, SIGNER, now_ts=0)
    appender.append(Draft(OWNER, "m.room.member", {"membership": "join"}, state_key=OWNER))
    appender.append(Draft(OWNER, "m.room.power_levels", {"users": {OWNER: 100}}, state_key=""))
    appender.publish()


def fill(tx: WriteTransaction, count: int) -> None:
    """Members by their places in the state; their events are not asked for here."""
    room = rooms.lock(tx, ROOM)
    assert room is not None
    members: dict[StateKey, int | None] = {
        ("m.room.member", f"@user{number}:x"): tx.new_nid() for number in range(count)
    }
    root = state.put(tx, room.room_nid, room.state_root, members)
    tx.execute(SET_ROOT, the_room=ROOM, root=root, members=count + 1)


def append(tx: WriteTransaction, type: str, content: JsonObject, state_key: str | None = None) -> EventID:
    appender = Appender.lock(tx, ROOM, SIGNER, now_ts=0)
    event = appender.append(Draft(OWNER, type, content, state_key=state_key))
    appender.publish()
    return event.event_id


def rows(tx: ReadTransaction) -> tuple[int, int]:
    """How many nodes and roots there are."""
    return tx.value(NODES), tx.value(ROOTS)


def test_a_message_costs_no_row_of_state_and_a_state_event_a_few(store: Store) -> None:
    """In a room of 5,000 members. docs/design.md, "Room state", says how many."""
    store.write(found)
    store.write(fill, MEMBERS)
    start = store.read(rows)
    for number in range(MESSAGES):
        store.write(append, "m.room.message", {"msgtype": "m.text", "body": str(number)})
    assert store.read(rows) == start
    most = 0
    for number in range(CHANGES):
        nodes, roots = store.read(rows)
        store.write(append, "org.example.kept", {"number": number}, str(number % 5))
        more_nodes, more_roots = store.read(rows)
        assert more_roots == roots + 1
        most = max(most, more_nodes - nodes)
    assert most <= 4
    for number in range(MESSAGES // 10):
        store.write(append, "m.room.message", {"msgtype": "m.text", "body": str(number)})
    nodes, roots = store.read(rows)
    assert nodes - start[0] <= 4 * CHANGES
    assert roots - start[1] == CHANGES
    assert store.read(lambda tx: tx.value(LARGEST_NODES)) < 1_024
