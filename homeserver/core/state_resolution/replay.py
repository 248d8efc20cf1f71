"""Replaying events on a state: those that the authorisation rules allow in turn become part of it.

Spec: room version 2, "State resolution", "Iterative auth checks".
"""

from collections.abc import Sequence

import msgspec

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.event import Event, StateKey, create_event_id_of
from homeserver.core.identifiers import EventID
from homeserver.core.power_levels import PowerLevels
from homeserver.core.state_resolution.events import KnownEvents, LookUp
from homeserver.core.state_resolution.ordering import Powers


def nothing(_key: StateKey) -> EventID | None:
    """The empty state."""
    return None


class Replay(msgspec.Struct, frozen=True):
    """A state in the making: `base`, and on top of it what has been replayed, in `state`."""

    base: LookUp
    events: KnownEvents
    powers: Powers
    state: dict[StateKey, EventID] = msgspec.field(default_factory=dict)

    def get(self, key: StateKey) -> EventID | None:
        """The event of an entry of the state."""
        return self.state.get(key) or self.base(key)

    def apply(self, ordered: Sequence[EventID]) -> None:
        """Replay events in this order, but for those that are not allowed, or were rejected once."""
        self.events.load_with_auth_events(ordered)
        needed = {event_id: _needed_keys(self.events[event_id]) for event_id in ordered}
        in_base = (self.base(key) for key in dict.fromkeys(key for keys in needed.values() for key in keys))
        self.events.load(event_id for event_id in in_base if event_id is not None)
        for event_id in ordered:
            event = self.events[event_id]
            if event.state_key is None or event.rejected:
                continue
            auth_state = self._auth_state(event, needed[event_id])
            try:
                check_state(event, auth_state, self._power_levels(auth_state))
            except NotAllowed:
                continue
            self.state[event.type, event.state_key] = event_id

    def _auth_state(self, event: Event, needed: Sequence[StateKey]) -> dict[StateKey, Event]:
        """The part of the state that the rules for the event read."""
        auth_state: dict[StateKey, Event] = {}
        # What the state does not have yet, the event's own auth events supply, unless they were rejected.
        for event_id in event.auth_events:
            cited = self.events[event_id]
            if cited.state_key is not None and not cited.rejected:
                auth_state[cited.type, cited.state_key] = cited
        for key in needed:
            event_id_in_state = self.get(key)
            if event_id_in_state is not None:
                auth_state[key] = self.events[event_id_in_state]
        # The create event that the room ID implies is part of every state.
        if event.room_version.room_id_is_create_hash and event.type != CREATE[0]:
            auth_state[CREATE] = self.events[create_event_id_of(event.room_id)]
        return auth_state

    def _power_levels(self, auth_state: dict[StateKey, Event]) -> PowerLevels | None:
        create = auth_state.get(CREATE)
        return None if create is None else self.powers.levels(auth_state.get(POWER_LEVELS), create)


def _needed_keys(event: Event) -> list[StateKey]:
    return select_auth_event_keys(
        event.type, event.sender, event.state_key, event.content, event.room_version
    )
