"""State resolution version 2.1. Spec: room version 12, "State resolution"."""

from collections.abc import Collection

from homeserver.core.event import StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.state_resolution import v2
from homeserver.core.state_resolution.auth_graph import Links, conflicted_subgraph
from homeserver.core.state_resolution.events import KnownEvents, LookUp
from homeserver.core.state_resolution.replay import nothing


def resolve(
    conflicted: Collection[EventID],
    auth_difference: Collection[EventID],
    unconflicted: LookUp,
    events: KnownEvents,
    links: Links,
) -> dict[StateKey, EventID]:
    """The entries that the resolved state has beside the unconflicted ones.

    As version 2, but the events between the conflicted ones are replayed too, and the replay starts from
    nothing: what an event rests on is taken from what it cites.
    """
    full_conflicted = conflicted_subgraph(conflicted, links) | set(auth_difference)
    return v2.resolve(full_conflicted, unconflicted, events, base=nothing)
