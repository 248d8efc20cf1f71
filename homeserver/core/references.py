"""The events that a PDU refers to, read from its JSON without decoding the rest."""

import msgspec

from homeserver.core.identifiers import EventID

# Room versions 1 and 2 give a hash with each.
_Reference = EventID | tuple[EventID, msgspec.Raw]


class _PrevEvents(msgspec.Struct, gc=False):
    prev_events: list[_Reference]


class _AuthEvents(msgspec.Struct, gc=False):
    auth_events: list[_Reference]


_prev_events = msgspec.json.Decoder(_PrevEvents)
_auth_events = msgspec.json.Decoder(_AuthEvents)


def prev_events_of(pdu: bytes) -> list[EventID]:
    """The `prev_events` of a stored PDU of any room version."""
    return _ids(_prev_events.decode(pdu).prev_events)


def auth_events_of(pdu: bytes) -> list[EventID]:
    """The `auth_events` of a stored PDU of any room version."""
    return _ids(_auth_events.decode(pdu).auth_events)


def _ids(references: list[_Reference]) -> list[EventID]:
    return [EventID(each) if isinstance(each, str) else each[0] for each in references]
