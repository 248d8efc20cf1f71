"""What one transaction changes about one locked room: events are stored, and what follows from them is noted.

Everybody's events come through here, those of this server's users and those of others. Several events may be stored
in one go; published rows cannot be read back in their own transaction, so what the first of them change is carried
in memory.
"""

from collections.abc import Collection, Iterable

import attrs
import msgspec

from homeserver.core.auth_events import CREATE
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.room_activity import BUMPING
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.sticky_events import KEY as STICKY
from homeserver.core.topics import OUTBOX, room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import predecessors, redactions, relations, state_at
from homeserver.rooms.event_graph import EventGraph, OwnEvent
from homeserver.rooms.event_rows import placing, row_of
from homeserver.rooms.extremities import UNSEEN, advanced
from homeserver.rooms.gaps import ROOM, known_gap
from homeserver.rooms.member_counts import MEMBER, Difference, MemberCounts
from homeserver.rooms.new_events import NewEvent
from homeserver.rooms.notify import notifications_of
from homeserver.rooms.sticky_events import Sticking
from homeserver.rooms.threads import thread_in
from homeserver.rooms.unseen_absences import doubt_devices, may_have_left
from homeserver.storage import (
    auth_edges,
    backward_extremities,
    events,
    history_gaps,
    notifications,
    pending_redactions,
    rooms,
    state,
    sticky_events,
)
from homeserver.storage.auth_edges import Place
from homeserver.storage.redactions import NOTICE


class _Publication(msgspec.Struct):
    """A row that waits to be published with the others of its transaction."""

    statement: Statement
    params: dict[str, object]
    also: list[tuple[Statement, dict[str, object]]]
    topics: list[str]
    room_before: int = 0
    kind: Kind | tuple[Kind, ...] = Kind.EVENTS


class RoomChanges:
    """Stores events in one locked room; `publish` when all are there."""

    def __init__(self, tx: WriteTransaction, room: rooms.Room, server_name: ServerName) -> None:
        self.tx = tx
        self.room = room
        self.version: RoomVersion = get_room_version(room.version)
        self.root = room.state_root
        self.extremities = list(room.extremities)
        self.members = MemberCounts(
            server_name, room.joined_members, room.invited_members, room.remote_members
        )
        self.own: dict[EventID, OwnEvent] = {}
        self._own_by_nid: dict[int, Event] = {}
        self._publications: dict[EventID, _Publication] = {}
        self._related: dict[EventID, list[relations.Write]] = {}
        self._doubted: set[UserID] = set()
        self._sticking = Sticking(tx, room.room_nid, server_name)

    def found(self, room_id: RoomID) -> None:
        """The room that the first event has made has this ID."""
        self.room = attrs.evolve(self.room, room_id=room_id)

    @property
    def graph(self) -> EventGraph:
        """The room's events, those stored here among them."""
        return EventGraph(self.tx, self.room.room_nid, self.version, self.own)

    def state_events(self, keys: Iterable[StateKey], root: int | None = None) -> dict[StateKey, Event]:
        """What a state, the current one if no root is given, has for those of `keys` that it holds."""
        nids = state.get_many(self.tx, self.root if root is None else root, keys)
        found = self._events(nids.values())
        return {key: found[nid] for key, nid in nids.items()}

    def store(self, new: NewEvent) -> None:
        """Store an event, after those that it names as parents."""
        event, before, remote_before = new.event, self.root, self.members.remote
        row = row_of(event, new.event_nid, self.room.room_nid, new.pdu) | {
            "state_root": new.before,
            "status": new.status,
            "is_outbound": int(new.is_outbound),
            "device_id": new.device_id,
            "txn_id": new.txn_id,
        }
        if event.state_key is not None:
            self._change_state(new, row)
        self._note_own(new, row)
        children: list[int] = []
        if new.arrived is not None:
            # Those that have named it as a parent before it came.
            children = backward_extremities.children(self.tx, self.room.room_nid, event.event_id)
        if not new.is_unseen:
            self._advance(new, children)
        difference = self._difference(before, new)
        publication = _Publication(events.INSERT, row, [], [room_topic(event.room_id)])
        self._follow(difference, publication)
        if new.arrived is None:
            row["is_outbound"] = int(self._is_outbound(event, remote_before))
        if row["is_outbound"]:
            publication.topics.append(OUTBOX)
        if event.redacts is not None and not new.is_unseen:
            self._redact(new, event.redacts, row)
        shown = self._settle(new, children, row) if new.arrived is not None else []
        if row["status"] == events.ACCEPTED:
            row["thread_id"] = thread_in(self.tx, self.room.room_nid, event, self.own)
            if row["redacted_by"] is None:
                self._notify(new, publication)
                self._relate(event)
        if any(pair[1] != new.event_nid for pair in difference.values()):
            row["notify"] = _integer(row["notify"]) | notifications.RESETS_STATE
        self._stick(new, publication)
        self._insert(new, publication, has_news=bool(difference))
        self._publications |= dict(shown)

    def publish(self) -> None:
        """Queue everything for the stream. Nothing may be stored afterwards."""
        extremities = rooms.extremities_json(self.extremities)
        if not self._publications:
            if self.extremities != list(self.room.extremities):
                rooms.set_extremities(self.tx, self.room.room_nid, extremities)
            return
        doubt_devices(self.tx, self._doubted)
        *_, last = self._publications.values()
        update: dict[str, object] = {
            "the_room": self.room.room_nid,
            "state_root": self.root,
            "forward_extremities": extremities,
            "joined_members": self.members.joined,
            "invited_members": self.members.invited,
            "remote_members": self.members.remote,
        }
        update["bumps"] = int(any(_is_activity(each.params) for each in self._publications.values()))
        state_changed = self.root != self.room.state_root
        last.also.append((rooms.ADVANCE_STATE if state_changed else rooms.ADVANCE, update))
        for event_id, each in self._publications.items():
            self.tx.publish(
                each.statement,
                kind=each.kind,
                to=each.topics,
                also=[*each.also, *self._related.get(event_id, ())],
                room_before=each.room_before,
                **each.params,
            )

    def _events(self, event_nids: Collection[int]) -> dict[int, Event]:
        own = self._own_by_nid
        stored = events.parsed(self.tx, [nid for nid in event_nids if nid not in own], self.version)
        return {nid: own[nid] if nid in own else stored[nid] for nid in event_nids}

    def _change_state(self, new: NewEvent, row: dict[str, object]) -> None:
        """Put the event into the state after it and into the graph of auth events."""
        tx, event = self.tx, new.event
        if new.status != events.REJECTED:
            row["replaces_nid"] = state.get(tx, new.before, event.key)
            row["root_after"] = state.put(tx, self.room.room_nid, new.before, {event.key: new.event_nid})
        cited = list(self.graph.places(event.auth_events).values())
        row["generation"] = auth_edges.generation_above(cited)
        auth_edges.add(tx, self.room.room_nid, new.event_nid, cited)

    def _note_own(self, new: NewEvent, row: dict[str, object]) -> None:
        event, root_after = new.event, row["root_after"]
        if new.status == events.REJECTED:
            event = attrs.evolve(event, rejected=True)
        self.own[event.event_id] = OwnEvent(
            event,
            Place(new.event_nid, _integer(row["generation"] or 0)),
            new.before if root_after is None else _integer(root_after),
            new.status,
        )
        self._own_by_nid[new.event_nid] = event

    def _advance(self, new: NewEvent, children: Collection[int]) -> None:
        """Move the extremities, and the current state with them."""
        event = new.event
        superseded: Collection[EventID] = event.prev_events
        if new.arrived is not None:
            superseded = new.arrived.superseded
        behind = any(status not in UNSEEN for status in children)
        self.extremities = advanced(self.extremities, event, superseded, is_behind=behind)
        self.root = self.root_after([event_id for event_id, _ in self.extremities])

    def root_after(self, event_ids: Collection[EventID]) -> int:
        """The state that the states after these events come down to."""
        if len(event_ids) == 1 and (own := self.own.get(next(iter(event_ids)))) is not None:
            # Nearly always.
            return own.root_after
        roots = {self.own[event_id].root_after for event_id in event_ids if event_id in self.own}
        if stored := [event_id for event_id in event_ids if event_id not in self.own]:
            roots |= {placed.after for placed in events.placed(self.tx, stored).values()}
        merged = state_at.merge(self.graph, roots)
        return state_at.put(self.tx, self.room.room_nid, merged, roots)

    def _difference(self, before: int, new: NewEvent) -> Difference:
        """What has changed of the current state with the event."""
        if self.root == before:
            return {}
        own = self.own[new.event.event_id]
        if new.before == before and own.root_after == self.root and new.event.state_key is not None:
            # Nearly always.
            return {new.event.key: (state.get(self.tx, before, new.event.key), new.event_nid)}
        return state.difference(self.tx, before, self.root)

    def _follow(self, difference: Difference, publication: _Publication) -> None:
        """Note what follows from a change of the current state."""
        if not difference:
            return
        room_nid = self.room.room_nid
        publication.also.append((state.INSERT_ROOT, {"room_nid": room_nid, "state_root": self.root}))
        nids = {
            nid for key, pair in difference.items() if key[0] == MEMBER for nid in pair if nid is not None
        }
        members = self._events(nids)
        for user_id, noted in self.members.follow(self.tx, room_nid, difference, members):
            publication.also.append(noted)
            publication.topics.append(user_topic(user_id))
            old_nid, new_nid = difference[MEMBER, user_id]
            if new_nid is not None and server_of(user_id) == self.members.server_name:
                was = None if old_nid is None else members[old_nid].content.get("membership")
                if was != "join" and members[new_nid].content.get("membership") == "join":
                    self._welcome(user_id)
            elif old_nid and new_nid and may_have_left(members[old_nid], members[new_nid]):
                self._doubted.add(user_id)

    def _welcome(self, user_id: UserID) -> None:
        """A user of this server has come into the room."""
        create = self.state_events((CREATE,)).get(CREATE)
        if create is not None:
            predecessors.follow(self.tx, user_id, self.room.room_id, create)

    def _redact(self, new: NewEvent, target_id: EventID, row: dict[str, object]) -> None:
        """Let a redaction take effect, or hide it until it can, or for good."""
        tx = self.tx
        waiting = self._publications.get(target_id)
        if waiting is not None and waiting.statement is not events.INSERT:
            # Its row is there.
            waiting = None
        stored = None if waiting is not None else events.of(tx, target_id)
        if waiting is not None:
            target = self.own[target_id].event
        elif stored is not None and stored.room_nid == self.room.room_nid:
            target = events.parsed(tx, [stored.event_nid], self.version)[stored.event_nid]
        else:
            row["status"] = events.HIDDEN
            if stored is None:
                pending_redactions.add(tx, self.room.room_nid, target_id, new.event_nid)
            return
        if new.arrived is not None and not redactions.may_redact(new.event, target, new.levels):
            row["status"] = events.HIDDEN
            return
        self._related.pop(target_id, None)
        self._unstick(target_id)
        self._keep_quiet(target_id)
        if waiting is not None:
            _put_redacted(waiting.params, target, new.event.event_id)
        elif stored is not None and stored.redacted_by is None:
            redactions.apply(tx, target, stored.event_nid, self.room.room_nid, new.event.event_id)

    def _settle(
        self, new: NewEvent, children: Collection[int], row: dict[str, object]
    ) -> list[tuple[EventID, _Publication]]:
        """Let what waited for the event take effect; gives the redactions that are shown now."""
        room_nid, event = self.room.room_nid, new.event
        if children:
            backward_extremities.remove(self.tx, room_nid, event.event_id)
        row["aggregates"] = relations.aggregates_of(self.tx, room_nid, [event.event_id]).get(
            event.event_id, 0
        )
        if new.status == events.REJECTED:
            return []
        waiting = redactions.waiting_for(self.tx, room_nid, event, self.version)
        if not waiting:
            return []
        pending_redactions.remove(self.tx, room_nid, event.event_id)
        _put_redacted(row, event, waiting[0][1].event_id)
        for _, redaction in waiting:
            self._relate(redaction)
        return [
            (
                redaction.event_id,
                _Publication(events.SHOW, {"the_event": nid}, [], [room_topic(event.room_id)]),
            )
            for nid, redaction in waiting
        ]

    def _note_missing(self, new: NewEvent, missing: Collection[EventID], publication: _Publication) -> None:
        """Remember the parents that this server lacks: in a gap that there is already, or in one before the event."""
        room_nid = self.room.room_nid
        gap = known_gap(self.tx, room_nid, new.event, missing)
        if gap is not None:
            places = history_gaps.places(self.tx, room_nid, gap) or 0
            backward_extremities.add(self.tx, room_nid, new.event_nid, missing, position=gap, places=places)
            return
        rows = backward_extremities.rows(room_nid, new.event_nid, missing, places=ROOM)
        publication.also += ((backward_extremities.INSERT, row) for row in rows)
        publication.room_before = ROOM
        row = publication.params
        row["notify"] = _integer(row["notify"]) | events.FOLLOWS_GAP

    def _is_outbound(self, event: Event, remote_before: int) -> bool:
        """Whether other servers are to be sent the event: those in the room, and the one whose user it is about."""
        if remote_before or self.members.remote:
            return True
        if event.type != MEMBER or event.state_key is None:
            return False
        return server_of(UserID(event.state_key)) != self.members.server_name

    def _relate(self, event: Event) -> None:
        """Note what is to be written with an event if it relates to another."""
        if "m.relates_to" in event.content:
            self._related[event.event_id] = relations.writes(event, self.room.room_nid)

    def _notify(self, new: NewEvent, publication: _Publication) -> None:
        """Evaluate push rules for the members of this server."""
        room_nid = self.room.room_nid
        notify = notifications_of(
            self.tx, new.event, room_nid, self.members.joined, new.levels, self.state_events
        )
        bits = notify.ordinary | (notifications.HAS_EXCEPTIONS if notify.exceptions else 0)
        publication.params["notify"] = bits
        publication.also += notifications.exceptions_rows(room_nid, notify.exceptions)

    def _keep_quiet(self, event_id: EventID) -> None:
        """An event that is about to be published, if it is, notifies nobody."""
        publication = self._publications.get(event_id)
        if publication is not None and "notify" in publication.params:
            notify = _integer(publication.params["notify"])
            publication.params["notify"] = notify & ~NOTICE
            publication.also = [pair for pair in publication.also if pair[0] is not notifications.INSERT]

    def _stick(self, new: NewEvent, publication: _Publication) -> None:
        """Have the event stick, if it is to."""
        row = publication.params
        if STICKY not in new.event.pdu or row["redacted_by"] is not None:
            return
        written = self._sticking.stick(new, _integer(row["status"]), self.root)
        if written is not None:
            publication.also.append(written)
            publication.kind = (Kind.EVENTS, Kind.STICKY_EVENTS)

    def _unstick(self, event_id: EventID) -> None:
        """An event that is about to be published, if it is, does not stick."""
        publication = self._publications.get(event_id)
        if publication is not None and STICKY in self.own[event_id].event.pdu:
            sticky_events.remove(self.tx, [self.own[event_id].place.event_nid])
            publication.also = [pair for pair in publication.also if pair[0] is not sticky_events.INSERT]
            publication.kind = Kind.EVENTS

    def _insert(self, new: NewEvent, publication: _Publication, *, has_news: bool) -> None:
        """Write the row: with a position, if there is anything to tell of it."""
        if new.arrived is not None and new.arrived.missing:
            self._note_missing(new, new.arrived.missing, publication)
        row = publication.params
        is_stored = new.arrived is not None and new.arrived.is_stored
        if is_stored:
            if row["redacted_by"] is not None:
                redaction_id = EventID(str(row["redacted_by"]))
                redactions.apply(self.tx, new.event, new.event_nid, self.room.room_nid, redaction_id)
            relations.mark(self.tx, self.room.room_nid, new.event.event_id, _integer(row["aggregates"]))
            publication.statement = events.PLACE
            publication.params = placing(row)
        if row["status"] == events.ACCEPTED or row["is_outbound"] or has_news or publication.room_before:
            self._publications[new.event.event_id] = publication
        else:
            self.tx.execute(publication.statement, **publication.params)


def _is_activity(row: dict[str, object]) -> bool:
    """Whether a new event moves its room to the top for clients that sort by activity."""
    return row.get("type") in BUMPING and row["status"] == events.ACCEPTED


def _put_redacted(row: dict[str, object], target: Event, redaction_id: EventID) -> None:
    """Have the row say only what redaction leaves of the event, unless it has been redacted before."""
    if row.get("redacted_by") is None:
        row["pdu"] = redactions.redacted(target)
        row["redacted_by"] = redaction_id


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value
