"""The services of one server, each made from what it needs."""

import attrs
from twisted.internet.interfaces import IReactorTime

from homeserver.config.sections import Config
from homeserver.database.database import Database
from homeserver.rooms.draft import Signer
from homeserver.runtime.clock import Clock
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.account_data import AccountData
from homeserver.services.accounts import Accounts
from homeserver.services.aliases import Aliases
from homeserver.services.attempts import InMemoryAttempts
from homeserver.services.authentication import Authentication
from homeserver.services.devices import Devices
from homeserver.services.filters import Filters
from homeserver.services.health import Health
from homeserver.services.logins import Logins
from homeserver.services.memberships import Memberships
from homeserver.services.messages import Messages
from homeserver.services.passwords import Passwords
from homeserver.services.presence import Presence
from homeserver.services.profiles import Profiles
from homeserver.services.push_rules import PushRules
from homeserver.services.receipts import Receipts
from homeserver.services.registration import Registrations
from homeserver.services.room_creation import RoomCreation
from homeserver.services.sessions import Sessions
from homeserver.services.shared_secret_registration import SharedSecretRegistrations
from homeserver.services.sync.filters import SyncFilters
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.from_tail import FromTail, Renderings
from homeserver.services.sync.lazy_members import LazyMembers
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.service import Sync
from homeserver.services.sync.waiters import Waiters
from homeserver.services.tags import Tags
from homeserver.services.typing import Typing
from homeserver.services.uia import UserInteractiveAuth
from homeserver.services.uia_stages import DummyStage, PasswordStage, RegistrationTokenStage
from homeserver.services.user_names import UserNames


@attrs.frozen(kw_only=True)
class Services:
    """Everything that endpoints and loops call."""

    account_data: AccountData
    accounts: Accounts
    aliases: Aliases
    authentication: Authentication
    devices: Devices
    filters: Filters
    follower: Follower
    health: Health
    logins: Logins
    memberships: Memberships
    messages: Messages
    presence: Presence
    profiles: Profiles
    push_rules: PushRules
    receipts: Receipts
    registrations: Registrations
    room_creation: RoomCreation
    sessions: Sessions
    shared_secret_registrations: SharedSecretRegistrations
    sync: Sync
    sync_filters: SyncFilters
    tags: Tags
    typing: Typing
    uia: UserInteractiveAuth
    waiters: Waiters


def make_services(
    config: Config,
    database: Database,
    clock: Clock,
    reactor: IReactorTime,
    signer: Signer,
    workers: WorkerPool,
) -> Services:
    """Wire the services of one server together."""
    names = UserNames(config.server_name)
    passwords = Passwords(database, names, workers, InMemoryAttempts(clock))
    sessions = Sessions(database, clock)
    uia = UserInteractiveAuth(
        database,
        clock,
        {
            "m.login.dummy": DummyStage(),
            "m.login.password": PasswordStage(passwords, names),
            "m.login.registration_token": RegistrationTokenStage(database, clock),
        },
    )
    aliases = Aliases(database, clock, signer)
    memberships = Memberships(database, clock, signer, aliases)
    presence = Presence(database, clock)
    waiters = Waiters()
    remembered = Remembered()
    follower = Follower(database, clock, reactor, waiters, remembered)
    return Services(
        account_data=AccountData(database),
        accounts=Accounts(database, clock, names, passwords, memberships),
        aliases=aliases,
        authentication=Authentication(database, clock),
        devices=Devices(database, clock),
        filters=Filters(database),
        follower=follower,
        health=Health(database),
        logins=Logins(database, clock, passwords),
        memberships=memberships,
        messages=Messages(database, clock, signer, presence),
        presence=presence,
        profiles=Profiles(database, None, presence),
        push_rules=PushRules(database),
        receipts=Receipts(database, clock, presence),
        registrations=Registrations(database, clock, config.registration, names, passwords, sessions, uia),
        room_creation=RoomCreation(database, clock, signer, config.default_room_version),
        sessions=sessions,
        shared_secret_registrations=SharedSecretRegistrations(
            database, clock, config.registration.shared_secret, names, passwords, sessions
        ),
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
        uia=uia,
        waiters=waiters,
    )
