"""What a client asks for, whichever of the two forms of the API it speaks. Spec: MSC4186, "Request Body"."""

from enum import Enum, auto

import attrs

from homeserver.core.identifiers import RoomID
from homeserver.core.sliding_sync.required_state import RequiredState
from homeserver.core.sliding_sync.room_filters import RoomFilter

DEFAULT_SUBSCRIPTIONS = 100
"""Changes of thread subscriptions in one answer. Spec: MSC4308."""


class Form(Enum):
    """The form in which the client is answered."""

    STABLE = auto()
    """As it was accepted."""

    UNSTABLE = auto()
    """As it was tried out before, `org.matrix.simplified_msc3575`."""


@attrs.frozen(slots=True)
class RoomConfig:
    """What is to be sent of a room: the newest events of its timeline, and what any of the rules wants of its state."""

    timeline_limit: int
    required_state: tuple[RequiredState, ...]


@attrs.frozen(slots=True)
class RoomList:
    """A list: the rooms that pass the filter, and of these the ones in the ranges (both ends count; `None`: all)."""

    name: str
    config: RoomConfig
    filter: RoomFilter
    ranges: tuple[tuple[int, int], ...] | None


@attrs.frozen(slots=True)
class Subscription:
    """A room that is wanted whatever lists it is in."""

    room_id: RoomID
    config: RoomConfig


@attrs.frozen(slots=True)
class Scope:
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


@attrs.frozen(slots=True)
class ToDeviceWanted:
    """Messages to the device are wanted: how many at most, and those after which position (`None`: all)."""

    limit: int
    after: int | None


@attrs.frozen(slots=True)
class Extensions:
    """What is wanted beside the rooms; `None`: nothing. `thread_subscriptions` says how many at most."""

    account_data: Scope | None = None
    receipts: Scope | None = None
    typing: Scope | None = None
    thread_subscriptions: int | None = None
    to_device: ToDeviceWanted | None = None


@attrs.frozen(slots=True)
class SlidingRequest:
    """All that shapes an answer, but for how far the client is."""

    form: Form
    lists: tuple[RoomList, ...]
    subscriptions: tuple[Subscription, ...]
    extensions: Extensions
