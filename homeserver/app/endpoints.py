"""All endpoints, from the services that they translate for."""

from collections.abc import Callable, Iterable

from homeserver.api.admin.health import Health
from homeserver.api.admin.metrics import Metrics
from homeserver.api.admin.register import Register
from homeserver.api.admin.send_server_notice import SendServerNotice
from homeserver.api.browsers import Browsers
from homeserver.api.client.account_data import AccountData
from homeserver.api.client.account_deactivation import AccountDeactivation
from homeserver.api.client.account_management import AccountManagement
from homeserver.api.client.admin import Admin
from homeserver.api.client.administrative_contact import AdministrativeContact
from homeserver.api.client.banning import Banning
from homeserver.api.client.browser_login import BrowserLogin
from homeserver.api.client.browser_registration import BrowserRegistration
from homeserver.api.client.capabilities import Capabilities
from homeserver.api.client.create_room import CreateRoom
from homeserver.api.client.cross_signing import CrossSigning
from homeserver.api.client.dehydrated_devices import DehydratedDevices
from homeserver.api.client.delayed_events import DelayedEvents
from homeserver.api.client.device_management import DeviceManagement
from homeserver.api.client.directory import Directory
from homeserver.api.client.email_confirmation import EmailConfirmation
from homeserver.api.client.event_context import EventContext
from homeserver.api.client.filter import Filter
from homeserver.api.client.inviting import Inviting
from homeserver.api.client.joining import Joining
from homeserver.api.client.key_backup import KeyBackup
from homeserver.api.client.keys import Keys
from homeserver.api.client.kicking import Kicking
from homeserver.api.client.knocking import Knocking
from homeserver.api.client.leaving import Leaving
from homeserver.api.client.list_joined_rooms import ListJoinedRooms
from homeserver.api.client.list_public_rooms import ListPublicRooms
from homeserver.api.client.login import Login
from homeserver.api.client.login_fallback import LoginFallback
from homeserver.api.client.login_token import LoginToken
from homeserver.api.client.logout import Logout
from homeserver.api.client.message_pagination import MessagePagination
from homeserver.api.client.mutual_rooms import MutualRooms
from homeserver.api.client.notifications import Notifications
from homeserver.api.client.oauth_authorization import OauthAuthorization
from homeserver.api.client.oauth_server_metadata import OauthServerMetadata, issuer_of
from homeserver.api.client.oauth_tokens import OauthTokens
from homeserver.api.client.old_sync import OldSync
from homeserver.api.client.openid import Openid
from homeserver.api.client.password_management import PasswordManagement
from homeserver.api.client.peeking_events import PeekingEvents
from homeserver.api.client.policy_server import PolicyServer
from homeserver.api.client.presence import Presence
from homeserver.api.client.profile import Profile
from homeserver.api.client.pushrules import Pushrules
from homeserver.api.client.read_markers import ReadMarker
from homeserver.api.client.receipts import Receipts
from homeserver.api.client.redaction import Redaction
from homeserver.api.client.refresh import Refresh
from homeserver.api.client.registration import Registration
from homeserver.api.client.registration_tokens import RegistrationTokens
from homeserver.api.client.relations import Relations
from homeserver.api.client.report_content import ReportContent
from homeserver.api.client.room_event_by_timestamp import RoomEventByTimestamp
from homeserver.api.client.room_initial_sync import RoomInitialSync
from homeserver.api.client.room_send import RoomSend
from homeserver.api.client.room_state import RoomState
from homeserver.api.client.room_summary import RoomSummary
from homeserver.api.client.room_upgrades import RoomUpgrades
from homeserver.api.client.rooms import Rooms
from homeserver.api.client.rtc_transports import RtcTransports
from homeserver.api.client.search import Search
from homeserver.api.client.sliding_sync import SlidingSync
from homeserver.api.client.space_hierarchy import SpaceHierarchy as ClientSpaceHierarchy
from homeserver.api.client.sso_login_redirect import SsoLoginRedirect
from homeserver.api.client.support import Support
from homeserver.api.client.sync import Sync
from homeserver.api.client.sync_streams import FEATURE as STREAMING_SYNC
from homeserver.api.client.sync_streams import SyncStreams
from homeserver.api.client.tags import Tags
from homeserver.api.client.third_party_lookup import ThirdPartyLookup
from homeserver.api.client.thread_subscriptions import ThreadSubscriptions
from homeserver.api.client.threads_list import ThreadsList
from homeserver.api.client.to_device import ToDevice
from homeserver.api.client.typing import Typing
from homeserver.api.client.uia_fallback import UiaFallback
from homeserver.api.client.users import Users
from homeserver.api.client.versions import UNSTABLE_FEATURES, Versions
from homeserver.api.client.voip import Voip
from homeserver.api.client.wellknown import Wellknown
from homeserver.api.client.whoami import Whoami
from homeserver.api.federation.backfill import Backfill
from homeserver.api.federation.event_auth import EventAuth
from homeserver.api.federation.events import Events
from homeserver.api.federation.invites_v1 import InvitesV1
from homeserver.api.federation.invites_v2 import InvitesV2
from homeserver.api.federation.joins_v1 import JoinsV1
from homeserver.api.federation.joins_v2 import JoinsV2
from homeserver.api.federation.keys_query import KeysQuery
from homeserver.api.federation.keys_server import KeysServer
from homeserver.api.federation.knocks import Knocks
from homeserver.api.federation.leaving_v1 import LeavingV1
from homeserver.api.federation.leaving_v2 import LeavingV2
from homeserver.api.federation.openid import Openid as FederationOpenid
from homeserver.api.federation.public_rooms import PublicRoomDirectory
from homeserver.api.federation.query import Query
from homeserver.api.federation.space_hierarchy import SpaceHierarchy
from homeserver.api.federation.third_party_invite import ThirdPartyInvite
from homeserver.api.federation.transactions import Transactions
from homeserver.api.federation.user_devices import UserDevices
from homeserver.api.federation.user_keys import UserKeys
from homeserver.api.federation.version import Version
from homeserver.api.federation.wellknown import Wellknown as FederationWellknown
from homeserver.api.pages import Pages
from homeserver.api.sign_in import SignIn
from homeserver.api.sign_up import SignUp
from homeserver.api.waiting import WaitingRequests
from homeserver.app.oauth import OAuth
from homeserver.app.services import Services, encrypted_presets
from homeserver.config.sections import Config, Resource
from homeserver.http.endpoints import Endpoint, endpoints_of


def endpoints(
    config: Config,
    services: Services,
    resources: Iterable[Resource],
    exposition: Callable[[], bytes] | None = None,
) -> list[Endpoint]:
    """What a listener with these resources serves; `exposition` gives the metrics, where they are collected."""
    served: list[object] = [Health(services.health)]
    if Resource.CLIENT in resources:
        served += _client(config, services)
    if Resource.METRICS in resources and exposition is not None:
        served.append(Metrics(exposition))
    if Resource.FEDERATION in resources:
        served += _federation(config, services)
    return [endpoint for each in served for endpoint in endpoints_of(each)]


def _client(config: Config, services: Services) -> list[object]:
    waiting = WaitingRequests(services.syncing.open_polls, services.authentication)
    pages = Pages.of(config.server_name, config.public_base_url)
    return [
        *_pages(services, pages),
        *([] if services.oauth is None else _oauth(config, services, services.oauth, pages)),
        AccountData(services.account_data),
        AccountDeactivation(services.accounts, services.contact.bindings, services.interactive_auth.uia),
        Admin(services.moderation),
        AdministrativeContact(
            services.contact.contacts,
            services.contact.bindings,
            services.contact.validations,
            services.interactive_auth.uia,
        ),
        Banning(services.memberships),
        MutualRooms(services.mutual_rooms),
        CreateRoom(services.room_creation, services.third_party_invitations),
        DelayedEvents(services.delayed_events),
        DeviceManagement(services.devices, services.interactive_auth.uia),
        Login(
            services.logins,
            services.sessions,
            services.contact.named,
            services.appservice_users,
            config.server_name,
            config.public_base_url,
            has_pages=services.oauth is not None,
        ),
        Inviting(services.memberships, services.third_party_invitations),
        Joining(services.memberships, services.handshakes.third_party_invites),
        DehydratedDevices(services.dehydrated_devices),
        CrossSigning(services.encryption.cross_signing, services.interactive_auth.uia),
        KeyBackup(services.key_backups),
        Keys(
            services.encryption.uploads,
            services.encryption.queries,
            services.encryption.claims,
            services.encryption.changes,
        ),
        Kicking(services.memberships),
        Knocking(services.memberships),
        Leaving(services.memberships),
        ListJoinedRooms(services.memberships),
        ListPublicRooms(services.public_rooms),
        MessagePagination(services.timelines),
        Notifications(services.notifications),
        Openid(services.openid_tokens, config.server_name),
        OldSync(services.room_snapshots, services.room_events),
        PeekingEvents(services.syncing.event_stream),
        RoomEventByTimestamp(services.room_events),
        RoomInitialSync(services.room_snapshots),
        Rooms(services.room_events, services.room_members),
        LoginToken(services.logins, services.interactive_auth.uia),
        Logout(services.sessions),
        PasswordManagement(services.accounts, services.interactive_auth.uia, services.contact.validations),
        Refresh(services.sessions),
        Registration(
            services.registrations,
            services.contact.validations,
            services.appservice_users,
            config.server_name,
        ),
        RegistrationTokens(services.registrations),
        Whoami(),
        Capabilities(
            default_room_version=config.default_room_version,
            change_password=True,
            threepid_changes=config.email is not None,
            get_login_token=True,
            moderation=True,
            delayed_events=config.delayed_events,
        ),
        Directory(services.aliases),
        EventContext(services.event_contexts),
        Filter(services.filters),
        PolicyServer(config.policy_server),
        Presence(services.presence),
        Profile(services.profiles),
        Pushrules(services.push_rules),
        ReadMarker(services.receipts),
        Receipts(services.receipts),
        Redaction(services.messages),
        Relations(services.relations),
        Register(services.shared_secret_registrations, config.server_name),
        ReportContent(services.reports),
        RoomState(services.room_state, services.delayed_events),
        RoomSend(services.messages, services.delayed_events),
        RoomSummary(services.room_summaries),
        ClientSpaceHierarchy(services.space_hierarchies),
        RoomUpgrades(services.room_upgrades),
        RtcTransports(config.rtc),
        Search(services.search),
        SendServerNotice(services.server_notices),
        Support(config.support),
        SlidingSync(services.syncing.sliding_sync, services.presence, waiting),
        Sync(services.syncing.sync, services.syncing.filters, services.presence, waiting),
        SyncStreams(services.syncing.streams, services.syncing.filters, services.authentication),
        Tags(services.tags),
        ThirdPartyLookup(),
        ThreadSubscriptions(services.thread_subscriptions),
        ThreadsList(services.threads),
        ToDevice(services.device_messaging.sending),
        Typing(services.typing),
        Users(services.user_directory),
        Versions(_unstable_features(config)),
        Voip(services.turn_servers),
        Wellknown(config.public_base_url, config.rtc),
    ]


def _pages(services: Services, pages: Pages) -> list[object]:
    """What people see in a browser."""
    return [
        EmailConfirmation(services.contact.validations, pages),
        LoginFallback(pages),
        UiaFallback(services.interactive_auth.pages, services.contact.validations, pages),
    ]


def _oauth(config: Config, services: Services, oauth: OAuth, pages: Pages) -> list[object]:
    """The OAuth 2.0 API, and the pages that belong to it."""
    base_url, can_register = oauth.base_url, config.registration.enabled
    browsers = Browsers.of(oauth.browser_sessions, base_url)
    sign_in, sign_up = SignIn(browsers, pages, can_register), SignUp(browsers, pages, can_register)
    return [
        AccountManagement(oauth.account_care, browsers, pages, sign_in),
        BrowserLogin(browsers, sign_in, pages),
        BrowserRegistration(
            services.registrations,
            services.interactive_auth.pages,
            services.contact.validations,
            browsers,
            pages,
            sign_up,
        ),
        OauthAuthorization(
            oauth.clients,
            oauth.grants,
            oauth.devices,
            browsers,
            pages,
            sign_in,
            sign_up,
            issuer_of(base_url),
        ),
        OauthServerMetadata(base_url, can_register),
        OauthTokens(oauth.clients, oauth.grants, oauth.devices, base_url),
        SsoLoginRedirect(services.logins, browsers, pages, sign_in, sign_up),
    ]


def _unstable_features(config: Config) -> dict[str, bool]:
    """What works here, as it is configured, before it is in the specification."""
    features = {**UNSTABLE_FEATURES, STREAMING_SYNC: True}
    if config.delayed_events.max_scheduled:
        features |= {"org.matrix.msc4140": True, "org.matrix.msc4140.stable": True}
    # Clients that know these do not ask whether a new room is to be encrypted.
    for preset in sorted(encrypted_presets(config)):
        features[f"io.element.e2ee_forced.{preset.removesuffix('_chat')}"] = True
    if config.rtc.transports:
        features["org.matrix.msc4143"] = True
    return features


def _federation(config: Config, services: Services) -> list[object]:
    handshakes = services.handshakes
    return [
        FederationWellknown(config.server_name, config.public_base_url),
        InvitesV1(handshakes.invites),
        InvitesV2(handshakes.invites),
        JoinsV1(handshakes.joins),
        JoinsV2(handshakes.joins),
        KeysQuery(services.trust.key_notary),
        KeysServer(services.trust.own_keys),
        Knocks(handshakes.knocks),
        LeavingV1(handshakes.leaves),
        LeavingV2(handshakes.leaves),
        ThirdPartyInvite(handshakes.third_party_invites),
        Version(),
        Backfill(services.federation_history),
        EventAuth(services.federation_events),
        Events(services.federation_events, services.federation_history),
        FederationOpenid(services.openid_tokens),
        PublicRoomDirectory(services.public_rooms),
        Query(services.federation_queries),
        SpaceHierarchy(services.federation_spaces),
        Transactions(services.receiving.inbox),
        UserDevices(services.following.federation_keys),
        UserKeys(services.following.federation_keys, services.encryption.claims),
    ]
