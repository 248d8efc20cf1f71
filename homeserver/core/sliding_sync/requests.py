"""What a client asks for, whichever of the two forms of the API it speaks. Spec: MSC4186, "Request Body"."""

from enum import Enum, auto

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.sliding_sync.required_state import RequiredState
from homeserver.core.sliding_sync.room_filters import RoomFilter

DEFAULT_SUBSCRIPTIONS = 100
"""Changes of thread subscriptions in one answer. Spec: MSC4308."""

DEFAULT_STICKY_EVENTS = 100
"""Sticky events in one answer. Spec: MSC4480."""


class Form(Enum):
    """The form in which the client is answered."""

    STABLE = auto()
    """As it was accepted."""

    UNSTABLE = auto()
    """As it was tried out before, `org.matrix.simplified_msc3575`."""


class RoomConfig(msgspec.Struct, frozen=True):
    """What is to be sent of a room: the newest events of its timeline, and what any of the rules wants of its state."""

    timeline_limit: int
    required_state: tuple[RequiredState, ...]


class RoomList(msgspec.Struct, frozen=True):
    """A list: the rooms that pass the filter, and of these the ones in the ranges (both ends count; `None`: all)."""

    name: str
    config: RoomConfig
    filter: RoomFilter
    ranges: tuple[tuple[int, int], ...] | None


class Subscription(msgspec.Struct, frozen=True):
    """A room that is wanted whatever lists it is in."""

    room_id: RoomID
    config: RoomConfig


class Scope(msgspec.Struct, frozen=True):
    """The rooms for which an extension is wanted, among those that the request is about.

    `lists` are the names of lists, `None` for all of them. `rooms` are subscriptions, `None` for all of them.
    """

    lists: frozenset[str] | None = None
    rooms: frozenset[str] | None = None

    def covers(self, room_id: RoomID, lists: tuple[str, ...], *, is_subscribed: bool) -> bool:
        """Whether a room is meant that is in the windows of these lists, or subscribed to, or both."""
        if is_subscribed and (self.rooms is None or room_id in self.rooms):
            return True
        return bool(lists) and (self.lists is None or not self.lists.isdisjoint(lists))


class ToDeviceWanted(msgspec.Struct, frozen=True):
    """Messages to the device are wanted: how many at most, and those after which position (`None`: all)."""

    limit: int
    after: int | None


class StickyEvents(msgspec.Struct, frozen=True):
    """The sticky events that were shown after the position `since`: about the first `limit` of them."""

    since: int
    limit: int


class Extensions(msgspec.Struct, frozen=True):
    """What is wanted beside the rooms; `None`: nothing. `thread_subscriptions` says how many at most."""

    account_data: Scope | None = None
    receipts: Scope | None = None
    typing: Scope | None = None
    thread_subscriptions: int | None = None
    to_device: ToDeviceWanted | None = None
    e2ee: bool = False
    sticky_events: StickyEvents | None = None


class SlidingRequest(msgspec.Struct, frozen=True):
    """All that shapes an answer, but for how far the client is."""

    form: Form
    lists: tuple[RoomList, ...]
    subscriptions: tuple[Subscription, ...]
    extensions: Extensions
