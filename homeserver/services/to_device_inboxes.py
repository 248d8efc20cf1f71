"""The inboxes of devices: what is let in, and what is dropped of those that nobody opens."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs
import msgspec
import structlog

from homeserver.core.errors import TooLarge
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.to_device import ALL_DEVICES, Messages, message_json
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.storage import outbound_to_device, received_to_device, to_device
from homeserver.storage.to_device import Inbox, Letter

MOST_LETTERS: Final = 10_000
MOST_LETTER_BYTES: Final = 16 * 1024 * 1024
"""What one request or EDU may come to, when `*` has been replaced by the devices that it stands for."""

DAY_MS: Final = 24 * 3_600_000

UNSEEN_MS: Final = 90 * DAY_MS
"""Who has not used a device for so long will hardly return to it."""

MOST_UNSEEN: Final = 1_000
"""Messages that are kept for such a device, the newest."""

UNDELIVERED_MS: Final = 90 * DAY_MS
"""What another server has not taken in this time is dropped: that server is gone, or this one may not deal with it.

Its users' devices would ask for keys that they lack, should it return.
"""

RECEIVED_MS: Final = 30 * DAY_MS
"""For how long it is known what other servers have sent. Servers try for days to get rid of the same message."""

AT_ONCE: Final = 500
"""Messages that one write drops."""

LOGGED_MS: Final = 3_600_000
"""The log says once an hour of a sender that messages were dropped."""

_log = structlog.get_logger(__name__)


class Bounds(msgspec.Struct, frozen=True):
    """How much of messages and bytes may wait for one device."""

    messages: int
    bytes: int

    def have_room(self, messages: int, size: int, *, more: int) -> bool:
        """Whether one more message, of `more` bytes, fits in with those that wait."""
        return messages < self.messages and size + more <= self.bytes


SHARE: Final = Bounds(2_000, 16 * 1024 * 1024)
"""Of a user of this server."""

SHARE_OF_SERVER: Final = Bounds(10_000, 32 * 1024 * 1024)
"""Of all users of another server, which can make as many as it likes. When it is used up, those of them are still let
in of whom little has been since, while there is room for ALL: one user does not keep out the others."""

ALL: Final = Bounds(20_000, 64 * 1024 * 1024)
"""Of all together. Beyond it only those are let in who have little there: whoever has filled the inbox keeps out
nobody else."""

LITTLE: Final = Bounds(100, 1024 * 1024)

FULL: Final = Bounds(40_000, 128 * 1024 * 1024)
"""Nobody is let in any more."""


def is_let_in(inbox: Inbox, size: int, *, is_from_here: bool) -> bool:
    """Whether a message of so many bytes is put into an inbox, or dropped."""
    share = SHARE if is_from_here else SHARE_OF_SERVER
    own = (inbox.messages_of_source, inbox.bytes_of_source)
    whole = (inbox.messages, inbox.bytes)
    if not share.have_room(*own, more=size) or not FULL.have_room(*whole, more=size):
        return False
    return ALL.have_room(*whole, more=size) or LITTLE.have_room(*own, more=size)


def is_let_in_beyond(inbox: Inbox, size: int) -> bool:
    """As `is_let_in`, for a user of another server whose share is used up; the user is the source that is counted."""
    own = (inbox.messages_of_source, inbox.bytes_of_source)
    return LITTLE.have_room(*own, more=size) and ALL.have_room(inbox.messages, inbox.bytes, more=size)


def letters_for(
    tx: ReadTransaction,
    sender: UserID,
    event_type: str,
    messages: Messages,
    *,
    source: str,
    earlier: Sequence[Letter] = (),
) -> tuple[list[Letter], int]:
    """The messages for the devices here that they are for, as far as those exist; and how many more are dropped.

    `source` is the sender, or the sender's server if that is another; `earlier` is what the same transaction has let in
    before. Of a message for `*` and one for a device the latter counts. Errors: TooLarge if it is too much for one
    time.
    """
    found: list[Letter] = []
    refused: dict[UserID, dict[DeviceID, bytes]] = {}
    number = size = 0
    written: dict[tuple[UserID, str], bytes] = {}
    inboxes = _with(to_device.inboxes(tx, messages, source=source), earlier, source)
    for inbox, name, content in _addressed(inboxes, messages):
        message = written.get((inbox.user_id, name))
        if message is None:
            message = written[inbox.user_id, name] = message_json(sender, event_type, content)
        number += 1
        size += len(message)
        if number > MOST_LETTERS or size > MOST_LETTER_BYTES:
            raise TooLarge(f"{MOST_LETTERS} messages, or {MOST_LETTER_BYTES} bytes in all, are sent at once")
        if is_let_in(inbox, len(message), is_from_here=source == sender):
            found.append(Letter(inbox.user_id, inbox.device_id, source, message))
        else:
            refused.setdefault(inbox.user_id, {})[inbox.device_id] = message
    if refused and source != sender:
        for inbox in _with(to_device.inboxes(tx, refused, source=sender), earlier, sender):
            # Of a user who has called a device `*` all are here.
            message = refused[inbox.user_id].get(inbox.device_id)
            if message is not None and is_let_in_beyond(inbox, len(message)):
                found.append(Letter(inbox.user_id, inbox.device_id, sender, message))
    return found, number - len(found)


def _with(inboxes: list[Inbox], earlier: Sequence[Letter], source: str) -> list[Inbox]:
    """The inboxes with these letters in them, too."""
    if not earlier:
        return inboxes
    letters: dict[tuple[UserID, DeviceID], list[Letter]] = {}
    for letter in earlier:
        letters.setdefault((letter.user_id, letter.device_id), []).append(letter)
    found: list[Inbox] = []
    for inbox in inboxes:
        new = letters.get((inbox.user_id, inbox.device_id), [])
        of_source = [each for each in new if each.source == source]
        found.append(
            msgspec.structs.replace(
                inbox,
                messages=inbox.messages + len(new),
                bytes=inbox.bytes + _size(new),
                messages_of_source=inbox.messages_of_source + len(of_source),
                bytes_of_source=inbox.bytes_of_source + _size(of_source),
            )
        )
    return found


def _size(letters: Iterable[Letter]) -> int:
    return sum(len(each.message) for each in letters)


def _addressed(inboxes: list[Inbox], messages: Messages) -> Iterator[tuple[Inbox, str, bytes]]:
    """The inboxes that a message is for, under which name, and its content."""
    for inbox in inboxes:
        by_device: Mapping[str, bytes] = messages[inbox.user_id]
        for name in (inbox.device_id, ALL_DEVICES):
            if name in by_device:
                yield inbox, name, by_device[name]
                break


@attrs.frozen(eq=False)
class ToDeviceInboxes:
    """Keeps the inboxes small, and says what was dropped."""

    database: Database
    clock: Clock
    _logged: Cache[str, int] = attrs.field(factory=lambda: Cache(1_000), init=False)

    def note_dropped(self, source: str, number: int, *, reason: str = "the share is used up") -> None:
        """So many messages of somebody were dropped; the log says so at the first time, and then not for a while."""
        now_ms = self.clock.monotonic_ms()
        last = self._logged.get(source)
        if number and (last is None or now_ms - last >= LOGGED_MS):
            self._logged.put(source, now_ms)
            _log.warning("messages to devices were dropped", source=source, number=number, reason=reason)

    async def prune(self) -> None:
        """Drop what nobody will fetch; to be called every few hours. Errors: StorageUnavailable."""
        now_ts = self.clock.now_ts()
        await self.database.write_soon(received_to_device.prune, before_ts=now_ts - RECEIVED_MS)
        while dropped := await self.database.write_soon(
            outbound_to_device.prune, before_ts=now_ts - UNDELIVERED_MS, most=AT_ONCE
        ):
            for server_name, number in dropped.items():
                self.note_dropped(server_name, number, reason="the server has not answered for very long")
        after = ("", "")
        while unseen := await self.database.read(_unseen, before_ts=now_ts - UNSEEN_MS, after=after):
            for user_id, device_id, number in unseen:
                await self._shorten(user_id, device_id, number - MOST_UNSEEN)
            after = (unseen[-1][0], unseen[-1][1])

    async def _shorten(self, user_id: UserID, device_id: DeviceID, surplus: int) -> None:
        while surplus > 0:
            number = min(surplus, AT_ONCE)
            removed = await self.database.write_soon(
                to_device.remove_oldest, user_id, device_id, number=number
            )
            surplus -= number if removed else surplus


def _unseen(
    tx: ReadTransaction, *, before_ts: int, after: tuple[str, str]
) -> list[tuple[UserID, DeviceID, int]]:
    return to_device.unseen(tx, before_ts=before_ts, more_than=MOST_UNSEEN, after=after, most=100)
