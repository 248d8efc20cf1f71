"""Outliers: events that are known only as part of a state or of an auth chain, without a place in the history."""

from collections.abc import Collection, Mapping, Sequence

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import redactions
from homeserver.rooms.event_rows import row_of
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.storage import auth_edges, events, pending_redactions
from homeserver.storage.auth_edges import Place


def store(
    tx: WriteTransaction, room_nid: int, pdus: Sequence[CheckedPdu], *, rejected: Collection[EventID]
) -> dict[EventID, int]:
    """Store those of the events that are not stored yet, with their auth edges and generations; gives their numbers.

    The room's row must be locked. Events stand after those of them that they cite, as in
    `auth_chains.AuthChain.judged`; those of `rejected` are kept as rejected. An event that has been stored of another
    room is left out of the result.
    """
    known = events.placed(tx, [pdu.event.event_id for pdu in pdus])
    cited = {event_id for pdu in pdus for event_id in pdu.event.auth_events}
    places = auth_edges.places(tx, cited)
    numbers: dict[EventID, int] = {}
    rows: list[dict[str, object]] = []
    edges: list[dict[str, object]] = []
    for pdu in pdus:
        event = pdu.event
        if (before := known.get(event.event_id)) is not None:
            if before.room_nid == room_nid:
                numbers[event.event_id] = before.event_nid
                if before.is_outlier and before.generation is None and event.state_key is not None:
                    # It came alone, as an invitation does: only now is known what it cites.
                    above = _cited(event, places)
                    place = places[event.event_id] = Place(
                        before.event_nid, auth_edges.generation_above(above)
                    )
                    status = events.REJECTED if event.event_id in rejected else events.OUTLIER
                    events.complete(tx, before.event_nid, generation=place.generation, status=status)
                    edges += auth_edges.rows(room_nid, before.event_nid, above)
            continue
        if event.event_id in numbers:
            continue
        event_nid = numbers[event.event_id] = tx.new_nid()
        row = row_of(event, event_nid, room_nid, pdu.data)
        if event.event_id in rejected:
            row["status"] = events.REJECTED
        if event.state_key is not None:
            above = _cited(event, places)
            place = places[event.event_id] = Place(event_nid, auth_edges.generation_above(above))
            row["generation"] = place.generation
            edges += auth_edges.rows(room_nid, event_nid, above)
        rows.append(row)
    if rows:
        tx.execute_many(events.INSERT, rows)
    if edges:
        tx.execute_many(auth_edges.INSERT, edges)
    _redact(tx, room_nid, {pdu.event.event_id: pdu.event for pdu in pdus}, numbers)
    return numbers


def _cited(event: Event, places: Mapping[EventID, Place]) -> list[Place]:
    """Where those of the event's auth events stand that are known."""
    return [places[event_id] for event_id in dict.fromkeys(event.auth_events) if event_id in places]


def _redact(
    tx: WriteTransaction,
    room_nid: int,
    new: Mapping[EventID, Event],
    numbers: Mapping[EventID, int],
) -> None:
    """Let redactions that came before their events take effect; shown they are when the events get their places."""
    for event_id in pending_redactions.of(tx, room_nid, new):
        if event_id in numbers:
            event = new[event_id]
            for _, redaction in redactions.waiting_for(tx, room_nid, event, event.room_version)[:1]:
                redactions.apply(tx, event, numbers[event_id], room_nid, redaction.event_id)
