"""State resolution version 2. Spec: room version 2, "State resolution"."""

from collections.abc import Collection

from homeserver.core.auth_events import POWER_LEVELS
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.state_resolution.events import KnownEvents, LookUp
from homeserver.core.state_resolution.ordering import (
    Powers,
    mainline_ordering,
    reverse_topological_power_ordering,
)
from homeserver.core.state_resolution.replay import Replay


def resolve(
    full_conflicted: Collection[EventID], unconflicted: LookUp, events: KnownEvents, *, base: LookUp
) -> dict[StateKey, EventID]:
    """The entries that the resolved state has beside the unconflicted ones.

    `full_conflicted` are the events to replay, and `base` is the state on which they are replayed: the
    unconflicted one in version 2.
    """
    events.load_with_auth_events(full_conflicted)
    powers = Powers(events)
    replay = Replay(base, events, powers)
    # 1. The power events, and those of their auth chains that are to be replayed too, in the order of power.
    first = _power_events(full_conflicted, events)
    # 2. Replay these.
    replay.apply(reverse_topological_power_ordering(first, events, powers))
    # 3. The remaining events, in the order of the line of power levels that has come out.
    remaining = set(full_conflicted) - first
    # 4. Replay these on the result.
    replay.apply(mainline_ordering(remaining, replay.get(POWER_LEVELS), events))
    # 5. What the states agree on stays, whatever was replayed.
    return {key: event_id for key, event_id in replay.state.items() if unconflicted(key) is None}


def _power_events(full_conflicted: Collection[EventID], events: KnownEvents) -> set[EventID]:
    """The power events, and those that they cite, directly or by way of others of `full_conflicted`.

    (To the letter, a way through further events would count, too. There is one only if states have lost newer
    events for older ones, and in version 2.1 there is none. Other servers do as is done here.)
    """
    chosen = frozenset(full_conflicted)
    found = {event_id for event_id in chosen if is_power_event(events[event_id])}
    level = found
    while level:
        level = {cited for event_id in level for cited in events[event_id].auth_events if cited in chosen}
        level -= found
        found |= level
    return found


def is_power_event(event: Event) -> bool:
    """Whether the event might take away somebody's ability to do something in the room."""
    # Power levels and join rules are power events,
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return event.state_key is not None
    # and so are memberships that remove another user.
    return (
        event.type == "m.room.member"
        and event.state_key is not None
        and event.content.get("membership") in ("leave", "ban")
        and event.sender != event.state_key
    )
