"""What follows the devices of other servers' users, and tells other servers of devices here."""

import random
from collections.abc import Mapping
from typing import Final

import msgspec
from twisted.internet.interfaces import IReactorTime

from homeserver.clients.federation import FederationClient
from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.device_list_upkeep import DeviceListUpkeep
from homeserver.services.federation_edus.device_lists import IncomingDeviceLists, IncomingUserKeys
from homeserver.services.federation_edus.service import EduKind
from homeserver.services.federation_keys import FederationKeys
from homeserver.services.federation_outbox.device_lists import ChangedDevices, MetLater, NewlyMetUsers
from homeserver.services.federation_outbox.sources import EduSource
from homeserver.services.remote_device_lists import RemoteDeviceLists
from homeserver.services.remote_keys import RemoteKeys

DEVICE_SOURCES: Final[tuple[EduSource, ...]] = (ChangedDevices(), NewlyMetUsers(), MetLater())
"""Where the outbox finds what other servers are to be told."""


class Following(msgspec.Struct, frozen=True):
    """The services about devices and keys beyond this server."""

    lists: RemoteDeviceLists
    remote_keys: RemoteKeys
    federation_keys: FederationKeys
    upkeep: DeviceListUpkeep
    edu_kinds: Mapping[str, EduKind]


def make_following(
    database: Database,
    clock: Clock,
    reactor: IReactorTime,
    client: FederationClient,
    server_name: ServerName,
) -> Following:
    """Wire them together."""
    lists = RemoteDeviceLists(client, database, clock, random.random)
    return Following(
        lists,
        RemoteKeys(client, database, reactor, lists),
        FederationKeys(database, server_name),
        DeviceListUpkeep(database),
        {
            "m.device_list_update": IncomingDeviceLists(database, clock),
            "m.signing_key_update": IncomingUserKeys(database, clock),
        },
    )
