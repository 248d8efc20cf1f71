"""The services of one server, each made from what it needs."""

import random
import secrets
from typing import Any

import argon2
import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.app.appservices import make_appservices
from homeserver.app.contact import Contact, make_contact
from homeserver.app.encryption import Encryption, make_encryption
from homeserver.app.following import DEVICE_SOURCES, Following, make_following
from homeserver.app.handshakes import Handshakes, make_handshakes
from homeserver.app.incoming_edus import IncomingEdus, make_incoming_edus
from homeserver.app.interactive_auth import InteractiveAuth, make_interactive_auth
from homeserver.app.oauth import OAuth, make_oauth
from homeserver.app.receiving import Receiving, make_receiving
from homeserver.app.syncing import Syncing, make_syncing
from homeserver.app.to_device import DeviceMessaging, make_device_messaging
from homeserver.app.trust import Trust, make_trust
from homeserver.clients.history_source import FederationHistorySource
from homeserver.clients.reactor import ReactorForClients
from homeserver.config.sections import Config
from homeserver.config.sections import DelayedEvents as DelayedEventsSection
from homeserver.core.identifiers import UserID
from homeserver.database.database import Database, Rerun
from homeserver.database.errors import Obstacle
from homeserver.rooms.draft import Signer
from homeserver.rooms.partial_states import StateWanted
from homeserver.rooms.policies import SignatureWanted
from homeserver.runtime.clock import Clock
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.account_data import AccountData
from homeserver.services.accounts import Accounts
from homeserver.services.aliases import Aliases
from homeserver.services.appservice_users import AppserviceUsers
from homeserver.services.attempts import Attempts
from homeserver.services.authentication import Authentication
from homeserver.services.backfill import Backfill
from homeserver.services.dehydrated_devices import DehydratedDevices
from homeserver.services.delayed_events import DelayedEvents, DelayLimits
from homeserver.services.devices import Devices
from homeserver.services.event_context import EventContexts
from homeserver.services.federation_events import FederationEvents
from homeserver.services.federation_history import FederationHistory
from homeserver.services.federation_outbox.measures import OutboxMetrics
from homeserver.services.federation_outbox.outbox import Identity, Outbox
from homeserver.services.federation_outbox.to_device import OutboundToDevice
from homeserver.services.federation_queries import FederationQueries
from homeserver.services.federation_spaces import FederationSpaces
from homeserver.services.filters import Filters
from homeserver.services.guest_access import GuestAccess
from homeserver.services.health import Health
from homeserver.services.inbox_measures import InboxMetrics
from homeserver.services.key_backups import KeyBackups
from homeserver.services.logins import Logins
from homeserver.services.member_profiles import MemberProfiles
from homeserver.services.memberships import Memberships
from homeserver.services.messages import Messages
from homeserver.services.moderation import Moderation
from homeserver.services.mutual_rooms import MutualRooms
from homeserver.services.notifications import Notifications
from homeserver.services.openid_tokens import OpenIdTokens
from homeserver.services.passwords import Passwords
from homeserver.services.policy_servers import PolicyServers
from homeserver.services.presence import Presence
from homeserver.services.profiles import Profiles
from homeserver.services.public_rooms import PublicRooms
from homeserver.services.push_rules import PushRules
from homeserver.services.receipts import Receipts
from homeserver.services.registration import Registrations
from homeserver.services.relations import Relations
from homeserver.services.remote_profiles import RemoteProfiles
from homeserver.services.remote_public_rooms import RemotePublicRooms
from homeserver.services.remote_spaces import RemoteSpaces
from homeserver.services.reports import Reports
from homeserver.services.room_creation import ENCRYPTED_PRESETS, RoomCreation
from homeserver.services.room_events import RoomEvents
from homeserver.services.room_members import RoomMembers
from homeserver.services.room_purge import RoomPurge
from homeserver.services.room_snapshots import RoomSnapshots
from homeserver.services.room_state import RoomState
from homeserver.services.room_summary import RoomSummaries
from homeserver.services.room_upgrades import RoomUpgrades
from homeserver.services.search import Search
from homeserver.services.search_index import SearchIndex
from homeserver.services.server_notices import Sender, ServerNotices
from homeserver.services.sessions import Sessions
from homeserver.services.shared_secret_registration import SharedSecretRegistrations
from homeserver.services.space_hierarchy import SpaceHierarchies
from homeserver.services.sticky_events import StickyEvents
from homeserver.services.tags import Tags
from homeserver.services.third_party_invitations import ThirdPartyInvitations
from homeserver.services.thread_subscriptions import ThreadSubscriptions
from homeserver.services.threads import Threads
from homeserver.services.timelines import Timelines
from homeserver.services.turn_servers import TurnServers
from homeserver.services.typing import Typing
from homeserver.services.user_directory import UserDirectory
from homeserver.services.user_directory_index import UserDirectoryIndex
from homeserver.services.user_names import UserNames


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that endpoints and loops call."""

    account_data: AccountData
    accounts: Accounts
    aliases: Aliases
    appservice_users: AppserviceUsers
    authentication: Authentication
    contact: Contact
    dehydrated_devices: DehydratedDevices
    delayed_events: DelayedEvents
    device_messaging: DeviceMessaging
    devices: Devices
    encryption: Encryption
    event_contexts: EventContexts
    federation_events: FederationEvents
    federation_history: FederationHistory
    federation_queries: FederationQueries
    federation_spaces: FederationSpaces
    filters: Filters
    following: Following
    guest_access: GuestAccess
    handshakes: Handshakes
    health: Health
    incoming_edus: IncomingEdus
    interactive_auth: InteractiveAuth
    key_backups: KeyBackups
    logins: Logins
    memberships: Memberships
    messages: Messages
    member_profiles: MemberProfiles
    moderation: Moderation
    mutual_rooms: MutualRooms
    notifications: Notifications
    oauth: OAuth | None
    outbox: Outbox
    policy_servers: PolicyServers
    openid_tokens: OpenIdTokens
    presence: Presence
    profiles: Profiles
    public_rooms: PublicRooms
    push_rules: PushRules
    receipts: Receipts
    receiving: Receiving
    registrations: Registrations
    relations: Relations
    reports: Reports
    room_creation: RoomCreation
    room_events: RoomEvents
    room_members: RoomMembers
    room_purge: RoomPurge
    room_snapshots: RoomSnapshots
    room_state: RoomState
    room_summaries: RoomSummaries
    room_upgrades: RoomUpgrades
    search: Search
    search_index: SearchIndex
    server_notices: ServerNotices
    sessions: Sessions
    shared_secret_registrations: SharedSecretRegistrations
    space_hierarchies: SpaceHierarchies
    sticky_events: StickyEvents
    syncing: Syncing
    tags: Tags
    third_party_invitations: ThirdPartyInvitations
    thread_subscriptions: ThreadSubscriptions
    threads: Threads
    timelines: Timelines
    trust: Trust
    turn_servers: TurnServers
    typing: Typing
    user_directory: UserDirectory
    user_directory_index: UserDirectoryIndex

    def clear(self, obstacle: Obstacle, again: Rerun) -> Deferred[Any]:
        """Do what a transaction demands, and run it again; see `Database.clear`."""
        if not isinstance(obstacle, StateWanted):
            return self.policy_servers.clear(obstacle, again)

        def overcome(failure: Failure) -> Any:
            # With the members, it may turn out that a policy server is to be asked.
            if isinstance(failure.value, SignatureWanted):
                return self.policy_servers.clear(failure.value, again)
            return failure

        return self.receiving.awaited_members.clear(obstacle, lambda: again().addErrback(overcome))

    def lost_touch(self) -> None:
        """Hints of the bus may have been lost."""
        self.syncing.follower.lost_touch()
        self.outbox.lost_touch()


def make_services(
    config: Config,
    database: Database,
    clock: Clock,
    reactor: ReactorForClients,
    signer: Signer,
    workers: WorkerPool,
    attempts: Attempts,
    hasher: argon2.PasswordHasher,
    outbox_metrics: OutboxMetrics,
    inbox_metrics: InboxMetrics,
) -> Services:
    """Wire the services of one server together. Errors: ConfigError."""
    trust = make_trust(config, database, clock, reactor, signer)
    outbox = Outbox(
        Identity(signer.server_name, secrets.token_hex(8), trust.client.lists.allows),
        database,
        clock,
        reactor,
        trust.client,
        random.random,
        metrics=outbox_metrics,
        # Of a device first, then its messages.
        sources=(*DEVICE_SOURCES, OutboundToDevice()),
    )
    following = make_following(database, clock, reactor, trust.client, config.server_name)
    trust.authentication.heard_of.extend((outbox.heard_of, following.lists.heard_of))
    notices = _notices_sender(config)
    appservices = make_appservices(config)
    names = UserNames(config.server_name, appservices, None if notices is None else notices.user_id)
    passwords = Passwords(database, names, workers, attempts, hasher)
    sessions = Sessions(database, clock)
    contact = make_contact(config, database, clock, reactor, attempts, trust)
    interactive_auth = make_interactive_auth(config, database, clock, names, passwords, contact)
    policy_servers = PolicyServers(database, trust.client, clock)
    device_messaging = make_device_messaging(database, clock, signer.server_name, trust)
    edus = make_incoming_edus(
        database, clock, following, device_messaging, with_presence=config.presence.enabled
    )
    receiving = make_receiving(
        database, clock, reactor, signer, trust, policy_servers, edus.all, inbox_metrics
    )
    handshakes = make_handshakes(
        database, clock, signer, workers, trust.client, receiving, reactor, contact.identity_servers
    )
    aliases = Aliases(database, clock, signer, handshakes.remote_aliases, appservices)
    guest_access = GuestAccess(database, clock, signer)
    member_profiles = MemberProfiles(database, clock, signer)
    memberships = Memberships(database, clock, signer, aliases, handshakes.remote_memberships)
    presence = Presence(database, clock, config.presence.enabled)
    remote_spaces = RemoteSpaces(trust.client, clock)
    backfill = Backfill(
        database,
        clock,
        reactor,
        FederationHistorySource(trust.client),
        receiving.missing,
        receiving.awaited_members,
        config.server_name,
    )
    accounts = Accounts(database, clock, names, passwords, memberships)
    profiles = Profiles(
        database, member_profiles, presence, config.server_name, RemoteProfiles(trust.client, clock)
    )
    devices = Devices(database, clock)
    return Services(
        account_data=AccountData(database),
        accounts=accounts,
        aliases=aliases,
        appservice_users=AppserviceUsers(database, clock, names, sessions, appservices),
        authentication=Authentication(database, clock, appservices),
        contact=contact,
        dehydrated_devices=DehydratedDevices(database, clock),
        delayed_events=DelayedEvents(
            database, clock, signer, _delay_limits(config.delayed_events), guest_access
        ),
        device_messaging=device_messaging,
        devices=devices,
        encryption=make_encryption(database, config.server_name, following.remote_keys),
        event_contexts=EventContexts(database, clock, backfill),
        federation_events=FederationEvents(database, clock, config.server_name),
        federation_history=FederationHistory(database, clock, config.server_name),
        federation_queries=FederationQueries(database, config.server_name),
        federation_spaces=FederationSpaces(database),
        filters=Filters(database),
        following=following,
        guest_access=guest_access,
        handshakes=handshakes,
        health=Health(database),
        incoming_edus=edus,
        interactive_auth=interactive_auth,
        key_backups=KeyBackups(database, clock),
        logins=Logins(database, clock, passwords),
        member_profiles=member_profiles,
        memberships=memberships,
        messages=Messages(database, clock, signer, presence),
        notifications=Notifications(database, clock),
        moderation=Moderation(database, config.server_name),
        mutual_rooms=MutualRooms(database),
        openid_tokens=OpenIdTokens(database, clock),
        oauth=make_oauth(
            config,
            database,
            clock,
            sessions,
            passwords,
            contact,
            accounts,
            profiles,
            devices,
            interactive_auth.resets,
        ),
        outbox=outbox,
        policy_servers=policy_servers,
        presence=presence,
        profiles=profiles,
        public_rooms=PublicRooms(database, clock, signer, RemotePublicRooms(trust.client)),
        push_rules=PushRules(database),
        receipts=Receipts(database, clock, presence),
        receiving=receiving,
        registrations=Registrations(
            database,
            clock,
            config.registration,
            names,
            passwords,
            sessions,
            interactive_auth.uia,
        ),
        relations=Relations(database, clock),
        reports=Reports(database, clock),
        room_creation=RoomCreation(
            database,
            clock,
            signer,
            config.default_room_version,
            memberships,
            encrypted_presets(config),
            appservices,
        ),
        room_events=RoomEvents(database, clock, backfill),
        room_members=RoomMembers(database, clock, receiving.awaited_members, appservices),
        room_purge=RoomPurge(database, clock),
        room_snapshots=RoomSnapshots(database, clock, receiving.awaited_members),
        room_state=RoomState(database, clock, signer, guest_access, memberships, receiving.awaited_members),
        room_summaries=RoomSummaries(database, config.server_name, aliases, remote_spaces),
        room_upgrades=RoomUpgrades(database, clock, signer),
        search=Search(database, clock),
        search_index=SearchIndex(database),
        server_notices=ServerNotices(database, clock, signer, notices, config.default_room_version),
        sessions=sessions,
        shared_secret_registrations=SharedSecretRegistrations(
            database, clock, config.registration.shared_secret, names, passwords, sessions
        ),
        space_hierarchies=SpaceHierarchies(database, clock, config.server_name, remote_spaces),
        sticky_events=StickyEvents(database, clock),
        syncing=make_syncing(database, clock, reactor, presence, backfill),
        tags=Tags(database),
        third_party_invitations=ThirdPartyInvitations(
            database, clock, signer, contact.identity_servers, memberships
        ),
        thread_subscriptions=ThreadSubscriptions(database),
        threads=Threads(database, clock),
        timelines=Timelines(database, clock, backfill),
        trust=trust,
        turn_servers=TurnServers(clock, config.turn),
        typing=Typing(database, clock, presence),
        user_directory=UserDirectory(database, config.user_directory.search_all_users),
        user_directory_index=UserDirectoryIndex(database, clock, config.server_name),
    )


def encrypted_presets(config: Config) -> frozenset[str]:
    """The presets of `createRoom` whose rooms are encrypted, whatever the client says."""
    return ENCRYPTED_PRESETS[config.encryption_enabled_by_default_for_room_type]


def _delay_limits(section: DelayedEventsSection) -> DelayLimits:
    return DelayLimits(section.max_delay_s * 1000, section.max_scheduled)


def _notices_sender(config: Config) -> Sender | None:
    """Who sends the notices of this server."""
    section = config.server_notices
    if section is None:
        return None
    return Sender(
        UserID(f"@{section.localpart}:{config.server_name}"),
        section.display_name,
        section.avatar_url,
        section.room_name,
        section.room_topic,
        section.auto_join,
    )
