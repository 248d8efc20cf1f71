"""A state as the IDs of its events."""

import msgspec

from homeserver.core.identifiers import EventID


class StateIds(msgspec.Struct, frozen=True):
    """The IDs of the events of a state, and of those in their auth chains."""

    state: tuple[EventID, ...]
    auth_chain: tuple[EventID, ...]
