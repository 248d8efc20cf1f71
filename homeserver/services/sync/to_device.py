"""Messages to the device that syncs: which of them it is given, and which it has.

A message waits until a request proves that the device has it: until a token comes back that led to it, or beyond.
Spec: client-server API, "Send-to-device messaging", "Server behaviour".
"""

from collections import OrderedDict
from typing import Final

import attrs
import msgspec
import structlog

from homeserver.core.identifiers import UserID
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction
from homeserver.services.ignored_users import ignored_by
from homeserver.services.sync.follower import Follower
from homeserver.storage import to_device

MOST: Final = 100
"""In one answer. Spec: "100 messages is recommended as a reasonable limit"."""

MOST_BYTES: Final = 1024 * 1024
"""In one answer, unless a single message has more."""

_log = structlog.get_logger(__name__)


class DeviceMessages(msgspec.Struct, frozen=True):
    """Messages in the order in which they came, as JSON.

    `upto` is the position where they end if more wait; `None` if these are all up to where the answer leads.
    """

    events: tuple[bytes, ...] = ()
    upto: int | None = None

    def __bool__(self) -> bool:
        """Whether the client is to hear of this: of messages, or that it has come further."""
        return bool(self.events) or self.upto is not None

    @property
    def section(self) -> dict[str, bytes]:
        """The member `to_device` of an answer, if there is anything in it."""
        return {"to_device": object_of({"events": array(self.events)})} if self.events else {}


def read_messages(
    tx: ReadTransaction, user_id: UserID, device_id: str, *, after: int, upto: int, most: int = MOST
) -> DeviceMessages:
    """The first messages with `after < position <= upto`, without those of users who are ignored.

    A token from before the database was restored, `after` what there is, says nothing. Spec: "Once ignored, the client
    will no longer receive events sent by that user".
    """
    if not device_id:
        return DeviceMessages()
    if after > upto:
        after = 0
    found, is_more = to_device.waiting(
        tx, user_id, device_id, after=after, upto=upto, most=most, most_bytes=MOST_BYTES
    )
    if not found:
        return DeviceMessages()
    ignored = ignored_by(tx, user_id)
    return DeviceMessages(
        tuple(each.message for each in found if each.sender not in ignored),
        found[-1].position if is_more else None,
    )


@attrs.frozen(eq=False)
class Inboxes:
    """The messages of this process's clients.

    In memory is only up to where their devices' inboxes are known to be empty, so that no request asks the database
    for nothing.
    """

    MOST_DEVICES = 20_000

    database: Database
    follower: Follower
    _empty_upto: OrderedDict[tuple[UserID, str], int] = attrs.field(factory=OrderedDict, init=False)

    async def acknowledge(self, user_id: UserID, device_id: str, *, upto: int) -> None:
        """The device has the messages up to a position: nobody is given them any more.

        If that cannot be stored now, it is when the next token comes: who only reads is not to be held up.
        """
        if not device_id or self._is_empty(user_id, device_id, upto):
            return
        try:
            is_any, position = await self.database.read(_look, user_id, device_id, upto=upto)
            if upto > position:
                # The token is from before the database was restored: it is not about these messages.
                return
            if is_any:
                await self.database.write_soon(to_device.remove, user_id, device_id, upto=upto)
        except StorageUnavailable as error:
            _log.warning("messages that were received are kept for now", reason=str(error))
            return
        self._remember(user_id, device_id, upto)

    async def read(
        self, user_id: UserID, device_id: str, *, after: int, upto: int, most: int = MOST
    ) -> DeviceMessages:
        """As `read_messages`."""
        return await self.database.read(read_messages, user_id, device_id, after=after, upto=upto, most=most)

    def _is_empty(self, user_id: UserID, device_id: str, upto: int) -> bool:
        """Whether nothing can be waiting up to there, as far as this process knows."""
        empty_upto = self._empty_upto.get((user_id, device_id))
        if empty_upto is None:
            return False
        if upto <= empty_upto:
            return True
        tail = self.follower.tail
        if upto > tail.position or tail.messages.may_be_after(empty_upto, user_id, device_id):
            return False
        self._remember(user_id, device_id, upto)
        return True

    def _remember(self, user_id: UserID, device_id: str, upto: int) -> None:
        key = user_id, device_id
        self._empty_upto[key] = max(upto, self._empty_upto.get(key, 0))
        self._empty_upto.move_to_end(key)
        if len(self._empty_upto) > self.MOST_DEVICES:
            self._empty_upto.popitem(last=False)


def _look(tx: ReadTransaction, user_id: UserID, device_id: str, *, upto: int) -> tuple[bool, int]:
    return to_device.is_any(tx, user_id, device_id, upto=upto), tx.stream_row().position
