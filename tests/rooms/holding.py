"""A server that holds a room of others, without the network: transactions on a database, one at a time."""

import contextlib
from collections.abc import Iterable, Iterator

import attrs

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, ServerName, server_of
from homeserver.core.power_levels import PowerLevels
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.judge import Judgement, Lacking, RoomView, Verdict, judge
from homeserver.rooms.new_events import Arrived, NewEvent
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.persist import persist, take_at_once
from homeserver.rooms.room_changes import RoomChanges
from homeserver.storage import events, memberships, room_servers, rooms, state
from tests.rooms.signed_rooms import SignedRoom
from tests.storage.store import Store

US = ServerName("a.example")
"""The server of Alice."""

NOW_TS = 2_000_000_000_000


def enter(tx: WriteTransaction, room: SignedRoom, linear: Iterable[Event], *, us: ServerName = US) -> None:
    """Hold a room from its create event on, by events each of which has the one before as its only parent."""
    first, *others = linear
    bare = rooms.Room(
        tx.new_nid(), room.room_id, room.version.identifier, 0, (), 0, 0, 0, 0, 0, is_public=False
    )
    rooms.add(
        tx,
        room_nid=bare.room_nid,
        room_id=room.room_id,
        version=room.version.identifier,
        creator=first.sender,
        created_ts=0,
    )
    changes = RoomChanges(tx, bare, us)
    for event in (first, *others):
        (pdu,) = room.checked_at_once(event)
        changes.store(
            NewEvent(
                event,
                tx.new_nid(),
                pdu.data,
                changes.root,
                PowerLevels.of(None, first),
                arrived=Arrived(frozenset(event.prev_events)),
            )
        )
    changes.publish()


def receive(tx: WriteTransaction, pdu: CheckedPdu, *, us: ServerName = US) -> Verdict | Lacking:
    """Judge and store an event, at once if possible.

    An event that is rejected though its parents are missing is stored, but Lacking: it has no place yet.
    """
    room = rooms.lock(tx, pdu.event.room_id)
    assert room is not None
    changes = RoomChanges(tx, room, us)
    verdict = take_at_once(changes, pdu, received_ts=NOW_TS)
    if verdict is None:
        judgement = judge(RoomView.of(tx, room), pdu)
        if not isinstance(judgement, Judgement):
            return judgement
        verdict = persist(changes, pdu, judgement, is_outbound=False, received_ts=NOW_TS)
    changes.publish()
    stored = events.placed(tx, [pdu.event.event_id]).get(pdu.event.event_id)
    if stored is not None and stored.is_outlier:
        return Lacking(frozenset(pdu.event.prev_events), frozenset())
    return verdict


@attrs.frozen
class Held:
    """What a server holds of a room, by IDs."""

    state: dict[StateKey, EventID]
    statuses: dict[EventID, int]
    extremities: set[EventID]
    befores: dict[EventID, dict[StateKey, EventID]]
    members: dict[str, str]
    counts: tuple[int, int, int]
    servers: dict[ServerName, int]


def held(tx: ReadTransaction, room: SignedRoom) -> Held:
    """Read all of it."""
    row = rooms.of(tx, room.room_id)
    assert row is not None
    found = events.of_ids(tx, room.events)
    users = {event.state_key for event in room.events.values() if event.type == "m.room.member"}
    rows = {user: memberships.of(tx, row.room_nid, user) for user in users if user is not None}
    return Held(
        ids(tx, row.state_root),
        {event_id: stored.status for event_id, stored in found.items()},
        {event_id for event_id, _ in row.extremities},
        {
            event_id: ids(tx, stored.state_root)
            for event_id, stored in found.items()
            if stored.state_root is not None
        },
        {user: member.membership for user, member in rows.items() if member is not None},
        (row.joined_members, row.invited_members, row.remote_members),
        room_servers.of_room(tx, row.room_nid),
    )


def ids(tx: ReadTransaction, root: int) -> dict[StateKey, EventID]:
    """A whole state."""
    whole = state.whole(tx, root)
    names = events.ids_of(tx, whole.values())
    return {key: names[nid] for key, nid in whole.items()}


def members_by_state(room: SignedRoom, found: Held) -> dict[str, str]:
    """The memberships that the state names, as they should stand in the rows."""
    return {
        key[1]: str(room.events[event_id].content["membership"])
        for key, event_id in found.state.items()
        if key[0] == "m.room.member"
    }


def check_rows(room: SignedRoom, found: Held, *, us: ServerName = US) -> None:
    """Rows and counts say what the state says."""
    expected = members_by_state(room, found)
    assert {user: each for user, each in found.members.items() if user in expected} == expected
    assert {each for user, each in found.members.items() if user not in expected} <= {"leave"}
    joined = [user for user, each in expected.items() if each == "join"]
    servers = [server_of(user) for user in joined]  # type: ignore[arg-type]  # they are user IDs
    remote = sum(server != us for server in servers)
    invited = sum(each == "invite" for each in expected.values())
    assert found.counts == (len(joined), invited, remote)
    assert found.servers == {server: servers.count(server) for server in servers if server is not None}


@contextlib.contextmanager
def checking(store: Store, room: SignedRoom, *, us: ServerName = US) -> Iterator[None]:
    """The rows must be right afterwards."""
    yield
    check_rows(room, store.read(held, room), us=us)
