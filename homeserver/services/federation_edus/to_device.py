"""`m.direct_to_device`: messages for devices here. Spec: server-server API, "Send-to-device messaging"."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from homeserver.core.errors import BadJson, InvalidParam, TooLarge
from homeserver.core.identifiers import MAX_IDENTIFIER_BYTES, ServerName, UserID, parse_user_id, server_of
from homeserver.core.json import JsonObject, encode
from homeserver.core.to_device import Messages
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.content import read_as, read_each, user_of
from homeserver.services.to_device_inboxes import ToDeviceInboxes, letters_for
from homeserver.storage import received_to_device, to_device
from homeserver.storage.to_device import Letter

MOST_CONTENT_BYTES: Final = 256 * 1024
"""Of one message. The specification has no limit; what other servers let through is smaller."""

BATCH: Final = 20
"""EDUs in one write."""

_log = structlog.get_logger(__name__)


class DirectToDevice(msgspec.Struct):
    """The `content` of an EDU."""

    sender: str
    type: str
    message_id: str
    messages: dict[str, dict[str, JsonObject]]


class _Edu(msgspec.Struct, frozen=True):
    sender: UserID
    type: str
    message_id: str
    messages: Messages


class IncomingToDevice(msgspec.Struct, frozen=True):
    """Messages of users of other servers; what a server repeats is not taken twice."""

    database: Database
    clock: Clock
    server_name: ServerName
    inboxes: ToDeviceInboxes

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """As `EduKind.receive`; the messages are on disk when this is done."""
        edus = read_each(self._edu_in, origin, contents, what="m.direct_to_device")
        for first in range(0, len(edus), BATCH):
            some = edus[first : first + BATCH]
            try:
                dropped = await self._take(origin, some)
            except StorageUnavailable:
                raise
            except Exception:  # noqa: BLE001 - logged with its traceback, and met again for the one EDU
                _log.exception("messages to devices could not be taken together", origin=origin)
                dropped = await self._take_singly(origin, some)
            self.inboxes.note_dropped(origin, dropped)

    async def _take_singly(self, origin: ServerName, edus: Sequence[_Edu]) -> int:
        dropped = 0
        for edu in edus:
            try:
                dropped += await self._take(origin, [edu])
            except StorageUnavailable:
                raise
            except Exception:  # noqa: BLE001 - it would fail again, and hold up what comes after it
                _log.exception("a message to devices could not be taken", origin=origin)
        return dropped

    async def _take(self, origin: ServerName, edus: Sequence[_Edu]) -> int:
        return await self.database.write(apply, origin, edus, now_ts=self.clock.now_ts())

    def _edu_in(self, origin: ServerName, content: object) -> _Edu:
        found = read_as(DirectToDevice, content)
        sender = user_of(origin, found.sender)
        for text in (found.type, found.message_id):
            if len(text.encode()) > MAX_IDENTIFIER_BYTES or "\0" in text:
                raise InvalidParam("the type or the message_id is too long, or has a NUL")
        return _Edu(sender, found.type, found.message_id, self._for_users_here(found.messages))

    def _for_users_here(self, messages: Mapping[str, Mapping[str, JsonObject]]) -> Messages:
        """Errors: InvalidParam, BadJson."""
        return {
            user_id: {device_id: _content(content) for device_id, content in by_device.items()}
            for user_id, by_device in ((parse_user_id(name), each) for name, each in messages.items())
            if server_of(user_id) == self.server_name
        }


def apply(tx: WriteTransaction, origin: ServerName, edus: Sequence[_Edu], *, now_ts: int) -> int:
    """Have the messages wait for their devices, but for what has come before; gives how many were dropped."""
    dropped = 0
    earlier: list[Letter] = []
    for edu in edus:
        try:
            letters, refused = letters_for(
                tx, edu.sender, edu.type, edu.messages, source=origin, earlier=earlier
            )
        except TooLarge:
            dropped += 1
            continue
        dropped += refused
        # What was for nobody need not be known again.
        if letters and received_to_device.note(tx, origin, edu.message_id, now_ts=now_ts):
            to_device.put(tx, edu.sender, letters)
            earlier += letters
    return dropped


def _content(content: JsonObject) -> bytes:
    data = encode(content)
    if len(data) > MOST_CONTENT_BYTES:
        raise BadJson("the content of a message is too large")
    return data
