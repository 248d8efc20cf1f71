"""Completing the state of a room that was entered without most of its members.

Once the whole state before the join is stored, all events since are judged anew, in their order, and get the states
that they should have had; then the room's current state, members, servers and extremities follow, in one transaction.
Spec: server-server API, `joins-v2.yaml`, `omit_members`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs
import msgspec

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, ServerName, UserID, server_of
from homeserver.core.room_versions import get_room_version
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import state_at
from homeserver.rooms.event_graph import EventGraph, OwnEvent
from homeserver.rooms.extremities import UNSEEN, advanced
from homeserver.rooms.judge import RoomView, judge_again
from homeserver.rooms.member_rows import left, member_row
from homeserver.rooms.missing import Incomplete
from homeserver.rooms.partial_states import MEMBER
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.storage import (
    events,
    incoming_pdus,
    memberships,
    partial_joins,
    room_servers,
    rooms,
    state,
    sticky_events,
    user_directory_progress,
)
from homeserver.storage.auth_edges import Place
from homeserver.storage.events import SetMembership, StoredEvent
from homeserver.storage.partial_joins import PartialJoin

MOST_LACKING: Final = 0.1
"""The part of the state that may be missing: events whose servers' keys are gone, for the most part."""

EVENTS_AT_ONCE: Final = 50
"""Events that are judged anew in one transaction."""

Extremities = tuple[tuple[EventID, int], ...]


class Whole(msgspec.Struct, frozen=True):
    """The state before the join, key to event number; `members` are those of it.

    `corrected` are the entries that were there before, and are others now.
    """

    join: PartialJoin
    entries: Mapping[StateKey, int]
    members: Mapping[UserID, SetMembership]
    corrected: frozenset[StateKey]


class Redone(msgspec.Struct, frozen=True):
    """The room after its events up to the position `upto`, which have been judged anew; `first` is where it began.

    `own` are these events, `rows` what is to be said of them; with `is_all` there are no more.
    """

    upto: int
    first: int
    root: int
    extremities: Extremities = ()
    own: Mapping[EventID, OwnEvent] = msgspec.field(default_factory=dict)
    rows: Sequence[dict[str, object]] = ()
    is_all: bool = False


def is_wanted(tx: ReadTransaction, join: PartialJoin, server_name: ServerName) -> rooms.Room | None:
    """The room, if this server, `server_name`, still is in it by that join, and its state is not complete."""
    room = rooms.of(tx, join.room_id)
    if room is None or not room.is_partial or room.room_nid != join.room_nid:
        return None
    if partial_joins.underway(tx, room.room_nid) != join.join_nid:
        return None
    return room if room_servers.joined(tx, room.room_nid, server_name) else None


def read_whole(tx: ReadTransaction, join: PartialJoin, state_ids: Sequence[EventID]) -> Whole:
    """The state that consists of these events, which are stored as far as they can be had.

    Errors: Incomplete if it cannot be the state before the join, or too much is lacking.
    """
    room = rooms.of(tx, join.room_id)
    joined = events.of_nids(tx, [join.join_nid]).get(join.join_nid)
    if room is None or joined is None or joined.state_root is None:
        raise Incomplete("the room is gone")
    placed = {
        each.event_nid
        for each in events.placed(tx, set(state_ids)).values()
        if each.room_nid == room.room_nid and each.status != events.REJECTED
    }
    if len(placed) < (1 - MOST_LACKING) * len(set(state_ids)):
        raise Incomplete("too much of the state cannot be had")
    entries: dict[StateKey, int] = {}
    for nid, key in events.keys_of(tx, placed).items():
        if entries.setdefault(key, nid) != nid:
            raise Incomplete("the state has two events for one entry")
    partial = state.whole(tx, joined.state_root)
    if any(key[0] != MEMBER and key not in entries for key in partial):
        raise Incomplete("the state lacks what was there before")
    if entries.get(CREATE) != partial[CREATE]:
        raise Incomplete("the state is of another room")
    _check_join(tx, room, join.join_nid, entries)
    nids = [nid for key, nid in entries.items() if key[0] == MEMBER]
    members = {each.user_id: each for each in events.memberships_set(tx, nids)}
    corrected = frozenset(key for key, nid in partial.items() if entries.get(key) != nid)
    return Whole(join, entries, members, corrected)


def _check_join(
    tx: ReadTransaction, room: rooms.Room, join_nid: int, entries: Mapping[StateKey, int]
) -> None:
    """Errors: Incomplete if the state does not allow the join."""
    version = get_room_version(room.version)
    event = events.parsed(tx, [join_nid], version)[join_nid]
    keys = select_auth_event_keys(event.type, event.sender, event.state_key, event.content, version)
    nids = {key: entries[key] for key in {CREATE, POWER_LEVELS, *keys} if key in entries}
    found = events.parsed(tx, list(nids.values()), version)
    try:
        check_state(event, {key: found[nid] for key, nid in nids.items()})
    except NotAllowed as refusal:
        raise Incomplete(f"the state does not allow the join: {refusal.rule}") from refusal


def store_root(tx: WriteTransaction, whole: Whole) -> Redone:
    """Store the state before the join."""
    root = state.make(tx, whole.join.room_nid, whole.entries)
    return Redone(whole.join.position, root, root)


def store_members(tx: WriteTransaction, join: PartialJoin, members: Sequence[SetMembership]) -> None:
    """Note the memberships of users of other servers, of whom nothing has been heard yet."""
    memberships.add_many(
        tx,
        [member_row(join.room_nid, each, is_local=False) | {"position": join.position} for each in members],
    )


def redo(
    tx: WriteTransaction, whole: Whole, done: Redone, server_name: ServerName, *, most: int = EVENTS_AT_ONCE
) -> Redone | None:
    """Judge the next of the room's events anew. None if that is no longer wanted."""
    room = rooms.lock(tx, whole.join.room_id)
    if room is None or is_wanted(tx, whole.join, server_name) is None:
        return None
    redoing = _Redoing(tx, room, whole, done)
    stored = events.placed_after(tx, room.room_nid, after=done.upto, most=most)
    for each in stored:
        redoing.redo(each)
    upto = stored[-1].position if stored else None
    return redoing.outcome(done.upto if upto is None else upto, is_all=len(stored) < most)


class _Redoing:
    """Judges events anew; what it knows of those before it takes from `done`."""

    def __init__(self, tx: WriteTransaction, room: rooms.Room, whole: Whole, done: Redone) -> None:
        self._tx = tx
        self._room = room
        self._whole = whole
        self._version = get_room_version(room.version)
        self._own = dict(done.own)
        self._rows = list(done.rows)
        self._first = done.first
        self._root = done.root
        self._extremities = list(done.extremities)
        self._graph = EventGraph(tx, room.room_nid, self._version, self._own)

    def outcome(self, upto: int, *, is_all: bool) -> Redone:
        """How far it has got."""
        return Redone(upto, self._first, self._root, tuple(self._extremities), self._own, self._rows, is_all)

    def redo(self, stored: StoredEvent) -> None:
        """Judge one event anew, whose parents have been."""
        tx, room_nid, nid = self._tx, self._room.room_nid, stored.event_nid
        event = events.parsed(tx, [nid], self._version)[nid]
        before, status = self._judged(stored, event)
        after, replaced = before, None
        if event.state_key is not None and status != events.REJECTED:
            replaced = state.get(tx, before, event.key)
            after = state.put(tx, room_nid, before, {event.key: nid})
        self._own[event.event_id] = OwnEvent(
            attrs.evolve(event, rejected=status == events.REJECTED),
            Place(nid, stored.generation or 0),
            after,
            status,
        )
        self._rows.append(
            {
                "the_event": nid,
                "state_root": before,
                "root_after": None if after == before else after,
                "status": status,
                "replaces_nid": replaced,
            }
        )
        if status not in UNSEEN:
            self._advance(event)

    def _judged(self, stored: StoredEvent, event: Event) -> tuple[int, int]:
        """The root of the state before the event, and its status."""
        if stored.event_nid == self._whole.join.join_nid:
            return self._root, stored.status
        view = RoomView(
            self._tx, self._room, self._root, tuple(self._extremities), self._graph, self._version
        )
        judgement = judge_again(view, CheckedPdu(event, b"", frozenset()))
        assert judgement.before is not None  # noqa: S101 - its parents are there
        before = state_at.put(self._tx, self._room.room_nid, judgement.before, judgement.roots)
        return before, stored.status if judgement.verdict.is_accepted else judgement.verdict.status

    def _advance(self, event: Event) -> None:
        """Move the extremities, and the current state with them."""
        superseded = set(event.prev_events)
        level: Collection[EventID] = event.prev_events
        while level:
            unseen = [self._own[each] for each in level if each in self._own]
            level = {
                prev
                for each in unseen
                if each.status in UNSEEN
                for prev in each.event.prev_events
                if prev not in superseded
            }
            superseded |= level
        self._extremities = advanced(self._extremities, event, superseded, is_behind=False)
        roots = {self._own[event_id].root_after for event_id, _ in self._extremities}
        merged = state_at.merge(self._graph, roots)
        self._root = state_at.put(self._tx, self._room.room_nid, merged, roots)


def complete(
    tx: WriteTransaction, whole: Whole, done: Redone, server_name: ServerName, *, now_ts: int
) -> Redone | None:
    """Put everything right, if no more than a few events have come; `is_all` of the result says whether it is done.

    None if it is no longer wanted.
    """
    redone = redo(tx, whole, done, server_name)
    if redone is None or not redone.is_all:
        return redone
    _Completion(tx, whole, redone, server_name).write(now_ts=now_ts)
    return redone


class _Completion:
    """What follows for a room once its events have been judged anew."""

    def __init__(self, tx: WriteTransaction, whole: Whole, redone: Redone, server_name: ServerName) -> None:
        self._tx = tx
        self._whole = whole
        self._redone = redone
        self._server_name = server_name
        self._room_nid = whole.join.room_nid

    def write(self, *, now_ts: int) -> None:
        """Write all of it, and tell who waits."""
        tx, join, redone = self._tx, self._whole.join, self._redone
        heard_of = self._heard_of()
        tx.execute_many(events.REPLACE, redone.rows)
        if unseen := [each.place.event_nid for each in redone.own.values() if each.status in UNSEEN]:
            sticky_events.hide(tx, unseen)
            # What is remembered of an event says whether it was rejected.
            tx.caches.events.drop(unseen)
        changed = _members_among(state.difference(tx, redone.first, redone.root))
        members = self._members(changed)
        counts = self._counts(members)
        own = {user_id for user_id in members if self._is_own(user_id)}
        corrected = {UserID(key[1]) for key in self._whole.corrected if key[0] == MEMBER}
        local = self._put_right(members, heard_of | changed.keys() | corrected | own)
        # Who was told of an invitation that the room knows nothing of is not invited.
        local += (left(each) for each in memberships.local_outsiders(tx, self._room_nid, besides=members))
        self._date_back(members, heard_of)
        user_directory_progress.add_scan(tx, self._room_nid)
        room_servers.replace(tx, self._room_nid, counts)
        incoming_pdus.hasten_all(tx, join.room_id, due_ts=now_ts)
        also: list[tuple[Statement, dict[str, object]]] = [
            (rooms.COMPLETE, self._room_row(members, counts)),
            (partial_joins.COMPLETE, {"the_room": self._room_nid, "the_join": join.join_nid}),
        ]
        also += ((memberships.SET, member_row(self._room_nid, each, is_local=True)) for each in local)
        tx.publish(
            state.INSERT_ROOT,
            # Of a kind that is not kept in memory: whoever waits for the room asks the database.
            kind=Kind.MEMBERSHIPS,
            to=[room_topic(join.room_id), *(user_topic(each.user_id) for each in local)],
            also=also,
            room_nid=self._room_nid,
            state_root=redone.root,
        )

    def _heard_of(self) -> set[UserID]:
        """The users whose membership has changed since the join, as far as that was known."""
        tx, join = self._tx, self._whole.join
        room = rooms.of(tx, join.room_id)
        joined = events.of_nids(tx, [join.join_nid]).get(join.join_nid)
        if room is None or joined is None or joined.state_root is None:
            raise ValueError(f"{join.room_id} has no join")
        return {*_members_among(state.difference(tx, joined.state_root, room.state_root))}

    def _members(self, changed: Mapping[UserID, int | None]) -> dict[UserID, SetMembership]:
        """Whom the current state names."""
        nids = [nid for nid in changed.values() if nid is not None]
        found = {each.event_nid: each for each in events.memberships_set(self._tx, nids)}
        members = dict(self._whole.members)
        for user_id, nid in changed.items():
            if nid is not None and nid in found:
                members[user_id] = found[nid]
            else:
                members.pop(user_id, None)
        return members

    def _counts(self, members: Mapping[UserID, SetMembership]) -> dict[ServerName, int]:
        """How many joined members each server has."""
        found: dict[ServerName, int] = {}
        for user_id, each in members.items():
            server_name = server_of(user_id)
            if each.membership == "join" and server_name is not None:
                found[server_name] = found.get(server_name, 0) + 1
        return found

    def _room_row(
        self, members: Mapping[UserID, SetMembership], counts: Mapping[ServerName, int]
    ) -> dict[str, object]:
        joined = sum(counts.values())
        return {
            "the_room": self._room_nid,
            "state_root": self._redone.root,
            "forward_extremities": rooms.extremities_json(self._redone.extremities),
            "joined_members": joined,
            "invited_members": sum(each.membership == "invite" for each in members.values()),
            "remote_members": joined - counts.get(self._server_name, 0),
        }

    def _put_right(
        self, members: Mapping[UserID, SetMembership], users: Iterable[UserID]
    ) -> list[SetMembership]:
        """Have the rows of these users say what the state says; gives those of this server's users, to be published."""
        local: list[SetMembership] = []
        remote: list[dict[str, object]] = []
        for user_id in sorted(users):
            row = memberships.of(self._tx, self._room_nid, user_id)
            member = members.get(user_id)
            if member is None and row is not None and row.membership != "leave":
                # Where the state has lost all word of somebody, nobody is there.
                member = left(row)
            if member is None or (
                row is not None and (row.event_nid, row.membership) == (member.event_nid, member.membership)
            ):
                continue
            if self._is_own(user_id):
                local.append(member)
            else:
                at = {"position": self._whole.join.position}
                remote.append(member_row(self._room_nid, member, is_local=False) | at)
        if remote:
            memberships.put_many(self._tx, remote)
        return local

    def _date_back(self, members: Mapping[UserID, SetMembership], heard_of: Iterable[UserID]) -> None:
        """Who already was before the join what he is now has been so for longer than this server has known."""
        before = self._whole.members
        for user_id in sorted(heard_of):
            if self._is_own(user_id) or user_id not in members or user_id not in before:
                continue
            if members[user_id].membership == before[user_id].membership:
                memberships.date_back(self._tx, self._room_nid, user_id, self._whole.join.position)

    def _is_own(self, user_id: UserID) -> bool:
        return server_of(user_id) == self._server_name


def _members_among(
    difference: Mapping[StateKey, tuple[int | None, int | None]],
) -> dict[UserID, int | None]:
    return {UserID(key[1]): pair[1] for key, pair in difference.items() if key[0] == MEMBER}
