"""Which thread an event belongs to. Spec: client-server API, "Threading" and "Threaded read receipts"."""

from collections.abc import Callable
from typing import Final

from homeserver.core.identifiers import EventID
from homeserver.core.json import JsonObject
from homeserver.core.relations import THREAD, Relation, relation_of

MAIN: Final = "main"
"""The thread ID, in receipts and counts, of the events that are in no thread."""

MAX_HOPS: Final = 3
"""How many parents are looked at, as the specification recommends."""


def thread_of(
    content: JsonObject,
    relation_of_event: Callable[[EventID], Relation | None],
    is_elsewhere: Callable[[EventID], bool],
) -> EventID | None:
    """The root of the thread that an event with this content belongs to; None for the main timeline.

    An event is in a thread if it, or a parent found by following relationships (three at most), has the
    relationship `m.thread`. A root itself, and what relates to it in other ways, is in the main timeline.
    `relation_of_event` gives the relationship of another event of the same room; None if that event has none
    or is unknown. `is_elsewhere` tells whether an event is one of another room, which is no root of a thread here.
    """
    relation = relation_of(content)
    for _ in range(MAX_HOPS):
        if relation is None or relation.rel_type == THREAD:
            break
        relation = relation_of_event(relation.event_id)
    if relation is None or relation.rel_type != THREAD or is_elsewhere(relation.event_id):
        return None
    return relation.event_id
