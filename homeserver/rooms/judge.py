"""Judging an event that another server has sent, by what this server holds of the room.

Spec: server-server API, "Checks performed on receipt of a PDU", 4 to 6, "Rejection" and "Soft failure".
"""

from collections.abc import Collection, Mapping

import msgspec

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, auth_state, check_auth_events, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.policy_servers import POLICY, PolicyServer, is_asked_about
from homeserver.core.power_levels import PowerLevels
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms import policies, state_at
from homeserver.rooms.event_graph import EventGraph
from homeserver.rooms.extremities import superseded_by
from homeserver.rooms.new_events import Arrived
from homeserver.rooms.partial_states import completed
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.room_changes import RoomChanges
from homeserver.rooms.state_at import State
from homeserver.rooms.stated_levels import levels_of
from homeserver.storage import events, rooms
from homeserver.storage.events import Placed


class Verdict(msgspec.Struct, frozen=True):
    """What has become of an event: ACCEPTED, REJECTED or SOFT_FAILED of `storage.events`, and why, if not the first.

    What was known before has the status that it got then; OUTLIER if it only ever was part of a state.
    """

    status: int
    reason: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the event is part of the room and shown."""
        return self.status == events.ACCEPTED


class Lacking(msgspec.Struct, frozen=True):
    """What this server must have before it can judge an event: its parents, or the events that it cites."""

    prev_events: frozenset[EventID]
    auth_events: frozenset[EventID]


class Judgement(msgspec.Struct, frozen=True):
    """An event judged, and how it is to be stored: after `before`, the state that the states `roots` come down to.

    `before` is None for an event that has no place: it was rejected before its parents were known.
    """

    verdict: Verdict
    before: State | None = None
    roots: frozenset[int] = frozenset()
    levels: PowerLevels | None = None
    arrived: Arrived = msgspec.field(default_factory=lambda: Arrived(frozenset()))
    event_nid: int | None = None


class NotAtOnce(Exception):  # noqa: N818 - a signal between a transaction function and what it calls
    """States have to be resolved, and there is no time for it here; or more of the room's state must be known first."""


class RoomView(msgspec.Struct, frozen=True):
    """A room as a transaction sees it: its row, or what changes about it have made of it.

    Without `may_resolve`, states whose resolution is not known yet are not resolved. With `is_partial` the room's
    state lacks members: what an event cites of them counts, and only what can be accepted is judged at all.
    """

    tx: ReadTransaction
    room: rooms.Room
    root: int
    extremities: Collection[tuple[EventID, int]]
    graph: EventGraph
    version: RoomVersion
    may_resolve: bool = True
    is_partial: bool = False

    @classmethod
    def of(cls, tx: ReadTransaction, room: rooms.Room) -> "RoomView":
        """The room as its row stands."""
        version = get_room_version(room.version)
        return cls(
            tx,
            room,
            room.state_root,
            room.extremities,
            EventGraph(tx, room.room_nid, version),
            version,
            is_partial=room.is_partial,
        )

    @classmethod
    def within(cls, changes: RoomChanges) -> "RoomView":
        """The room with what is being changed about it."""
        return cls(
            changes.tx,
            changes.room,
            changes.root,
            changes.extremities,
            changes.graph,
            changes.version,
            is_partial=changes.room.is_partial,
        )

    def merge(self, roots: Collection[int]) -> State:
        """The state that these come down to. Errors: NotAtOnce."""
        if self.is_partial and len(set(roots)) > 1:
            # What states that lack members come down to is not what the whole ones do.
            raise NotAtOnce
        if self.may_resolve:
            return state_at.merge(self.graph, roots)
        found = state_at.remembered(self.tx, roots)
        if found is None:
            raise NotAtOnce
        return found

    def policy_server_for(self, event: Event) -> PolicyServer | None:
        """The policy server that is to be asked about the event; None if there is none, or it has signed the event."""
        if not is_asked_about(event.type, event.state_key):
            return None
        named = self.events_in(State(self.root), [POLICY]).get(POLICY)
        policy_server = policies.named_by(self.tx, self.room.room_nid, named)
        if policy_server is None or policy_server.recommends(event.pdu, self.version):
            return None
        return policy_server

    def events_in(self, found: State, keys: Collection[StateKey]) -> dict[StateKey, Event]:
        """The events that a state has for those of `keys` that it holds."""
        nids = found.nids(self.tx, keys)
        by_nid = self.graph.by_nids(list(nids.values()))
        return {key: by_nid[nid] for key, nid in nids.items()}


def judge(
    view: RoomView, pdu: CheckedPdu, assumed: Mapping[EventID, int] | None = None
) -> Judgement | Lacking | Verdict:
    """Judge an event; what is known already is not judged again.

    `assumed` has the roots of the states after those parents that this server lacks.
    Errors: NotAtOnce; KeyError if the room's events are not complete.
    """
    event, own = pdu.event, view.graph.own
    placed = events.placed(view.tx, {event.event_id, *event.prev_events, *event.auth_events} - own.keys())
    if (verdict := _known(view, event, placed)) is not None:
        return verdict
    lacking = _lacking(event, placed, own, assumed or {})
    if lacking.auth_events:
        return lacking
    view.graph.learn(placed.values())
    cited = _cited(view, event)
    refusal = _refusal_by_citations(view, pdu, cited)
    if view.is_partial and (refusal is not None or event.redacts is not None):
        # It is stored when it can be given its final place: until then all that is stored is shown.
        raise NotAtOnce
    if not lacking.prev_events:
        return _placed(view, pdu, placed, assumed or {}, cited, refusal)
    return lacking if refusal is None else Judgement(Verdict(events.REJECTED, refusal))


def judge_again(view: RoomView, pdu: CheckedPdu) -> Judgement:
    """Judge an event that is stored, whose parents `view.graph.own` may say more of than the database does.

    Its auth events have allowed it. Errors: KeyError if the room's events are not complete.
    """
    event, own = pdu.event, view.graph.own
    placed = events.placed(view.tx, {*event.prev_events, *event.auth_events} - own.keys())
    view.graph.learn(placed.values())
    return _placed(view, pdu, placed, {}, _cited(view, event), None)


def _known(view: RoomView, event: Event, placed: Mapping[EventID, Placed]) -> Verdict | None:
    """What became of the event before, if it has a place already."""
    if (own := view.graph.own.get(event.event_id)) is not None:
        return Verdict(own.status)
    known = placed.get(event.event_id)
    if known is None:
        return None
    if known.room_nid != view.room.room_nid:
        return Verdict(events.REJECTED, "another room has an event of this ID")
    return None if known.is_outlier else Verdict(known.status)


def _lacking(
    event: Event,
    placed: Mapping[EventID, Placed],
    own: Collection[EventID],
    assumed: Collection[EventID],
) -> Lacking:
    prev_events = {
        each
        for each in event.prev_events
        if each not in own and each not in assumed and (each not in placed or placed[each].is_outlier)
    }
    auth_events = {each for each in event.auth_events if each not in own and each not in placed}
    return Lacking(frozenset(prev_events), frozenset(auth_events))


def _cited(view: RoomView, event: Event) -> dict[EventID, Event]:
    """The events that it cites, all of which are there, and the create event if citing it is implied."""
    found = view.graph.fetch(event.auth_events)
    if event.room_version.room_id_is_create_hash:
        found |= {create.event_id: create for create in view.events_in(State(view.root), [CREATE]).values()}
    return found


def _refusal_by_citations(view: RoomView, pdu: CheckedPdu, cited: Mapping[EventID, Event]) -> str | None:
    """The rule by which the events that it cites do not allow the event, if there is one."""
    event = pdu.event
    create = view.events_in(State(view.root), [CREATE]).get(CREATE)
    if create is None:
        return "The room has a create event"
    named = [cited[event_id] for event_id in dict.fromkeys(event.auth_events)]
    try:
        check_auth_events(event, named, create, signed_by=pdu.signed_by)
    except NotAllowed as refusal:
        return refusal.rule
    found = auth_state(named, create)
    return _refusal(event, found, levels_of(view.tx, found.get(POWER_LEVELS), found[CREATE]))


def _placed(
    view: RoomView,
    pdu: CheckedPdu,
    placed: Mapping[EventID, Placed],
    assumed: Mapping[EventID, int],
    cited: Mapping[EventID, Event],
    refusal: str | None,
) -> Judgement:
    """Judge an event all of whose parents are there; `refusal` is what its auth events say against it."""
    event, own = pdu.event, view.graph.own
    parents = {each: placed[each] for each in event.prev_events if each in placed and each not in assumed}
    roots = {parent.after for parent in parents.values()}
    roots |= {own[each].root_after for each in event.prev_events if each in own}
    roots |= {assumed[each] for each in event.prev_events if each in assumed}
    before = view.merge(roots)
    keys = select_auth_event_keys(event.type, event.sender, event.state_key, event.content, view.version)
    needed = {CREATE, POWER_LEVELS, *keys}
    state_before = _known_of(view, before, needed, cited)
    levels = None
    if CREATE in state_before:
        levels = levels_of(view.tx, state_before.get(POWER_LEVELS), state_before[CREATE])
    verdict = None if refusal is None else Verdict(events.REJECTED, refusal)
    if verdict is None and any(parent.room_nid != view.room.room_nid for parent in parents.values()):
        verdict = Verdict(events.REJECTED, "prev_events are of the same room")
    # Nearly always an event cites just what the state before it has: then it has been checked against that.
    is_checked = {found.event_id for found in state_before.values()} == cited.keys()
    if verdict is None and not is_checked and (rule := _refusal(event, state_before, levels)) is not None:
        verdict = Verdict(events.REJECTED, rule)
    if verdict is None and not before.is_root(view.root):
        # Across a gap, what this server takes for the current state may be old; what is told of the state after the
        # gap may be forged. Both together are to allow the event.
        now = view.merge({view.root, *roots}) if assumed else State(view.root)
        current = _known_of(view, now, needed, cited)
        if (rule := _refusal(event, current, None)) is not None:
            verdict = Verdict(events.SOFT_FAILED, rule)
    if view.is_partial and verdict is not None:
        raise NotAtOnce
    known = placed.get(event.event_id)
    superseded = frozenset[EventID]()
    if verdict is None:
        superseded = superseded_by(view.tx, event, parents, view.version)
    return Judgement(
        verdict or Verdict(events.ACCEPTED),
        before,
        frozenset(roots),
        levels,
        Arrived(
            superseded,
            [each for each in event.prev_events if each in assumed],
            is_stored=known is not None,
        ),
        None if known is None else known.event_nid,
    )


def _known_of(
    view: RoomView, found: State, keys: Collection[StateKey], cited: Mapping[EventID, Event]
) -> dict[StateKey, Event]:
    """The events that a state has for those of `keys` that it holds, as far as is known."""
    there = view.events_in(found, keys)
    return completed(there, keys, cited.values()) if view.is_partial else there


def _refusal(event: Event, found: Mapping[StateKey, Event], levels: PowerLevels | None) -> str | None:
    """The rule that does not allow the event in this state, if there is one."""
    try:
        check_state(event, found, levels)
    except NotAllowed as refusal:
        return refusal.rule
    return None
