"""The events that a resolution has in hand, and the way to get more."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

import attrs

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID

Fetch: TypeAlias = Callable[[Collection[EventID]], Mapping[EventID, Event]]
"""Gives events by ID: at least those that are asked for."""

LookUp: TypeAlias = Callable[[StateKey], EventID | None]
"""Gives the event of an entry of a state; None if the state has no such entry."""


@attrs.frozen(slots=True)
class KnownEvents:
    """Events by ID; each is fetched once, many at a time.

    Errors: KeyError where `fetch` leaves out what it is asked for.
    """

    fetch: Fetch
    _known: dict[EventID, Event] = attrs.field(factory=dict)

    def load(self, event_ids: Iterable[EventID]) -> None:
        """Fetch those of the events that are not in hand yet."""
        known = self._known
        wanted = sorted({event_id for event_id in event_ids if event_id not in known})
        if wanted:
            found = self.fetch(wanted)
            known.update((event_id, found[event_id]) for event_id in wanted)

    def load_with_auth_events(self, event_ids: Collection[EventID]) -> None:
        """Fetch the events, and those that they cite."""
        self.load(event_ids)
        self.load(cited for event_id in event_ids for cited in self._known[event_id].auth_events)

    def __getitem__(self, event_id: EventID) -> Event:
        """The event, fetched if it must be."""
        event = self._known.get(event_id)
        if event is None:
            self.load((event_id,))
            event = self._known[event_id]
        return event
