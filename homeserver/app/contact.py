"""What has to do with the addresses of users: how they are validated, who is found by them, stages that need them."""

import importlib
from typing import cast

import msgspec

from homeserver.app.trust import Trust
from homeserver.clients.identity import IdentityClient
from homeserver.clients.reactor import ReactorForClients
from homeserver.config.sections import Config, Email
from homeserver.core.globs import GlobSet
from homeserver.core.server_lists import ServerLists
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.runtime.worker_pool import Loop, WorkerPool
from homeserver.services.attempts import Attempts
from homeserver.services.bindings import Bindings
from homeserver.services.contacts import Contacts
from homeserver.services.email_validations import EmailPolicy, EmailValidations, RunningMailer
from homeserver.services.identity_servers import IdentityServers
from homeserver.services.named_users import NamedUsers


class Contact(msgspec.Struct, frozen=True):
    """The services of addresses. `mailer` is None if no mail can be sent."""

    mailer: RunningMailer | None
    validations: EmailValidations
    contacts: Contacts
    named: NamedUsers
    identity_servers: IdentityServers
    bindings: Bindings


def make_contact(
    config: Config,
    database: Database,
    clock: Clock,
    reactor: ReactorForClients,
    attempts: Attempts,
    trust: Trust,
) -> Contact:
    """Wire them together."""
    mailer, policy = None, None
    if config.email is not None and config.public_base_url is not None:
        mailer = _mailer(config.email, reactor, clock)
        allow = config.email.allow
        policy = EmailPolicy(
            server_name=config.server_name,
            base_url=config.public_base_url,
            lifetime_ms=config.email.link_lifetime_s * 1000,
            allow=None if allow is None else GlobSet.of(allow),
        )
    validations = EmailValidations(database, clock, attempts, mailer, policy)
    identity_servers = IdentityServers(
        IdentityClient(trust.client.identity, trust.transport), ServerLists.of(config.identity_servers.allow)
    )
    return Contact(
        mailer,
        validations,
        Contacts(database, clock, validations),
        NamedUsers(database),
        identity_servers,
        Bindings(database, identity_servers),
    )


def _mailer(section: Email, reactor: ReactorForClients, clock: Clock) -> RunningMailer:
    """What sends mail; loaded where it is needed only."""
    module = importlib.import_module("homeserver.clients.email")
    pool = WorkerPool(cast("Loop", reactor))  # every reactor can be called from threads
    mailer: RunningMailer = module.SmtpMailer(section, pool, clock)
    return mailer
