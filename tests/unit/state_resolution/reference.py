"""State resolution again, as slow and as close to the text as can be, for comparison."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from homeserver.core.auth_events import select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.power_levels import PowerLevels
from homeserver.core.room_versions import RoomVersion, StateResolution

Events = Mapping[EventID, Event]
State = Mapping[StateKey, EventID]

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")


def reference_resolve(
    version: RoomVersion, states: Sequence[State], events: Events
) -> dict[StateKey, EventID]:
    if version.state_resolution is StateResolution.V1:
        return resolve_v1(states, events)
    return resolve_v2(states, events, subgraph=version.state_resolution is StateResolution.V2_1)


# Definitions


def split(states: Sequence[State]) -> tuple[dict[StateKey, EventID], set[EventID]]:
    """The unconflicted state map and the conflicted state set."""
    unconflicted, conflicted = {}, set()
    for key in {key for state in states for key in state}:
        values = {state.get(key) for state in states}
        if len(values) == 1:
            unconflicted[key] = states[0][key]
        else:
            conflicted |= {value for value in values if value is not None}
    return unconflicted, conflicted


def auth_chain(event_id: EventID, events: Events) -> set[EventID]:
    chain: set[EventID] = set()
    stack = list(events[event_id].auth_events)
    while stack:
        cited = stack.pop()
        if cited not in chain:
            chain.add(cited)
            stack += events[cited].auth_events
    return chain


def difference(states: Iterable[Iterable[EventID]], events: Events) -> set[EventID]:
    """The auth difference; a state's own events count as part of what it rests on."""
    chains: list[set[EventID]] = [
        set(state).union(*(auth_chain(event_id, events) for event_id in state))
        for state in (list(state) for state in states)
    ]
    return set[EventID]().union(*chains) - chains[0].intersection(*chains)


def subgraph_of(conflicted: set[EventID], events: Events) -> set[EventID]:
    """All events that some conflicted event leads to, and that lead to some conflicted event."""
    reached = conflicted.union(*(auth_chain(event_id, events) for event_id in conflicted))
    return {
        event_id
        for event_id in reached
        if event_id in conflicted or auth_chain(event_id, events) & conflicted
    }


def is_power_event(event: Event) -> bool:
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return True
    return (
        event.type == "m.room.member"
        and event.content.get("membership") in ("leave", "ban")
        and event.sender != event.state_key
    )


def cited(event: Event, key: StateKey, events: Events) -> Event | None:
    return next((events[cited] for cited in event.auth_events if events[cited].key == key), None)


def create_of(event: Event, events: Events) -> Event | None:
    if event.room_version.room_id_is_create_hash:
        return events[EventID("$" + event.room_id[1:])]
    return cited(event, CREATE, events)


def comparison(event: Event, events: Events) -> tuple[float, int, str]:
    create = create_of(event, events)
    level = 0.0
    if create is not None:
        level = PowerLevels.of(cited(event, POWER_LEVELS, events), create).user_level(event.sender)
    return (-level, event.origin_server_ts, event.event_id)


def cited_within(event_ids: set[EventID], chosen: set[EventID], events: Events) -> set[EventID]:
    """What these cite of `chosen`, and what those cite, and so on."""
    found: set[EventID] = set()
    while True:
        more = {cited for citing in event_ids | found for cited in events[citing].auth_events} & chosen
        if more <= found:
            return found
        found |= more


def power_order(chosen: set[EventID], events: Events) -> list[EventID]:
    """Kahn's algorithm, one event at a time."""
    left, ordered = set(chosen), []
    while left:
        free = [event_id for event_id in left if left.isdisjoint(events[event_id].auth_events)]
        ordered.append(min(free, key=lambda event_id: comparison(events[event_id], events)))
        left.remove(ordered[-1])
    return ordered


def mainline_of(event: Event | None, events: Events) -> list[EventID]:
    line = []
    while event is not None:
        line.append(event.event_id)
        event = cited(event, POWER_LEVELS, events)
    return line


def mainline_order(chosen: set[EventID], power_levels: EventID | None, events: Events) -> list[EventID]:
    mainline = mainline_of(None if power_levels is None else events[power_levels], events)

    def position(event: Event) -> float:
        own_line = mainline_of(event, events)[1:]
        return next((mainline.index(event_id) for event_id in own_line if event_id in mainline), math.inf)

    return sorted(
        chosen,
        key=lambda chosen_id: (
            -position(events[chosen_id]),
            events[chosen_id].origin_server_ts,
            events[chosen_id].event_id,
        ),
    )


def replay(base: State, ordered: Sequence[EventID], events: Events) -> dict[StateKey, EventID]:
    """Iterative auth checks."""
    state = dict(base)
    for event_id in ordered:
        event = events[event_id]
        known: dict[StateKey, Event] = {}
        for key in select_auth_event_keys(
            event.type, event.sender, event.state_key, event.content, event.room_version
        ):
            own = cited(event, key, events)
            if key in state:
                known[key] = events[state[key]]
            elif own is not None and not own.rejected:
                known[key] = own
        create = create_of(event, events)
        if event.room_version.room_id_is_create_hash and create is not None:
            known[CREATE] = create
        try:
            check_state(event, known)
        except NotAllowed:
            continue
        if not event.rejected:
            state[event.key] = event_id
    return state


# Algorithms


def resolve_v2(states: Sequence[State], events: Events, *, subgraph: bool) -> dict[StateKey, EventID]:
    unconflicted, conflicted = split(states)
    full = conflicted | difference([state.values() for state in states], events)
    if subgraph:
        full |= subgraph_of(conflicted, events)
    first = {event_id for event_id in full if is_power_event(events[event_id])}
    first |= cited_within(first, full, events)
    state = replay({} if subgraph else unconflicted, power_order(first, events), events)
    rest = mainline_order(full - first, state.get(POWER_LEVELS), events)
    return replay(state, rest, events) | unconflicted


def resolve_v1(states: Sequence[State], events: Events) -> dict[StateKey, EventID]:
    values: dict[StateKey, set[EventID]] = {}
    for state in states:
        for key, event_id in state.items():
            values.setdefault(key, set()).add(event_id)
    result = {key: next(iter(ids)) for key, ids in values.items() if len(ids) == 1}

    def allowed(event: Event, *chosen: Event) -> bool:
        known = {key: events[event_id] for key, event_id in result.items()}
        known.update((event.key, event) for event in chosen)
        try:
            check_state(event, known)
        except NotAllowed:
            return False
        return True

    def ascending(key: StateKey) -> list[Event]:
        # Stable: by descending SHA-1, then by ascending depth.
        by_hash = sorted((events[event_id] for event_id in values[key]), key=sha1, reverse=True)
        return sorted(by_hash, key=lambda event: event.depth)

    conflicts = [key for key in values if key not in result]
    for auth_type in ("m.room.power_levels", "m.room.join_rules", "m.room.member"):
        found = {}
        for key in conflicts:
            if key[0] == auth_type:
                chosen, *more = ascending(key)
                for event in more:
                    if not allowed(event, chosen):
                        break
                    chosen = event
                found[key] = chosen.event_id
        result |= found
    others = {}
    for key in conflicts:
        if key not in result:
            candidates = ascending(key)
            passing = [event for event in candidates if allowed(event)]
            others[key] = (passing[-1] if passing else candidates[0]).event_id
    return result | others


def sha1(event: Event) -> str:
    return hashlib.sha1(event.event_id.encode()).hexdigest()
