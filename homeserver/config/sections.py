"""The sections of the configuration file. `config/homeserver.example.yaml` explains every key.

Paths are absolute once loaded (in the file they are relative to the file), and so is SQLite's path in
`database`. `homeserver.config.loader` fills in what one key takes from another.
"""

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import ServerName, UserID

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
"""0 asks the system for a free port, which only tests can make use of."""

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration; unknown keys are refused."""


class Resource(enum.Enum):
    """What a listener serves."""

    CLIENT = "client"
    FEDERATION = "federation"
    METRICS = "metrics"


class Listener(Section, frozen=True):
    """An address that the server listens on."""

    port: Port
    bind: NonEmpty = "127.0.0.1"
    tls: bool = False
    resources: tuple[Resource, ...] = (Resource.CLIENT, Resource.FEDERATION)
    x_forwarded: bool = False


class Tls(Section, frozen=True):
    """Certificate chain and key (PEM) of the listeners with `tls: true`."""

    certificate: Path
    private_key: Path


class PolicyText(Section, frozen=True):
    """A policy in one language, and where it can be read."""

    language: NonEmpty
    name: NonEmpty
    url: NonEmpty


class Policy(Section, frozen=True):
    """A document that new users have to accept."""

    id: NonEmpty
    version: NonEmpty
    texts: Annotated[tuple[PolicyText, ...], msgspec.Meta(min_length=1)]


class Registration(Section, frozen=True):
    """Who may make an account."""

    enabled: bool = False
    requires_token: bool = False
    requires_email: bool = False
    policies: tuple[Policy, ...] = ()
    shared_secret: NonEmpty | None = None
    allow_guests: bool = False


class OAuth(Section, frozen=True):
    """Whether apps may log people in by OAuth 2.0, beside the legacy API; `public_base_url` is needed for that."""

    enabled: bool = True


class Bucket(Section, frozen=True):
    """A rate limit: `burst` requests at once, then `per_second`."""

    per_second: Annotated[float, msgspec.Meta(gt=0)]
    burst: Annotated[int, msgspec.Meta(ge=1)]


class RateLimits(Section, frozen=True):
    """How often each user (or address, or server) may do what; the names are those of `homeserver.http`."""

    enabled: bool = True
    messages: Bucket = Bucket(per_second=5, burst=50)
    to_device: Bucket = Bucket(per_second=20, burst=500)
    updates: Bucket = Bucket(per_second=20, burst=200)
    rooms: Bucket = Bucket(per_second=0.2, burst=20)
    joins: Bucket = Bucket(per_second=0.5, burst=30)
    invites: Bucket = Bucket(per_second=0.5, burst=30)
    login: Bucket = Bucket(per_second=0.1, burst=10)
    registration: Bucket = Bucket(per_second=0.1, burst=15)
    validation: Bucket = Bucket(per_second=0.02, burst=5)
    search: Bucket = Bucket(per_second=2, burst=20)
    media: Bucket = Bucket(per_second=50, burst=500)
    reports: Bucket = Bucket(per_second=0.1, burst=10)
    federation: Bucket = Bucket(per_second=100, burst=1000)


class Federation(Section, frozen=True):
    """Which other servers are dealt with, and how they are reached."""

    verify_tls: bool = True
    allow_private_addresses: bool = False
    trusted_ca_file: Path | None = None
    allow: tuple[NonEmpty, ...] | None = None
    deny: tuple[NonEmpty, ...] = ()
    key_notaries: tuple[ServerName, ...] = ()


class Email(Section, frozen=True):
    """The mail server that takes this server's mail, and who that mail is from."""

    host: NonEmpty
    sender: NonEmpty
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: NonEmpty | None = None
    password: NonEmpty | None = None
    trusted_ca_file: Path | None = None
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=300)] = 20
    link_lifetime_s: Annotated[int, msgspec.Meta(ge=300, le=604_800)] = 3_600
    allow: tuple[NonEmpty, ...] | None = None


class IdentityServers(Section, frozen=True):
    """Which identity servers this server's users may have it talk to."""

    allow: tuple[NonEmpty, ...] | None = None


class OldSigningKey(Section, frozen=True):
    """The public half of a key that this server signed with until `expired_ts`."""

    key_id: NonEmpty
    key: NonEmpty
    expired_ts: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class SupportContact(Section, frozen=True):
    """Someone to turn to about this server; `/.well-known/matrix/support` names them."""

    role: Literal["m.role.admin", "m.role.security"]
    matrix_id: UserID | None = None
    email_address: NonEmpty | None = None


class Support(Section, frozen=True):
    """Whom to turn to about this server."""

    contacts: tuple[SupportContact, ...] = ()
    page: NonEmpty | None = None


class Turn(Section, frozen=True):
    """The TURN servers that calls may be relayed over, with the secret shared with them, or else a fixed login."""

    uris: Annotated[tuple[NonEmpty, ...], msgspec.Meta(min_length=1)]
    shared_secret: NonEmpty | None = None
    username: NonEmpty | None = None
    password: NonEmpty | None = None
    ttl_s: Annotated[int, msgspec.Meta(ge=60, le=31_536_000)] = 86_400
    allow_guests: bool = True


class Presence(Section, frozen=True):
    """Whether users see who is there."""

    enabled: bool = True


class PolicyServer(Section, frozen=True):
    """The policy server that has this server's name: its public key, in unpadded base64."""

    ed25519: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9+/_-]{43}$")] | None = None


class ServerNotices(Section, frozen=True):
    """By whom users are told what administrators want them to know, and in what rooms."""

    localpart: Annotated[str, msgspec.Meta(pattern="^[a-z0-9._=/+-]+$")]
    display_name: NonEmpty = "Server Notices"
    avatar_url: Annotated[str, msgspec.Meta(pattern="^mxc://")] | None = None
    room_name: NonEmpty = "Server Notices"
    room_topic: NonEmpty | None = None
    auto_join: bool = False


class UserDirectory(Section, frozen=True):
    """Whom users find in the user directory."""

    search_all_users: bool = False


class RtcTransport(Section, frozen=True):
    """What carries calls of many: a LiveKit server, by the service that lets Matrix users in."""

    livekit_service_url: NonEmpty
    type: Literal["livekit"] = "livekit"


class Rtc(Section, frozen=True):
    """What carries calls, the preferred first."""

    transports: tuple[RtcTransport, ...] = ()


class DelayedEvents(Section, frozen=True):
    """How long users may have events delayed, and how many at a time; 0: they may not."""

    max_delay_s: Annotated[int, msgspec.Meta(ge=1, le=31_536_000)] = 604_800
    max_scheduled: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 100


class Limits(Section, frozen=True):
    """The largest things that the server accepts, in bytes."""

    max_request_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 10 * 1024 * 1024


class Log(Section, frozen=True):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class Config(Section, frozen=True):
    """The whole file. Only `homeserver.app` sees all of it."""

    server_name: ServerName
    data_dir: Path
    database: NonEmpty
    signing_key_path: Path
    old_signing_keys: tuple[OldSigningKey, ...] = ()
    redis: NonEmpty | None = None
    public_base_url: NonEmpty | None = None
    listeners: tuple[Listener, ...] = (Listener(port=8008),)
    tls: Tls | None = None
    trusted_proxies: tuple[NonEmpty, ...] = ("127.0.0.0/8", "::1/128")
    registration: Registration = Registration()
    oauth: OAuth = OAuth()
    rate_limits: RateLimits = RateLimits()
    federation: Federation = Federation()
    email: Email | None = None
    identity_servers: IdentityServers = IdentityServers()
    default_room_version: NonEmpty = "12"
    encryption_enabled_by_default_for_room_type: Literal["off", "invite", "all"] = "off"
    appservices: tuple[Path, ...] = ()
    support: Support = Support()
    turn: Turn | None = None
    presence: Presence = Presence()
    policy_server: PolicyServer = PolicyServer()
    server_notices: ServerNotices | None = None
    user_directory: UserDirectory = UserDirectory()
    rtc: Rtc = Rtc()
    delayed_events: DelayedEvents = DelayedEvents()
    limits: Limits = Limits()
    log: Log = Log()
