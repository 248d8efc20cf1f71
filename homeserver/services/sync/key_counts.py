"""What a device is told of its one-time and fallback keys, with every answer.

Spec: client-server API, "Extensions to /sync".
"""

from collections.abc import Mapping
from typing import TypeAlias

from homeserver.core.identifiers import UserID
from homeserver.core.json import encode
from homeserver.core.key_uploads import SIGNED_CURVE25519
from homeserver.database.kinds import Kind, StreamRow
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import one_time_keys
from homeserver.storage.one_time_keys import KeyCounts

KeySections: TypeAlias = Mapping[str, bytes]
"""The members of an answer, as JSON; none for who has no device."""


def sections(counts: KeyCounts) -> KeySections:
    """The members that tell of these. Clients take it for granted that the first algorithm is always there."""
    return {
        "device_one_time_keys_count": encode({SIGNED_CURVE25519: 0, **counts.one_time_keys}),
        "device_unused_fallback_key_types": encode([*counts.unused_fallback_keys]),
    }


def read_sections(tx: ReadTransaction, user_id: UserID, device_id: str) -> KeySections:
    """As of now."""
    return sections(one_time_keys.counts(tx, user_id, device_id)) if device_id else {}


def has_changed(
    tx: ReadTransaction, user_id: UserID, device_id: str, stream: StreamRow, *, since: int
) -> bool:
    """Whether what the device has is no more what it had at `since`, so that it should hear of it at once."""
    return (
        bool(device_id)
        and stream.changed_since(Kind.DEVICE_LISTS, since)
        and one_time_keys.changed_at(tx, user_id, device_id) > since
    )
