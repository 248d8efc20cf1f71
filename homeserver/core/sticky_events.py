"""Sticky events: how long an event sticks, so that servers and clients get it whatever else is going on.

Spec: MSC4354, whose names are unstable ones still.
"""

from collections.abc import Mapping
from typing import Final

from homeserver.core.client_event import Members
from homeserver.core.json import JsonObject, JsonValue

KEY: Final = "msc4354_sticky"
"""The key of a PDU, beside its content; and the section of a room in `/sync`."""

KEY_BYTES: Final = b'"msc4354_sticky"'
"""As it stands in the JSON of an event that may be sticky; it may also stand somewhere in the content of another."""

MAX_DURATION_MS: Final = 3_600_000
"""An event does not stick for longer, whatever it says."""


def sticky_object(duration_ms: int) -> JsonObject:
    """What stands under `KEY` in a new event."""
    return {"duration_ms": duration_ms}


def duration_of(pdu: Mapping[str, JsonValue]) -> int | None:
    """For how long an event sticks, in milliseconds; `None` for one that is not sticky."""
    found = pdu.get(KEY)
    duration_ms = found.get("duration_ms") if isinstance(found, dict) else None
    if type(duration_ms) is not int or duration_ms < 0:
        return None
    return min(duration_ms, MAX_DURATION_MS)


def expiry_of(pdu: Mapping[str, JsonValue], *, received_ts: int) -> int | None:
    """Until when an event sticks that this server has received then; `None` if it does not, or no more.

    Spec: MSC4354, "To calculate if any sticky event is still sticky": the time that it says counts, unless that is in
    the future.
    """
    duration_ms = duration_of(pdu)
    origin_server_ts = pdu.get("origin_server_ts")
    if duration_ms is None or not isinstance(origin_server_ts, int):
        return None
    expires_ts = min(origin_server_ts, received_ts) + duration_ms
    return expires_ts if expires_ts > received_ts else None


def ttl_member(expires_ts: int, *, now_ts: int) -> Members:
    """What tells clients for how long the event will stick, whatever their clocks say; nothing if it does no more."""
    left_ms = expires_ts - now_ts
    return b'"msc4354_sticky_duration_ttl_ms":%d' % left_ms if left_ms > 0 else b""
