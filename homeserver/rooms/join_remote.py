"""Entering a room that only other servers are in: what one of them gives of it is weighed, and stored.

The events are stored in parts, in transactions of their own, and mean nothing until the last one makes the room this
server's. Spec: server-server API, "Joining Rooms", and `joins-v2.yaml`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

from homeserver.core.auth_events import CREATE, member_of
from homeserver.core.auth_rules import NotAllowed, auth_state, check_auth_events, check_state
from homeserver.core.errors import InvalidParam
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.server_acl import ServerAcl
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import outliers, predecessors
from homeserver.rooms.auth_chains import check_auth_chain
from homeserver.rooms.event_rows import row_of
from homeserver.rooms.gaps import ROOM
from homeserver.rooms.membership_events import MEMBER
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.storage import (
    auth_edges,
    backward_extremities,
    events,
    history_gaps,
    incoming_pdus,
    memberships,
    notifications,
    partial_joins,
    pending_joins,
    room_servers,
    rooms,
    state,
    stripped_states,
)
from homeserver.storage.memberships import Membership

SERVER_ACL: Final[StateKey] = ("m.room.server_acl", "")

_PLACING = (
    "position",
    "state_root",
    "root_after",
    "generation",
    "is_outbound",
    "status",
    "notify",
    "thread_id",
    "replaces_nid",
)
"""What an outlier gets with its place."""


@attrs.frozen(slots=True)
class Given:
    """What the other server gave, as far as it passed the checks of single PDUs."""

    room_id: RoomID
    join: CheckedPdu
    state: Sequence[CheckedPdu]
    auth_chain: Sequence[CheckedPdu]
    servers: tuple[ServerName, ...] | None = None
    """Those in the room, where the state lacks most members; None where it lacks none."""


@attrs.frozen(slots=True)
class Arrival:
    """A room to be stored: all events, each after those that it cites; and its state before the join."""

    join: CheckedPdu
    create: Event
    pdus: list[CheckedPdu]
    rejected: frozenset[EventID]
    state: dict[StateKey, Event]
    servers: tuple[ServerName, ...] | None = None
    """As in `Given`."""

    @property
    def room_id(self) -> RoomID:
        """The room's ID."""
        return self.join.event.room_id

    def members(self) -> dict[UserID, Event]:
        """The membership events of the state with the join."""
        found = {UserID(key[1]): event for key, event in self.state.items() if key[0] == MEMBER}
        return found | {self.join.event.sender: self.join.event}


@attrs.frozen(slots=True)
class Counts:
    """How many members a room has: joined, invited, and joined by server."""

    joined: int
    invited: int
    by_server: Mapping[ServerName, int]

    @classmethod
    def of(cls, members: Mapping[UserID, Event]) -> "Counts":
        """Count members by their membership events."""
        by_server: dict[ServerName, int] = {}
        invited = 0
        for user_id, event in members.items():
            server_name = server_of(user_id)
            membership = event.content.get("membership")
            invited += membership == "invite"
            if membership == "join" and server_name is not None:
                by_server[server_name] = by_server.get(server_name, 0) + 1
        return cls(sum(by_server.values()), invited, by_server)

    def with_servers(self, servers: Collection[ServerName]) -> "Counts":
        """As far as is known where each of the servers has a member, but not whom."""
        by_server = {**dict.fromkeys(servers, 1), **self.by_server}
        return Counts(sum(by_server.values()), self.invited, by_server)


def weigh(given: Given) -> Arrival:
    """What can be relied on of what was given. Pure; takes about a second for 20,000 events.

    Errors: InvalidParam if that is no room, or the join is not allowed in it.
    """
    pdus = {pdu.event.event_id: pdu for pdu in (*given.auth_chain, *given.state)}
    pdus = {event_id: pdu for event_id, pdu in pdus.items() if pdu.event.room_id == given.room_id}
    pdus.pop(given.join.event.event_id, None)
    chain = check_auth_chain(given.room_id, pdus.values(), {})
    create = chain.create
    if create is None:
        raise InvalidParam("the room has not one create event")
    if create.content.get("room_version", "1") != given.join.event.room_version.identifier:
        raise InvalidParam("the room is of another version than was said")
    allowed = {pdu.event.event_id for pdu in chain.allowed}
    current: dict[StateKey, Event] = {}
    for pdu in given.state:
        event = pdu.event
        if event.event_id not in allowed or not event.is_state:
            continue
        if current.setdefault(event.key, event) != event:
            raise InvalidParam("the state has two events for one entry")
    if current.get(CREATE) != create:
        raise InvalidParam("the state has no create event")
    if given.servers is not None:
        current = _with_cited_members(given.join.event, current, pdus, allowed)
    arrival = Arrival(given.join, create, [*chain.judged], frozenset(chain.rejected), current, given.servers)
    _check_join(arrival, pdus)
    return arrival


def _with_cited_members(
    join: Event,
    current: dict[StateKey, Event],
    pdus: Mapping[EventID, CheckedPdu],
    allowed: Collection[EventID],
) -> dict[StateKey, Event]:
    """The state with the members that the join cites: they are of the state before it, though left out."""
    cited = [pdus[event_id].event for event_id in join.auth_events if event_id in pdus]
    members = {
        event.key: event
        for event in cited
        if event.type == MEMBER and event.is_state and event.event_id in allowed
    }
    return members | current


def _check_join(arrival: Arrival, pdus: Mapping[EventID, CheckedPdu]) -> None:
    """Errors: InvalidParam."""
    join = arrival.join.event
    cited = [
        attrs.evolve(pdus[event_id].event, rejected=event_id in arrival.rejected)
        for event_id in join.auth_events
        if event_id in pdus
    ]
    if len(cited) != len(set(join.auth_events)):
        raise InvalidParam("the auth events of the join are missing")
    try:
        check_auth_events(join, cited, arrival.create, signed_by=arrival.join.signed_by)
        check_state(join, auth_state(cited, arrival.create))
        check_state(join, arrival.state)
    except NotAllowed as error:
        raise InvalidParam(f"the join is not allowed in the room: {error}") from error


def begin(
    tx: WriteTransaction, arrival: Arrival, server_name: ServerName, *, now_ts: int
) -> tuple[int, int] | None:
    """Make a place for the room; gives its number, and the position of the stream.

    None, and nothing is done, if this server, `server_name`, has come into the room in another way meanwhile. What it
    once knew of the users of others, before it was out of the room, is forgotten.
    """
    room = rooms.know_of(
        tx,
        room_nid=tx.new_nid(),
        room_id=arrival.room_id,
        version=arrival.join.event.room_version.identifier,
        creator=arrival.create.sender,
        created_ts=now_ts,
    )
    if room_servers.joined(tx, room.room_nid, server_name):
        return None
    memberships.remove_remote(tx, room.room_nid)
    return room.room_nid, tx.stream_row().position


def store_part(
    tx: WriteTransaction,
    room_id: RoomID,
    room_nid: int,
    pdus: Sequence[CheckedPdu],
    rejected: Collection[EventID],
) -> dict[EventID, int]:
    """Store some of the events, whose auth events are among them or stored; gives their numbers."""
    rooms.lock(tx, room_id)
    state.make_key_nids(tx, {pdu.event.key for pdu in pdus if pdu.event.is_state})
    return outliers.store(tx, room_nid, pdus, rejected=rejected)


def store_members(
    tx: WriteTransaction,
    place: tuple[int, int],
    members: Sequence[Event],
    numbers: Mapping[EventID, int],
    server_name: ServerName,
) -> None:
    """Note the memberships of users of other servers: nobody reads them before the room is this server's.

    `place` is what `begin` gave. If another process has made the room this server's meanwhile, it knows better.
    """
    room_nid, position = place
    if not members or rooms.lock(tx, members[0].room_id) is None:
        return
    if room_servers.joined(tx, room_nid, server_name):
        return
    rows = [
        _membership_row(room_nid, event, numbers[event.event_id], is_local=False) | {"position": position}
        for event in members
        if event.event_id in numbers
    ]
    memberships.put_many(tx, rows)


def store_state(tx: WriteTransaction, room_nid: int, arrival: Arrival, numbers: Mapping[EventID, int]) -> int:
    """Store the state before the join; gives its root."""
    # What is missing was known before as an event of another room: in old room versions IDs are chosen freely.
    whole = {
        key: numbers[event.event_id] for key, event in arrival.state.items() if event.event_id in numbers
    }
    return state.make(tx, room_nid, whole)


def enter(
    tx: WriteTransaction,
    arrival: Arrival,
    root: int,
    numbers: Mapping[EventID, int],
    server_name: ServerName,
    *,
    position: int,
    now_ts: int,
) -> bool:
    """Make the room this server's, with the join as its newest event.

    Where most members are lacking, fetching them is begun; their memberships will count from `position` on.
    False, and nothing is done, if this server, `server_name`, has come into the room in another way meanwhile, or if
    the room has been removed.
    """
    room = rooms.lock(tx, arrival.room_id)
    if room is None or room_servers.joined(tx, room.room_nid, server_name):
        return False
    join, room_nid = arrival.join.event, room.room_nid
    known = events.placed(tx, [join.event_id]).get(join.event_id)
    if known is not None and not (known.is_outlier and known.room_nid == room_nid):
        return False
    # Another process may have got to know it as a part of the room's state.
    event_nid = tx.new_nid() if known is None else known.event_nid
    _take_what_waits(tx, arrival)
    members = arrival.members()
    counts = Counts.of(members)
    if arrival.servers is not None:
        counts = counts.with_servers(arrival.servers)
    room_servers.replace(tx, room_nid, counts.by_server)
    stripped_states.remove_all(tx, room_nid)
    cited = auth_edges.places(tx, join.auth_events)
    auth_edges.add(tx, room_nid, event_nid, cited.values())
    root_after = state.put(tx, room_nid, root, {join.key: event_nid})
    row = _join_row(arrival, room_nid, event_nid, numbers) | {
        "state_root": root,
        "root_after": root_after,
        "generation": auth_edges.generation_above([*cited.values()]),
    }
    local = _changed_local_members(tx, room_nid, members, server_name)
    is_whole = arrival.servers is None
    vanished = memberships.local_outsiders(tx, room_nid, besides=members) if is_whole else []
    missing = _missing_before(tx, join)
    # What happened before is history; if the server was in the room once, that lies between the two times.
    room_before = ROOM if missing and history_gaps.first_position(tx, room_nid) is not None else 0
    numbers = {**numbers, join.event_id: event_nid}
    also: list[tuple[Statement, dict[str, object]]] = [
        (rooms.ARRIVE, _room_row(arrival, room_nid, root_after, counts, server_name)),
        (state.INSERT_ROOT, {"room_nid": room_nid, "state_root": root_after}),
    ]
    also += (
        (memberships.SET, _membership_row(room_nid, event, numbers[event.event_id], is_local=True))
        for event in local.values()
        if event.event_id in numbers
    )
    # Who was told of an invitation that the room knows nothing of is not invited.
    also += ((memberships.SET, _left(room_nid, each)) for each in vanished)
    _note_partial(tx, arrival, room_nid, event_nid, position=position, now_ts=now_ts)
    rows = backward_extremities.rows(room_nid, event_nid, missing, places=room_before)
    also += ((backward_extremities.INSERT, each) for each in rows)
    told = [*local, *(each.user_id for each in vanished)]
    topics = [room_topic(arrival.room_id), *(user_topic(user_id) for user_id in told)]
    if len(told) > 1:
        # The join does not show what has become of the others.
        row["notify"] = notifications.RESETS_STATE
    statement = events.INSERT
    if known is not None:
        statement, row = events.PLACE, {name: row[name] for name in _PLACING} | {"the_event": event_nid}
    tx.publish(statement, kind=Kind.EVENTS, to=topics, also=also, room_before=room_before, **row)
    for user_id, event in local.items():
        if event.content.get("membership") == "join":
            predecessors.follow(tx, user_id, arrival.room_id, arrival.state[CREATE])
    return True


def _take_what_waits(tx: WriteTransaction, arrival: Arrival) -> None:
    """The turn of the events that came while the room was being entered; whom the room excludes has sent none."""
    pending = pending_joins.lock(tx, arrival.room_id)
    pending_joins.remove(tx, arrival.room_id)
    if pending is None or pending.version != arrival.join.event.room_version.identifier:
        incoming_pdus.drop_room(tx, arrival.room_id)
        return
    found = arrival.state.get(SERVER_ACL)
    acl = None if found is None else ServerAcl.of(found.content)
    for origin in incoming_pdus.origins(tx, arrival.room_id):
        if acl is not None and not acl.allows(origin):
            incoming_pdus.drop_of(tx, arrival.room_id, origin)
    incoming_pdus.hasten_all(tx, arrival.room_id, due_ts=0)


def _note_partial(
    tx: WriteTransaction, arrival: Arrival, room_nid: int, join_nid: int, *, position: int, now_ts: int
) -> None:
    """Have the rest of the state fetched, if there is any."""
    partial_joins.end(tx, room_nid, position)
    if arrival.servers is None:
        return
    join = arrival.join.event
    begun = partial_joins.PartialJoin(
        room_nid, arrival.room_id, join_nid, join.event_id, position, arrival.servers, now_ts, 0
    )
    partial_joins.begin(tx, begun, due_ts=now_ts)


def _missing_before(tx: ReadTransaction, join: Event) -> set[EventID]:
    """The events before the join that this server lacks: there history can be fetched."""
    found = events.placed(tx, join.prev_events)
    return set(join.prev_events) - {event_id for event_id, each in found.items() if not each.is_outlier}


def _changed_local_members(
    tx: WriteTransaction, room_nid: int, members: Mapping[UserID, Event], server_name: ServerName
) -> dict[UserID, Event]:
    """The users of this server whose membership is not what it was known to be, the joining one among them."""
    own = {user_id: event for user_id, event in members.items() if server_of(user_id) == server_name}
    before = {user_id: memberships.of(tx, room_nid, user_id) for user_id in own}
    return {
        user_id: event
        for user_id, event in own.items()
        if (known := before[user_id]) is None or known.event_id != event.event_id
    }


def _join_row(
    arrival: Arrival, room_nid: int, event_nid: int, numbers: Mapping[EventID, int]
) -> dict[str, object]:
    join = arrival.join.event
    replaced = arrival.state.get(member_of(join.sender))
    # The other server has sent it on: it is not outbound.
    return row_of(join, event_nid, room_nid, arrival.join.data) | {
        "status": events.ACCEPTED,
        "replaces_nid": None if replaced is None else numbers.get(replaced.event_id),
    }


def _room_row(
    arrival: Arrival, room_nid: int, root: int, counts: Counts, server_name: ServerName
) -> dict[str, object]:
    join = arrival.join.event
    return {
        "the_room": room_nid,
        "version": join.room_version.identifier,
        "creator": arrival.create.sender,
        "state_root": root,
        "forward_extremities": rooms.extremities_json([(join.event_id, join.depth)]),
        "joined_members": counts.joined,
        "invited_members": counts.invited,
        "remote_members": counts.joined - counts.by_server.get(server_name, 0),
        "is_partial": int(arrival.servers is not None),
    }


def _membership_row(room_nid: int, event: Event, event_nid: int, *, is_local: bool) -> dict[str, object]:
    membership = str(event.content.get("membership"))
    return {
        "room_nid": room_nid,
        "user_id": event.state_key,
        "membership": membership,
        "event_nid": event_nid,
        "event_id": event.event_id,
        "sender": event.sender,
        "was_joined": int(membership == "join"),
        "forgotten": 0,
        "is_local": int(is_local),
    }


def _left(room_nid: int, before: Membership) -> dict[str, object]:
    """The row of a user of this server whose invitation or knock has come to nothing."""
    return {
        "room_nid": room_nid,
        "user_id": before.user_id,
        "membership": "leave",
        "event_nid": before.event_nid,
        "event_id": before.event_id,
        "sender": before.sender,
        "was_joined": 0,
        "forgotten": 0,
        "is_local": 1,
    }
