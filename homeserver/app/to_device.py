"""The services of messages to devices."""

import secrets

import msgspec

from homeserver.app.trust import Trust
from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.to_device import IncomingToDevice
from homeserver.services.to_device import ToDevice
from homeserver.services.to_device_inboxes import ToDeviceInboxes

MESSAGE_ID_BYTES = 12


class DeviceMessaging(msgspec.Struct, frozen=True):
    """Sending, receiving, and keeping what waits small."""

    inboxes: ToDeviceInboxes
    sending: ToDevice
    incoming: IncomingToDevice


def make_device_messaging(
    database: Database, clock: Clock, server_name: ServerName, trust: Trust
) -> DeviceMessaging:
    """Wire them together."""
    inboxes = ToDeviceInboxes(database, clock)
    sending = ToDevice(
        database,
        clock,
        server_name,
        inboxes,
        lambda: secrets.token_hex(MESSAGE_ID_BYTES),
        trust.client.lists.allows,
    )
    return DeviceMessaging(inboxes, sending, IncomingToDevice(database, clock, server_name, inboxes))
