"""The kinds of rows that take a position in the stream."""

from enum import Enum


class Kind(Enum):
    """A kind of published row; the value is its column in the `stream` table."""

    EVENTS = "events"
    RECEIPTS = "receipts"
    TYPING = "typing"
    PRESENCE = "presence"
    ACCOUNT_DATA = "account_data"
    MEMBERSHIPS = "memberships"
    """A user's own membership changed in a way that no event of a room held here shows (forgetting)."""
    DEVICE_LISTS = "device_lists"
    TO_DEVICE = "to_device"
    THREAD_SUBSCRIPTIONS = "thread_subscriptions"
    STICKY_EVENTS = "sticky_events"
    """An event that sticks was shown: mostly with the event's own position, which is of both kinds."""


class StreamRow:
    """The stream's row as a reader saw it: the position, and each kind's last one."""

    __slots__ = ("last", "position")

    def __init__(self, values: tuple[int, ...]) -> None:
        self.position = values[0]
        self.last = dict(zip(Kind, values[1:], strict=True))

    def changed_since(self, kind: Kind, since: int) -> bool:
        """Whether a row of this kind may have been published after `since`."""
        return self.last[kind] > since
