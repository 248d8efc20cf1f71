"""The services of one server, each made from what it needs."""

import attrs
from twisted.internet.interfaces import IReactorTime

from homeserver.config.sections import Config
from homeserver.database.database import Database
from homeserver.rooms.draft import Signer
from homeserver.runtime.clock import Clock
from homeserver.services.account_data import AccountData
from homeserver.services.filters import Filters
from homeserver.services.health import Health
from homeserver.services.messages import Messages
from homeserver.services.presence import Presence
from homeserver.services.profiles import Profiles
from homeserver.services.push_rules import PushRules
from homeserver.services.receipts import Receipts
from homeserver.services.room_creation import RoomCreation
from homeserver.services.sync.filters import SyncFilters
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.from_tail import FromTail, Renderings
from homeserver.services.sync.lazy_members import LazyMembers
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.service import Sync
from homeserver.services.sync.waiters import Waiters
from homeserver.services.tags import Tags
from homeserver.services.typing import Typing


@attrs.frozen(kw_only=True)
class Services:
    """Everything that endpoints and loops call."""

    account_data: AccountData
    filters: Filters
    follower: Follower
    health: Health
    messages: Messages
    presence: Presence
    profiles: Profiles
    push_rules: PushRules
    receipts: Receipts
    room_creation: RoomCreation
    sync: Sync
    sync_filters: SyncFilters
    tags: Tags
    typing: Typing
    waiters: Waiters


def make_services(
    config: Config, database: Database, clock: Clock, reactor: IReactorTime, signer: Signer
) -> Services:
    """Wire the services of one server together."""
    presence = Presence(database, clock)
    waiters = Waiters()
    remembered = Remembered()
    follower = Follower(database, clock, reactor, waiters, remembered)
    return Services(
        account_data=AccountData(database),
        filters=Filters(database),
        follower=follower,
        health=Health(database),
        messages=Messages(database, clock, signer),
        presence=presence,
        profiles=Profiles(database, None, presence),
        push_rules=PushRules(database),
        receipts=Receipts(database, clock, presence),
        room_creation=RoomCreation(database, clock, signer, config.default_room_version),
        sync=Sync(
            database,
            clock,
            reactor,
            waiters,
            follower,
            FromTail(follower, remembered, Renderings()),
            LazyMembers(),
        ),
        sync_filters=SyncFilters(database),
        tags=Tags(database),
        typing=Typing(database, clock, presence),
        waiters=waiters,
    )
