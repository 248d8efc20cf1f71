"""Which thread an event belongs to. Spec: client-server API, "Threading" and "Threaded read receipts"."""

from collections.abc import Callable
from typing import Final

import attrs

from homeserver.core.identifiers import MAX_IDENTIFIER_BYTES, EventID
from homeserver.core.json import JsonObject

MAIN: Final = "main"
"""The thread ID, in receipts and counts, of the events that are in no thread."""

MAX_HOPS: Final = 3
"""How many parents are looked at, as the specification recommends."""


@attrs.frozen(slots=True)
class Relation:
    """What an event's `m.relates_to` says of its parent."""

    rel_type: str
    event_id: EventID


def relation_of(content: JsonObject) -> Relation | None:
    """The relationship to a parent event; None if there is none, or a malformed one, which counts as none.

    A rich reply has no `rel_type`, so it is no relationship in this sense.
    Spec: client-server API, "Forming relationships between events".
    """
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, event_id = relates_to.get("rel_type"), relates_to.get("event_id")
    if not isinstance(rel_type, str) or not isinstance(event_id, str):
        return None
    # What can be the ID of no event; no database would take it for the ID of a thread.
    if len(event_id) > MAX_IDENTIFIER_BYTES or "\0" in event_id:
        return None
    return Relation(rel_type, EventID(event_id))


def thread_of(content: JsonObject, relation_of_event: Callable[[EventID], Relation | None]) -> EventID | None:
    """The root of the thread that an event with this content belongs to; None for the main timeline.

    An event is in a thread if it, or a parent found by following relationships (three at most), has the
    relationship `m.thread`. A root itself, and what relates to it in other ways, is in the main timeline.
    `relation_of_event` gives the relationship of another event of the same room; None if that event has none
    or is unknown.
    """
    relation = relation_of(content)
    for _ in range(MAX_HOPS):
        if relation is None or relation.rel_type == "m.thread":
            break
        relation = relation_of_event(relation.event_id)
    return relation.event_id if relation is not None and relation.rel_type == "m.thread" else None
