"""History that was fetched from other servers: stored before what this server has of a room, or in a gap of that.

Its events are judged as any others, but for the room's current state, which has no say in what was once; they are
never announced. Spec: server-server API, "Backfilling and retrieving missing events".
"""

from collections.abc import Collection, Mapping, Sequence

import attrs
import msgspec

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.search_terms import KEYS
from homeserver.core.sticky_events import KEY as STICKY
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import redactions, relations, state_at
from homeserver.rooms.event_graph import EventGraph, OwnEvent
from homeserver.rooms.event_rows import placing, row_of
from homeserver.rooms.judge import Judgement, RoomView, judge
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.persist import DUMMY
from homeserver.rooms.stated_levels import levels_at
from homeserver.rooms.sticky_events import await_release
from homeserver.rooms.threads import thread_in
from homeserver.storage import (
    auth_edges,
    backward_extremities,
    events,
    history_gaps,
    pending_redactions,
    rooms,
    search_texts,
    state,
)
from homeserver.storage.auth_edges import Place

CREATE = "m.room.create"

SEARCHED = frozenset(KEYS.values())


def fill(
    tx: WriteTransaction,
    room_id: RoomID,
    gap: int,
    pdus: Sequence[CheckedPdu],
    assumed: Mapping[EventID, int],
    *,
    now_ts: int,
) -> bool:
    """Store events at the end of the gap that lies right before the position `gap`; whether it has changed.

    They stand parents first. `assumed` has the roots of the states after those parents that remain missing. What
    cannot be judged for lack of the events that it cites is left out, and so is what is there already. Nothing is
    stored if there is no room for it. The gap is also said to have changed if somebody else has been at it.
    """
    room = rooms.lock(tx, room_id)
    if room is None or not room.is_held:
        return False
    places = history_gaps.places(tx, room.room_nid, gap)
    if places is None:
        return True
    is_first = history_gaps.below(tx, room.room_nid, gap) is None
    if not is_first and places < len(pdus):
        return False
    history = _History(tx, room)
    for pdu in pdus:
        judgement = judge(history.view, pdu, assumed)
        if isinstance(judgement, Judgement) and judgement.before is not None:
            history.add(pdu, judgement)
    has_changed = history.write(gap, None if is_first else places)
    history.await_release(now_ts)
    return has_changed


class _Made(msgspec.Struct):
    """An event to be stored; with `is_stored` as an outlier that gets its place."""

    event: Event
    row: dict[str, object]
    is_stored: bool

    @property
    def searched(self) -> int | None:
        """Its number, if there may be something in it to search for."""
        nid = self.row["event_nid"]
        return nid if self.event.type in SEARCHED and isinstance(nid, int) else None


class _History:
    """Events that one transaction stores."""

    def __init__(self, tx: WriteTransaction, room: rooms.Room) -> None:
        self._tx = tx
        self._room_nid = room.room_nid
        self._own: dict[EventID, OwnEvent] = {}
        self._made: dict[EventID, _Made] = {}
        self._missing: dict[int, Collection[EventID]] = {}
        plain = RoomView.of(tx, room)
        self._version = plain.version
        # Nothing of it stands on what the room was when it was entered: those states are whole.
        self.view = msgspec.structs.replace(
            plain, graph=EventGraph(tx, room.room_nid, plain.version, self._own), is_partial=False
        )

    def add(self, pdu: CheckedPdu, judgement: Judgement) -> None:
        """One more event, whose parents have been added or are stored, or are among those assumed."""
        assert judgement.before is not None  # noqa: S101 - the caller has looked
        tx, event, nid = self._tx, pdu.event, judgement.event_nid
        before = state_at.put(tx, self._room_nid, judgement.before, judgement.roots)
        event_nid = tx.new_nid() if nid is None else nid
        # That the current state would not allow it says nothing about then.
        is_rejected = judgement.verdict.status == events.REJECTED
        status = events.REJECTED if is_rejected else events.ACCEPTED
        if status == events.ACCEPTED and event.type == DUMMY:
            status = events.HIDDEN
        row = row_of(event, event_nid, self._room_nid, pdu.data) | {"state_root": before, "status": status}
        generation = 0
        if event.state_key is not None:
            generation = self._cite(event, event_nid, row)
            if not is_rejected:
                row["replaces_nid"] = state.get(tx, before, event.key)
                row["root_after"] = state.put(tx, self._room_nid, before, {event.key: event_nid})
        root_after = row["root_after"]
        self._made[event.event_id] = _Made(event, row, nid is not None)
        self._own[event.event_id] = OwnEvent(
            attrs.evolve(event, rejected=is_rejected),
            Place(event_nid, generation),
            root_after if isinstance(root_after, int) else before,
            status,
        )
        if not is_rejected:
            row["thread_id"] = thread_in(self._tx, self._room_nid, event, self._made)
            self._redact(event, row, before)
        self._missing[event_nid] = judgement.arrived.missing

    def write(self, gap: int, places: int | None) -> bool:
        """Store what was added, in its order right before the position `gap`; whether there was anything to store.

        What is still missing is missing before all of that. `places` are free; `None` if nothing of the room stands
        before the gap.
        """
        if not self._made:
            return False
        tx, room_nid = self._tx, self._room_nid
        is_first = places is None
        start = (min(gap, 0) if is_first else gap) - len(self._made)
        left = 0 if places is None else places - len(self._made)
        for event_id in self._made:
            backward_extremities.remove(tx, room_nid, event_id)
        for child_nid, missing in self._missing.items():
            backward_extremities.add(tx, room_nid, child_nid, missing, position=gap, places=left)
        is_whole = is_first and any(made.event.type == CREATE for made in self._made.values())
        # Before the room's beginning there is no place for anything.
        backward_extremities.move(tx, room_nid, gap, None if is_whole else start, places=left)
        self._place(start)
        return True

    def await_release(self, now_ts: int) -> None:
        """Those of the events that still stick are to be shown as such; here the current state has a say."""
        for made in self._made.values():
            event_nid, status = made.row["event_nid"], made.row["status"]
            is_shown = status == events.ACCEPTED and made.row["redacted_by"] is None
            if STICKY in made.event.pdu and is_shown and isinstance(event_nid, int):
                await_release(self._tx, made.event, event_nid, self._room_nid, received_ts=now_ts)

    def _place(self, position: int) -> None:
        """Write the rows, from this position on."""
        tx = self._tx
        new: list[dict[str, object]] = []
        aggregates = relations.aggregates_of(tx, self._room_nid, self._made)
        children: dict[int, Event] = {}
        for event_id, made in self._made.items():
            made.row |= {"position": position, "aggregates": aggregates.get(event_id, 0)}
            if made.row["status"] == events.ACCEPTED and made.row["redacted_by"] is None:
                children[position] = made.event
            position += 1
            if not made.is_stored:
                new.append(made.row)
                continue
            event_nid, redaction_id = made.row["event_nid"], made.row["redacted_by"]
            tx.execute(events.PLACE, **placing(made.row))
            relations.mark(tx, self._room_nid, event_id, aggregates.get(event_id, 0))
            if isinstance(event_nid, int) and isinstance(redaction_id, str):
                redactions.apply(tx, made.event, event_nid, self._room_nid, EventID(redaction_id))
        if new:
            tx.execute_many(events.INSERT, new)
        relations.write(tx, children, self._room_nid)
        search_texts.queue(tx, [nid for each in self._made.values() if (nid := each.searched) is not None])

    def _cite(self, event: Event, event_nid: int, row: dict[str, object]) -> int:
        """Put a state event into the graph of auth events; gives its generation."""
        cited = list(self.view.graph.places(event.auth_events).values())
        auth_edges.add(self._tx, self._room_nid, event_nid, cited)
        generation = auth_edges.generation_above(cited)
        row["generation"] = generation
        return generation

    def _redact(self, event: Event, row: dict[str, object], before: int) -> None:
        """Let redactions take effect: one that has come before the event, or the event itself.

        A redaction that has been waiting stays hidden: to show it now would be news of what is long past.
        """
        waiting = redactions.waiting_for(self._tx, self._room_nid, event, self._version)
        if waiting:
            pending_redactions.remove(self._tx, self._room_nid, event.event_id)
            row["pdu"], row["redacted_by"] = redactions.redacted(event), waiting[0][1].event_id
        if event.redacts is None:
            return
        made = self._made.get(event.redacts)
        stored = None if made is not None else events.of(self._tx, event.redacts)
        if made is not None:
            target = made.event
        elif stored is not None and stored.room_nid == self._room_nid:
            target = events.parsed(self._tx, [stored.event_nid], self._version)[stored.event_nid]
        else:
            row["status"] = events.HIDDEN
            if stored is None:
                nid = row["event_nid"]
                assert isinstance(nid, int)  # noqa: S101 - for the type checker
                pending_redactions.add(self._tx, self._room_nid, event.redacts, nid)
            return
        if not redactions.may_redact(event, target, levels_at(self._tx, before, self._version)):
            row["status"] = events.HIDDEN
        elif made is not None and made.row["redacted_by"] is None:
            made.row["pdu"], made.row["redacted_by"] = redactions.redacted(target), event.event_id
        elif stored is not None and stored.redacted_by is None:
            redactions.apply(self._tx, target, stored.event_nid, self._room_nid, event.event_id)
