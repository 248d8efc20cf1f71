"""Sending messages to devices, here and elsewhere. Spec: client-server API, "Send-to-device messaging"."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from homeserver.core.errors import InvalidParam, TooLarge, UserSuspended
from homeserver.core.identifiers import MAX_IDENTIFIER_BYTES, ServerName, UserID, parse_user_id, server_of
from homeserver.core.json import JsonObject, canonical
from homeserver.core.requester import Requester
from homeserver.core.to_device import MOST_CONTENT_BYTES, Messages, direct_to_device
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.to_device_inboxes import MOST_LETTERS, ToDeviceInboxes, letters_for
from homeserver.storage import client_transactions, outbound_to_device, to_device
from homeserver.storage.outbound_to_device import Backlog

MOST_FOR_SERVER: Final = 2_000
"""EDUs of one user that may wait for one server."""

MOST_BACKLOG_BYTES: Final = 256 * 1024 * 1024
"""Of one user, for all servers. Beyond it only servers for which nothing of the user waits are sent anything: those
that answer."""

MOST_BACKLOGS: Final = 10_000
"""Servers that do not answer, for which something of one user waits."""


class Sending(msgspec.Struct, frozen=True):
    """What one request sends: messages for users here, and EDUs for other servers."""

    sender: UserID
    event_type: str
    here: Messages
    elsewhere: Mapping[ServerName, list[bytes]]


class ToDevice(msgspec.Struct, frozen=True):
    """Sends the messages of this server's users. `allows` says with which servers this one deals."""

    database: Database
    clock: Clock
    server_name: ServerName
    inboxes: ToDeviceInboxes
    new_message_id: Callable[[], str]
    allows: Callable[[ServerName], bool]

    async def send(
        self,
        requester: Requester,
        event_type: str,
        txn_id: str,
        messages: Mapping[str, Mapping[str, JsonObject]],
    ) -> None:
        """Send messages, by user and device (or `*`); the same `txn_id` from the same device sends nothing more.

        Who does not exist here is not sent anything, and that is no error. When this returns, all is on disk.
        Errors: InvalidParam for what is no user ID; BadJson; TooLarge; UserSuspended for messages to others.
        """
        size = len(event_type.encode())
        if size > MAX_IDENTIFIER_BYTES or "\0" in event_type:
            raise InvalidParam(f"a type has at most {MAX_IDENTIFIER_BYTES} bytes, and no NUL")
        written = _written(messages)
        if requester.is_suspended and written.keys() - {requester.user_id}:
            raise UserSuspended("You cannot do this while your account is suspended")
        dropped = await self.database.write(
            send_once,
            self._sending(requester.user_id, event_type, written),
            requester.device_id or "",
            f"sendToDevice/{event_type}/{txn_id}",
            now_ts=self.clock.now_ts(),
        )
        self.inboxes.note_dropped(requester.user_id, dropped)

    def _sending(self, sender: UserID, event_type: str, messages: Messages) -> Sending:
        here: dict[UserID, Mapping[str, bytes]] = {}
        elsewhere: dict[ServerName, dict[UserID, Mapping[str, bytes]]] = {}
        for user_id, by_device in messages.items():
            server_name = server_of(user_id)
            if server_name == self.server_name:
                here[user_id] = by_device
            elif server_name is not None and by_device and self.allows(server_name):
                elsewhere.setdefault(server_name, {})[user_id] = by_device
        message_id = self.new_message_id()
        return Sending(
            sender,
            event_type,
            here,
            {
                server_name: direct_to_device(sender, event_type, message_id, part)
                for server_name, part in elsewhere.items()
            },
        )


def send_once(tx: WriteTransaction, sending: Sending, device_id: str, request: str, *, now_ts: int) -> int:
    """Send the messages, unless this device has already made this request; gives how many were dropped."""
    sender = sending.sender
    if client_transactions.result_of(tx, sender, device_id, request) is not None:
        return 0
    letters, dropped = letters_for(tx, sender, sending.event_type, sending.here, source=sender)
    to_device.put(tx, sender, letters)
    if sending.elsewhere:
        backlogs = outbound_to_device.backlogs(tx, sender)
        taken = {
            server_name: edus
            for server_name, edus in sending.elsewhere.items()
            if is_taken(backlogs, server_name, len(edus))
        }
        outbound_to_device.put(tx, sender, taken, now_ts=now_ts)
        dropped += len(sending.elsewhere) - len(taken)
    client_transactions.remember(tx, sender, device_id, request, result="", now_ts=now_ts)
    return dropped


def is_taken(backlogs: Mapping[ServerName, Backlog], server_name: ServerName, edus: int) -> bool:
    """Whether a sender for whom so much waits may have more wait for a server."""
    backlog = backlogs.get(server_name)
    if backlog is None:
        return len(backlogs) < MOST_BACKLOGS
    if backlog.edus + edus > MOST_FOR_SERVER:
        return False
    return sum(each.bytes for each in backlogs.values()) < MOST_BACKLOG_BYTES


def _written(messages: Mapping[str, Mapping[str, JsonObject]]) -> Messages:
    """The contents as canonical JSON. Errors: InvalidParam, BadJson, TooLarge."""
    if sum(map(len, messages.values())) > MOST_LETTERS:
        raise TooLarge(f"at most {MOST_LETTERS} messages are sent at once")
    return {
        parse_user_id(user_id): {
            _checked(device_id): _content(content) for device_id, content in each.items()
        }
        for user_id, each in messages.items()
    }


def _checked(device_id: str) -> str:
    """Errors: InvalidParam for what is no ID of a device anywhere."""
    if len(device_id.encode()) > MAX_IDENTIFIER_BYTES:
        raise InvalidParam(f"a device ID has at most {MAX_IDENTIFIER_BYTES} bytes")
    return device_id


def _content(content: JsonObject) -> bytes:
    data = canonical(content)
    if len(data) > MOST_CONTENT_BYTES:
        raise TooLarge(f"the content of a message has at most {MOST_CONTENT_BYTES} bytes")
    return data
