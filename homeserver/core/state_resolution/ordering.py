"""The two orders in which events are replayed.

Spec: room version 2, "State resolution", "Reverse topological power ordering" and "Mainline ordering".
"""

import heapq
import math
from collections.abc import Collection, Iterable
from typing import TypeAlias

import attrs

from homeserver.core.auth_events import CREATE, POWER_LEVELS
from homeserver.core.event import Event, create_event_id_of
from homeserver.core.identifiers import EventID
from homeserver.core.power_levels import Level, PowerLevels
from homeserver.core.state_resolution.events import KnownEvents

_Rank: TypeAlias = tuple[float, int, EventID]


@attrs.frozen(slots=True)
class Powers:
    """Power levels by the events that state them, each read once."""

    events: KnownEvents
    _levels: dict[tuple[EventID | None, EventID], PowerLevels] = attrs.field(factory=dict)

    def levels(self, power_levels: Event | None, create: Event) -> PowerLevels:
        """As `PowerLevels.of`."""
        key = (None if power_levels is None else power_levels.event_id, create.event_id)
        if key not in self._levels:
            self._levels[key] = PowerLevels.of(power_levels, create)
        return self._levels[key]

    def of_sender(self, event: Event) -> Level:
        """The power of an event's sender, according to the events that it cites; 0 if they cannot tell."""
        cited = {
            (auth_event.type, auth_event.state_key): auth_event
            for auth_event in (self.events[event_id] for event_id in event.auth_events)
        }
        create = cited.get(CREATE)
        if event.room_version.room_id_is_create_hash:
            create = self.events[create_event_id_of(event.room_id)]
        if create is None:
            return 0
        level = self.levels(cited.get(POWER_LEVELS), create).user_level(event.sender)
        return 0 if math.isnan(level) else level


def reverse_topological_power_ordering(
    event_ids: Collection[EventID], events: KnownEvents, powers: Powers
) -> list[EventID]:
    """Each event after those of these that it cites, and else the most powerful sender's first.

    Among those of equal power the earliest by `origin_server_ts` comes first, then the lowest ID.
    """
    ranks: dict[EventID, _Rank] = {
        event_id: (-powers.of_sender(events[event_id]), events[event_id].origin_server_ts, event_id)
        for event_id in event_ids
    }
    waiting_for: dict[EventID, int] = {}
    citing: dict[EventID, list[EventID]] = {event_id: [] for event_id in ranks}
    for event_id in ranks:
        cited = [auth_event for auth_event in set(events[event_id].auth_events) if auth_event in ranks]
        waiting_for[event_id] = len(cited)
        for auth_event in cited:
            citing[auth_event].append(event_id)
    ready = [ranks[event_id] for event_id, count in waiting_for.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[EventID] = []
    while ready:
        done = heapq.heappop(ready)[2]
        ordered.append(done)
        for event_id in citing[done]:
            waiting_for[event_id] -= 1
            if waiting_for[event_id] == 0:
                heapq.heappush(ready, ranks[event_id])
    return ordered


def mainline_ordering(
    event_ids: Iterable[EventID], power_levels: EventID | None, events: KnownEvents
) -> list[EventID]:
    """By the place where the power levels that an event cites meet the line of `power_levels`, oldest first.

    Then by `origin_server_ts`, then by ID. Events that do not meet that line at all come before the others.
    """
    mainline = _Mainline(events, power_levels)
    ranked = [
        (-mainline.position(event_id), events[event_id].origin_server_ts, event_id) for event_id in event_ids
    ]
    return [event_id for _, _, event_id in sorted(ranked)]


@attrs.define(slots=True)
class _Mainline:
    """A power levels event, the one that it cites, and so on; followed only as far as someone asks."""

    events: KnownEvents
    _next: EventID | None
    _positions: dict[EventID, float] = attrs.field(factory=dict)
    _length: int = 0

    def position(self, event_id: EventID) -> float:
        """How many steps down the line an event meets it; infinite if it never does."""
        path = []
        position = None
        current = self._cited_power_levels(event_id)
        while current is not None and position is None:
            position = self._position_of(current)
            if position is None:
                path.append(current)
                current = self._cited_power_levels(current)
        if position is None:
            position = math.inf
        # What lies on the way is remembered: it meets the line at the same place.
        self._positions.update(dict.fromkeys(path, position))
        return position

    def _position_of(self, event_id: EventID) -> float | None:
        """The position of a power levels event, if it is on the line or the way to the line is known."""
        while (
            event_id not in self._positions and self._next is not None and self._next not in self._positions
        ):
            self._positions[self._next] = self._length
            self._length += 1
            self._next = self._cited_power_levels(self._next)
        return self._positions.get(event_id)

    def _cited_power_levels(self, event_id: EventID) -> EventID | None:
        """The power levels event among those that an event cites."""
        cited = self.events[event_id].auth_events
        self.events.load(cited)
        for auth_event_id in cited:
            auth_event = self.events[auth_event_id]
            if (auth_event.type, auth_event.state_key) == POWER_LEVELS:
                return auth_event_id
        return None
