"""Messages to devices, as clients and other servers are shown them.

Spec: client-server API and server-server API, "Send-to-device messaging".
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from homeserver.core.identifiers import UserID
from homeserver.core.json import encode
from homeserver.core.splice import keyed, object_of

ALL_DEVICES: Final = "*"
"""Stands for all devices of a user, where an ID of a device may stand."""

MOST_CONTENT_BYTES: Final = 60_000
"""Of one message: with its names it fits into an EDU."""

MOST_EDU_BYTES: Final = 65_536
"""As of an event; what is for more devices of a server goes in several EDUs."""

Messages: TypeAlias = Mapping[UserID, Mapping[str, bytes]]
"""Contents, as canonical JSON, by user and device (or `*`)."""


def message_json(sender: UserID, event_type: str, content: bytes) -> bytes:
    """The message as its receiver's client sees it."""
    return object_of({"content": content, "sender": encode(sender), "type": encode(event_type)})


def direct_to_device(sender: UserID, event_type: str, message_id: str, messages: Messages) -> list[bytes]:
    """The EDUs, as canonical JSON, that tell one server of messages; `message_id` has up to 24 characters.

    All of a message's characters count: an EDU has at most `MOST_EDU_BYTES`, and holds one message at least.
    """
    frame = len(_edu(sender, event_type, f"{message_id}.1000000", {}))
    return [
        _edu(sender, event_type, f"{message_id}.{number}", part)
        for number, part in enumerate(_parts(messages, MOST_EDU_BYTES - frame))
    ]


def _parts(messages: Messages, most: int) -> Iterator[dict[UserID, dict[str, bytes]]]:
    """The messages in parts whose JSON has up to `most` bytes, or one message."""
    part: dict[UserID, dict[str, bytes]] = {}
    size = 0
    for user_id, by_device in messages.items():
        for device_id, content in by_device.items():
            # With brackets, colons and a comma.
            added = len(encode(device_id)) + len(content) + 2
            new_user = len(encode(user_id)) + 4
            if part and size + added + (0 if user_id in part else new_user) > most:
                yield part
                part, size = {}, 0
            if user_id not in part:
                size += new_user
            part.setdefault(user_id, {})[device_id] = content
            size += added
    if part:
        yield part


def _edu(
    sender: UserID, event_type: str, message_id: str, messages: Mapping[UserID, Mapping[str, bytes]]
) -> bytes:
    users = {user_id: keyed(_sorted(messages[user_id])) for user_id in sorted(messages)}
    content = {
        "message_id": encode(message_id),
        "messages": keyed(users),
        "sender": encode(sender),
        "type": encode(event_type),
    }
    return object_of({"content": object_of(content), "edu_type": b'"m.direct_to_device"'})


def _sorted(by_device: Mapping[str, bytes]) -> dict[str, bytes]:
    return {device_id: by_device[device_id] for device_id in sorted(by_device)}
