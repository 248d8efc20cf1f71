"""Backups of room keys, and which of two keys for a session they keep.

Spec: client-server API, "Server-side key backups".
"""

import attrs
import msgspec

from homeserver.core.identifiers import RoomID


class KeyBackup(msgspec.Struct, frozen=True):
    """A version of a user's backup. `auth_data` is JSON, `backup_nid` what its keys are stored under.

    `etag` rises whenever its keys change.
    """

    version: int
    backup_nid: int
    algorithm: str
    auth_data: bytes
    key_count: int
    etag: int


@attrs.frozen(slots=True)
class KeyMetadata:
    """What is known of a session's key without decrypting it."""

    first_message_index: int
    forwarded_count: int
    is_verified: bool = attrs.field(converter=bool)


class RoomKey(msgspec.Struct, frozen=True):
    """The key of a session; `session_data` is the JSON of an object, encrypted by the client."""

    room_id: RoomID
    session_id: str
    metadata: KeyMetadata
    session_data: bytes


def is_better(new: KeyMetadata, kept: KeyMetadata) -> bool:
    """Whether `new` takes the place of `kept`. Of two that are equal, the one stays that is there."""
    # If one of them is verified and the other is not, the verified one is kept.
    if new.is_verified != kept.is_verified:
        return new.is_verified
    # Otherwise the one that decrypts more of the session.
    if new.first_message_index != kept.first_message_index:
        return new.first_message_index < kept.first_message_index
    # Otherwise the one that has been handed on less often.
    return new.forwarded_count < kept.forwarded_count
