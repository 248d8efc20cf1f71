"""What is wanted of a new event, before the room's state has a say."""

import msgspec

from homeserver.core.identifiers import EventID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.core.signing import SigningKey


class Signer(msgspec.Struct, frozen=True):
    """In whose name events are signed."""

    server_name: ServerName
    key: SigningKey


class Draft(msgspec.Struct, frozen=True):
    """An event to be made in a room; `origin_server_ts` in milliseconds, `None` for the time of making it.

    `txn_id` is the transaction id of the sending device, or without a device the ID under which it was scheduled.
    With `sticky_duration_ms` it is a sticky event, see `core.sticky_events`.
    """

    sender: UserID
    type: str
    content: JsonObject
    state_key: str | None = None
    redacts: EventID | None = None
    device_id: str | None = None
    txn_id: str | None = None
    origin_server_ts: int | None = None
    sticky_duration_ms: int | None = None
