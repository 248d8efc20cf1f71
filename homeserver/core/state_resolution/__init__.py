"""State resolution: the one state that several states of a room come down to.

Nothing here depends on the order in which states, events or entries are given. Events that were rejected
never come out. Spec: server-server API, "Room State Resolution"; room versions, "State resolution".

`resolve` takes whole states. A caller that compares states without reading them whole finds the conflicts
itself, and calls `auth_difference` (not for `StateResolution.V1`), with `settled_by_citations` if it stores
who cites whom, and `resolve_conflicted`. With stored generations, see `auth_graph`, given as `links`, long
auth chains are not followed further than they differ.
"""

from collections.abc import Collection, Mapping, Sequence

from homeserver.core.event import StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import RoomVersion, StateResolution
from homeserver.core.state_resolution import v1, v2, v2_1
from homeserver.core.state_resolution.auth_graph import (
    AuthLink,
    CitedBy,
    Links,
    Settled,
    auth_difference,
    links_from,
    settled_by_citations,
    settled_by_walking,
)
from homeserver.core.state_resolution.events import Fetch, KnownEvents, LookUp

__all__ = [
    "AuthLink",
    "CitedBy",
    "Fetch",
    "Links",
    "LookUp",
    "Settled",
    "auth_difference",
    "links_from",
    "resolve",
    "resolve_conflicted",
    "settled_by_citations",
    "settled_by_walking",
]


def resolve(
    room_version: RoomVersion,
    state_sets: Sequence[Mapping[StateKey, EventID]],
    fetch: Fetch,
    links: Links | None = None,
) -> dict[StateKey, EventID]:
    """The resolution of the states after the parents of an event: the state before it.

    `fetch` is asked for the events in conflict, their auth chains, and single events that the authorisation
    rules read; without `links`, also for the events that all states agree on, if it depends on them which
    events are replayed.

    Errors: KeyError if `fetch` does not know an event.
    """
    distinct: list[Mapping[StateKey, EventID]] = []
    for state in state_sets:
        if state not in distinct:
            distinct.append(state)
    if not distinct:
        return {}
    first, others = distinct[0], distinct[1:]
    unconflicted = {
        key: event_id
        for key, event_id in first.items()
        if all(state.get(key) == event_id for state in others)
    }
    if not others:
        return unconflicted
    keys = {key for state in distinct for key in state.keys() - unconflicted.keys()}
    conflicted = {key: {state[key] for state in distinct if key in state} for key in sorted(keys)}
    difference: Collection[EventID] = ()
    links = links or links_from(fetch)
    if room_version.state_resolution is not StateResolution.V1:
        sets = [[state[key] for key in keys if key in state] for state in distinct]
        difference = auth_difference(sets, settled_by_walking(unconflicted.values(), links), links)
    return unconflicted | resolve_conflicted(
        room_version, conflicted, unconflicted.get, fetch, auth_difference=difference, links=links
    )


def resolve_conflicted(
    room_version: RoomVersion,
    conflicted: Mapping[StateKey, Collection[EventID]],
    unconflicted: LookUp,
    fetch: Fetch,
    *,
    auth_difference: Collection[EventID],
    links: Links | None = None,
) -> dict[StateKey, EventID]:
    """What the resolved state has beside the unconflicted entries.

    An entry is unconflicted if all states have it with the same event: `unconflicted` gives that event, and
    None for all other entries. `conflicted` has the other entries, with the events that any of the states has
    for them. The result can lack some of these entries (no event was allowed), and, rarely, have entries that
    none of the states had.

    `auth_difference` is what the function of that name gives; in `StateResolution.V1` it plays no part.

    Errors: KeyError if `fetch` does not know an event.
    """
    events = KnownEvents(fetch)
    if room_version.state_resolution is StateResolution.V1:
        return v1.resolve(conflicted, unconflicted, events)
    conflicted_set = {event_id for event_ids in conflicted.values() for event_id in event_ids}
    if room_version.state_resolution is StateResolution.V2:
        full_conflicted = conflicted_set | set(auth_difference)
        return v2.resolve(full_conflicted, unconflicted, events, base=unconflicted)
    return v2_1.resolve(conflicted_set, auth_difference, unconflicted, events, links or links_from(fetch))
