"""What counts as something going on in a room, for clients that sort by it. Spec: MSC4186, `bump_stamp`."""

from typing import Final

BUMPING: Final = frozenset(
    {
        "m.room.create",
        "m.room.message",
        "m.room.encrypted",
        "m.sticker",
        "m.call.invite",
        "m.poll.start",
        "m.beacon_info",
    }
)
"""Types of events that count."""
