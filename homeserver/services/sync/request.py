"""What a sync asks for, and what it is answered."""

from collections.abc import Mapping

import msgspec

from homeserver.core.filters import CompiledFilter
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.tokens import SyncToken
from homeserver.services.sync.key_counts import KeySections
from homeserver.services.sync.lazy_members import Sent
from homeserver.services.sync.to_device import DeviceMessages
from homeserver.services.sync.unread import UnreadCounts


class SyncRequest(msgspec.Struct, frozen=True):
    """A sync of one device. `since` is the position of its token, `None` for an initial sync.

    Messages to the device are wanted from `messages_after` on. `keys` is what it is told of its keys, `None` if that is
    not known; it must hold at `since`.
    """

    user_id: UserID
    device_id: str
    since: int | None
    full_state: bool
    use_state_after: bool
    filter: CompiledFilter
    sent_members: Sent
    now_ts: int
    messages_after: int
    keys: KeySections | None = None


class SyncAnswer(msgspec.Struct, frozen=True):
    """The response's body, the position of its `next_batch`, and what a later answer can build on.

    `sent_members` are the members whose state this answer brings, `unread` the unread counts that
    it tells, both by room. `messages` are those to the device: how many, and where they end if more of them wait.
    `keys` is what it is told of its keys.
    """

    body: bytes
    upto: int
    is_empty: bool
    sent_members: Mapping[RoomID, frozenset[str]] = msgspec.field(default_factory=dict)
    unread: Mapping[RoomID, UnreadCounts] = msgspec.field(default_factory=dict)
    messages: DeviceMessages = msgspec.field(default_factory=DeviceMessages)
    keys: KeySections = msgspec.field(default_factory=dict)

    @property
    def token(self) -> SyncToken:
        """Its `next_batch`."""
        return SyncToken(self.upto, self.messages.upto)
