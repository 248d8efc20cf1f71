"""Entering a room that only other servers are in: what one of them gives of it, once weighed, is stored.

The events are stored in parts, in transactions of their own, and mean nothing until the last one makes the room this
server's. Spec: server-server API, "Joining Rooms", and `joins-v2.yaml`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from homeserver.core.auth_events import CREATE, member_of
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.server_acl import ServerAcl
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import outliers, predecessors
from homeserver.rooms.arrivals import Arrival, Counts
from homeserver.rooms.event_rows import placing, row_of
from homeserver.rooms.gaps import ROOM
from homeserver.rooms.member_rows import left, member_row, set_by
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
    room_purges,
    room_servers,
    rooms,
    state,
    stripped_states,
    user_directory_progress,
)

SERVER_ACL: Final[StateKey] = ("m.room.server_acl", "")

LEFT_OVER_MS: Final = 3_600_000
"""For so long what is left of a join that was broken off is kept: mostly it is tried again."""


def begin(
    tx: WriteTransaction, arrival: Arrival, server_name: ServerName, *, now_ts: int
) -> tuple[int, int] | None:
    """Make a place for the room; gives its number, and the position of the stream.

    None, and nothing is done, if this server, `server_name`, has come into the room in another way meanwhile. What it
    once knew of the users of others, before it was out of the room, is forgotten. Should the room not be entered after
    all, what is stored of it is removed some time later, unless a user of this server remembers it.
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
    if not memberships.is_remembered(tx, room.room_nid):
        room_purges.add(tx, room.room_nid, arrival.room_id, due_ts=now_ts + LEFT_OVER_MS)
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
        _row(room_nid, event, numbers, is_local=False) | {"position": position}
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
        (memberships.SET, _row(room_nid, event, numbers, is_local=True))
        for event in local.values()
        if event.event_id in numbers
    )
    # Who was told of an invitation that the room knows nothing of is not invited.
    also += ((memberships.SET, member_row(room_nid, left(each), is_local=True)) for each in vanished)
    _note_partial(tx, arrival, room_nid, event_nid, position=position, now_ts=now_ts)
    user_directory_progress.add_scan(tx, room_nid)
    rows = backward_extremities.rows(room_nid, event_nid, missing, places=room_before)
    also += ((backward_extremities.INSERT, each) for each in rows)
    told = [*local, *(each.user_id for each in vanished)]
    topics = [room_topic(arrival.room_id), *(user_topic(user_id) for user_id in told)]
    if len(told) > 1:
        # The join does not show what has become of the others.
        row["notify"] = notifications.RESETS_STATE
    statement = events.INSERT
    if known is not None:
        statement, row = events.PLACE, placing(row)
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


def _row(room_nid: int, event: Event, numbers: Mapping[EventID, int], *, is_local: bool) -> dict[str, object]:
    """The row of a member."""
    member = set_by(event, numbers[event.event_id], UserID(event.state_key or ""))
    return member_row(room_nid, member, is_local=is_local)
