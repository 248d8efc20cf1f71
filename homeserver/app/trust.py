"""What this server knows other servers by, and how it reaches them, from the configuration."""

import importlib

import attrs
import msgspec

from homeserver.clients.addresses import AddressPolicy
from homeserver.clients.discovery import Discovery
from homeserver.clients.federation import FederationClient, Identity
from homeserver.clients.http_transport import Connection, HttpTransport, Opener
from homeserver.clients.reactor import ReactorForClients
from homeserver.clients.resolver import Resolver, Service
from homeserver.clients.routes import Route
from homeserver.clients.well_known import WellKnown
from homeserver.config.errors import ConfigError
from homeserver.config.sections import Config, Federation
from homeserver.core.hashes import decode_base64
from homeserver.core.server_keys import VerifyKey
from homeserver.core.server_lists import ServerLists
from homeserver.database.database import Database
from homeserver.rooms.draft import Signer
from homeserver.runtime.clock import Clock
from homeserver.services.federation_authentication import FederationAuthentication
from homeserver.services.key_notary import KeyNotary
from homeserver.services.neighbours import Neighbours
from homeserver.services.own_keys import OwnKeys
from homeserver.services.server_keys import ServerKeys


class Trust(msgspec.Struct, frozen=True):
    """The services that stand between this server and others."""

    transport: HttpTransport
    client: FederationClient
    own_keys: OwnKeys
    server_keys: ServerKeys
    key_notary: KeyNotary
    authentication: FederationAuthentication


def make_trust(
    config: Config, database: Database, clock: Clock, reactor: ReactorForClients, signer: Signer
) -> Trust:
    """Wire them together. Errors: ConfigError."""
    section = config.federation
    lists = ServerLists.of(section.allow, section.deny)
    resolver = _SystemResolver(reactor, clock)
    transport = HttpTransport(_TlsOpener(reactor, resolver, section))
    client = FederationClient(
        Identity(signer.server_name, signer.key),
        Discovery(resolver, WellKnown(transport, clock)),
        transport,
        lists,
        clock,
    )
    own_keys = OwnKeys(signer.server_name, signer.key, _old_keys(config, signer), clock)
    server_keys = ServerKeys(database, clock, reactor, client, own_keys, section.key_notaries)
    return Trust(
        transport,
        client,
        own_keys,
        server_keys,
        KeyNotary(database, clock, server_keys, own_keys),
        FederationAuthentication(
            signer.server_name, server_keys, lists, Neighbours(database), [client.reached]
        ),
    )


def _old_keys(config: Config, signer: Signer) -> dict[str, VerifyKey]:
    """The keys of the past, by their identifiers."""
    keys: dict[str, VerifyKey] = {}
    for index, old in enumerate(config.old_signing_keys):
        if old.key_id == signer.key.key_id:
            raise ConfigError(
                f"old_signing_keys[{index}].key_id", old.key_id, "is in use: a key that is old must not sign"
            )
        keys[old.key_id] = VerifyKey(decode_base64(old.key), old.expired_ts, is_old=True)
    return keys


@attrs.define
class _SystemResolver:
    """The DNS, loaded when it is first needed: a server that talks to nobody saves its memory."""

    _reactor: ReactorForClients
    _clock: Clock
    _loaded: Resolver | None = None

    async def addresses(self, host: str) -> list[str]:
        return await self._resolver().addresses(host)

    async def services(self, name: str) -> list[Service]:
        return await self._resolver().services(name)

    def _resolver(self) -> Resolver:
        if self._loaded is None:
            module = importlib.import_module("homeserver.clients.dns")
            self._loaded = module.DnsResolver(self._reactor, self._clock)
        return self._loaded


@attrs.define
class _TlsOpener:
    """Connections to other servers; TLS is loaded with the first, for the same reason."""

    reactor: ReactorForClients
    _resolver: Resolver
    _section: Federation
    _loaded: Opener | None = None

    async def open(self, route: Route) -> Connection:
        if self._loaded is None:
            self._loaded = self._load()
        return await self._loaded.open(route)

    def _load(self) -> Opener:
        section = self._section
        tls = importlib.import_module("homeserver.clients.tls").ClientTls(
            verify=section.verify_tls, trusted_ca_file=section.trusted_ca_file
        )
        module = importlib.import_module("homeserver.clients.http_connections")
        opener: Opener = module.Opener(
            self.reactor, self._resolver, AddressPolicy(section.allow_private_addresses), tls
        )
        return opener
