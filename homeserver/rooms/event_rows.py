"""The row of an event in `events`."""

from collections.abc import Mapping

from homeserver.core.event import Event
from homeserver.storage import events


def row_of(event: Event, event_nid: int, room_nid: int, pdu: bytes) -> dict[str, object]:
    """What the event itself says, as an outlier: outside the timeline, of no place in the room's history."""
    return {
        "event_nid": event_nid,
        "event_id": event.event_id,
        "room_nid": room_nid,
        "position": None,
        "depth": event.depth,
        "origin_server_ts": event.origin_server_ts,
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "membership": membership_of(event),
        "state_root": None,
        "root_after": None,
        "generation": None,
        "is_outbound": 0,
        "status": events.OUTLIER,
        "notify": 0,
        "thread_id": None,
        "redacted_by": None,
        "device_id": None,
        "txn_id": None,
        "replaces_nid": None,
        "aggregates": 0,
        "pdu": pdu,
    }


def placing(row: Mapping[str, object]) -> dict[str, object]:
    """The parameters of `events.PLACE`: what the row of a stored outlier, whose place is known now, is to say."""
    return {name: row[name] for name in events.PLACING} | {"the_event": row["event_nid"]}


def membership_of(event: Event) -> str | None:
    """What a membership event makes of its user; None for other events."""
    if event.type != "m.room.member" or event.state_key is None:
        return None
    return str(event.content.get("membership"))
