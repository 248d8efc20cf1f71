"""A state as the IDs of its events."""

import attrs

from homeserver.core.identifiers import EventID


@attrs.frozen(slots=True)
class StateIds:
    """The IDs of the events of a state, and of those in their auth chains."""

    state: tuple[EventID, ...]
    auth_chain: tuple[EventID, ...]
