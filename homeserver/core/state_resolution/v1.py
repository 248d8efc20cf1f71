"""State resolution version 1. Spec: room version 1, "State resolution"."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.auth_events import select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.state_resolution.events import KnownEvents, LookUp

# The types whose conflicts are resolved first, in this order: the later ones are judged by the earlier ones.
_AUTH_TYPES: Final = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve(
    differing: Mapping[StateKey, Collection[EventID]], agreed: LookUp, events: KnownEvents
) -> dict[StateKey, EventID]:
    """The events of the entries in `differing`, judged by the state `agreed`.

    An entry that only some of the states have, with one and the same event, is no conflict here: it is kept.
    """
    events.load(event_id for event_ids in differing.values() for event_id in event_ids)
    resolution = _Resolution(agreed, events)
    conflicts: dict[StateKey, list[Event]] = {}
    for key in sorted(differing):
        candidates = _candidates(differing[key], events)
        if len(candidates) == 1:
            resolution.resolved[key] = candidates[0].event_id
        elif candidates:
            conflicts[key] = candidates
    for auth_type in _AUTH_TYPES:
        # All conflicts of a type are judged by the same state: the order of their state keys must not matter.
        resolution.resolved.update(
            {
                key: resolution.last_in_a_row(candidates)
                for key, candidates in conflicts.items()
                if key[0] == auth_type
            }
        )
    # No other events matter to the authorisation rules.
    others = {key: candidates for key, candidates in conflicts.items() if key[0] not in _AUTH_TYPES}
    resolution.resolved.update(
        {key: resolution.newest_allowed(candidates) for key, candidates in others.items()}
    )
    return resolution.resolved


def _candidates(event_ids: Collection[EventID], events: KnownEvents) -> list[Event]:
    """The events that may be chosen, by ascending depth, then by descending SHA-1 of the event ID."""
    candidates = [events[event_id] for event_id in set(event_ids)]
    return sorted(
        (event for event in candidates if not event.rejected),
        key=lambda event: (event.depth, -int.from_bytes(_sha1(event.event_id))),
    )


def _sha1(event_id: EventID) -> bytes:
    return hashlib.sha1(event_id.encode(), usedforsecurity=False).digest()


class _Resolution(msgspec.Struct, frozen=True):
    """What has been resolved so far, on top of what the states agree on."""

    agreed: LookUp
    events: KnownEvents
    resolved: dict[StateKey, EventID] = msgspec.field(default_factory=dict)

    def last_in_a_row(self, candidates: Sequence[Event]) -> EventID:
        """The first candidate as it is, or the last that may replace it, each replacing the one before."""
        chosen = candidates[0]
        for candidate in candidates[1:]:
            if not self._is_allowed(candidate, instead_of=chosen):
                break
            chosen = candidate
        return chosen.event_id

    def newest_allowed(self, candidates: Sequence[Event]) -> EventID:
        """The last candidate that is allowed.

        The text is silent on what happens if none is; existing servers then keep the first, as they do for
        the types above.
        """
        for candidate in reversed(candidates):
            if self._is_allowed(candidate):
                return candidate.event_id
        return candidates[0].event_id

    def _is_allowed(self, event: Event, *, instead_of: Event | None = None) -> bool:
        keys = select_auth_event_keys(
            event.type, event.sender, event.state_key, event.content, event.room_version
        )
        by_key = {key: self.resolved.get(key) or self.agreed(key) for key in keys}
        if instead_of is not None and instead_of.key in by_key:
            by_key[instead_of.key] = instead_of.event_id
        self.events.load(event_id for event_id in by_key.values() if event_id is not None)
        state = {key: self.events[event_id] for key, event_id in by_key.items() if event_id is not None}
        try:
            check_state(event, state)
        except NotAllowed:
            return False
        return True
