"""Storing events that have been judged."""

from collections.abc import Collection

import msgspec

from homeserver.core.identifiers import EventID, ServerName
from homeserver.rooms import outliers, state_at
from homeserver.rooms.extremities import advanced
from homeserver.rooms.judge import Judgement, Lacking, NotAtOnce, RoomView, Verdict, judge
from homeserver.rooms.new_events import NewEvent
from homeserver.rooms.partial_states import is_doubtful_removal
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.room_changes import RoomChanges
from homeserver.rooms.state_at import State
from homeserver.rooms.stated_levels import levels_at
from homeserver.storage import events

MOST_EXTREMITIES = 10
"""Of a room that needs no healing, see `rooms.healing`."""

MOST_AT_ONCE = 25
"""Events that one write may judge and store: it takes about 10 ms."""


def persist(
    changes: RoomChanges,
    pdu: CheckedPdu,
    judgement: Judgement,
    *,
    is_outbound: bool,
    received_ts: int | None,
) -> Verdict:
    """Store an event as it was judged; its room is as it was then. It does not stick if `received_ts` is `None`."""
    tx, room_nid = changes.tx, changes.room.room_nid
    verdict = judgement.verdict
    if judgement.before is None:
        outliers.store(tx, room_nid, [pdu], rejected=[pdu.event.event_id])
        return verdict
    nid = judgement.event_nid
    before = state_at.put(tx, room_nid, judgement.before, judgement.roots)
    changes.store(
        NewEvent(
            pdu.event,
            tx.new_nid() if nid is None else nid,
            pdu.data,
            before,
            judgement.levels or levels_at(tx, changes.root, changes.version),
            status=_stored_status(pdu, verdict),
            is_outbound=is_outbound and verdict.status == events.ACCEPTED,
            arrived=judgement.arrived,
            received_ts=received_ts,
        )
    )
    return verdict


def _stored_status(pdu: CheckedPdu, verdict: Verdict) -> int:
    """What accepted events are stored as: clients need not see those that only tie others together."""
    if verdict.status == events.ACCEPTED and pdu.event.type == DUMMY:
        return events.HIDDEN
    return verdict.status


DUMMY = "org.matrix.dummy_event"
"""The type of events that only tie others together; other servers make such events, too."""


def take_at_once(changes: RoomChanges, pdu: CheckedPdu, *, received_ts: int) -> Verdict | None:
    """Judge and store an event, if that takes no more than a few look-ups; else None, and nothing is done.

    That is so if its parents and the events that it cites are there, and no states have to be resolved, neither
    before nor after it.
    """
    view = msgspec.structs.replace(RoomView.within(changes), may_resolve=False)
    try:
        judgement = judge(view, pdu)
        if isinstance(judgement, Verdict):
            return judgement
        if isinstance(judgement, Lacking) or not _is_simple(
            view, pdu, judgement, changes.members.server_name
        ):
            return None
    except NotAtOnce:
        return None
    return persist(changes, pdu, judgement, is_outbound=False, received_ts=received_ts)


def _is_simple(view: RoomView, pdu: CheckedPdu, judgement: Judgement, server_name: ServerName) -> bool:
    """Whether storing the event resolves nothing, and nobody else has to be asked about it. Errors: NotAtOnce."""
    if judgement.verdict.status != events.ACCEPTED or judgement.before is None:
        return True
    if view.policy_server_for(pdu.event) is not None:
        return False
    return is_settled(view, pdu, judgement, server_name)


def is_settled(view: RoomView, pdu: CheckedPdu, judgement: Judgement, server_name: ServerName) -> bool:
    """Whether an event that is accepted can be stored in a room whose members are not known. Errors: NotAtOnce.

    `server_name` is this server's own.
    """
    if is_doubtful_removal(view.tx, view.room, pdu.event, server_name):
        return False
    return _resolves_nothing(view, pdu, judgement)


def _resolves_nothing(view: RoomView, pdu: CheckedPdu, judgement: Judgement) -> bool:
    """Whether no states have to be resolved to store an event that is accepted. Errors: NotAtOnce."""
    if judgement.before is None:
        return True
    if view.is_partial and pdu.event.type == DUMMY:
        return False
    extremities = advanced(view.extremities, pdu.event, judgement.arrived.superseded, is_behind=False)
    if len(extremities) == 1:
        return True
    if len(extremities) > MOST_EXTREMITIES or pdu.event.is_state or judgement.before.changes:
        return False
    _resolve_after(view, pdu, judgement.before, extremities)
    return True


def look_ahead(view: RoomView, pdu: CheckedPdu, judgement: Judgement) -> None:
    """Resolve what storing the event will need, so that it need not be done while the room is locked.

    For a state event the outcome will be another; but then the events are at hand.
    """
    if judgement.before is None or judgement.before.changes:
        return
    extremities = advanced(view.extremities, pdu.event, judgement.arrived.superseded, is_behind=False)
    if len(extremities) > 1:
        _resolve_after(view, pdu, judgement.before, extremities)


def _resolve_after(
    view: RoomView, pdu: CheckedPdu, before: State, extremities: Collection[tuple[EventID, int]]
) -> None:
    """Resolve the states after these extremities, one of which is the event, which has the root before it."""
    own = view.graph.own
    others = [event_id for event_id, _ in extremities if event_id != pdu.event.event_id]
    placed = events.placed(view.tx, [event_id for event_id in others if event_id not in own])
    roots = {own[event_id].root_after for event_id in others if event_id in own}
    view.merge({before.base, *roots, *(each.after for each in placed.values())})
