"""The OAuth 2.0 API."""

import msgspec

from homeserver.app.contact import Contact
from homeserver.config.sections import Config
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.account_care import AccountCare
from homeserver.services.accounts import Accounts
from homeserver.services.browser_sessions import BrowserSessions
from homeserver.services.cross_signing_resets import CrossSigningResets
from homeserver.services.devices import Devices
from homeserver.services.oauth_clients import OAuthClients
from homeserver.services.oauth_devices import OAuthDevices
from homeserver.services.oauth_grants import OAuthGrants
from homeserver.services.passwords import Passwords
from homeserver.services.profiles import Profiles
from homeserver.services.sessions import Sessions


class OAuth(msgspec.Struct, frozen=True):
    """Its services. `base_url` is where apps and browsers reach this server."""

    base_url: str
    clients: OAuthClients
    grants: OAuthGrants
    devices: OAuthDevices
    browser_sessions: BrowserSessions
    account_care: AccountCare


def make_oauth(
    config: Config,
    database: Database,
    clock: Clock,
    sessions: Sessions,
    passwords: Passwords,
    contact: Contact,
    accounts: Accounts,
    profiles: Profiles,
    devices: Devices,
    resets: CrossSigningResets,
) -> OAuth | None:
    """Wire them together; None if the server is not to have them, or does not know where it is reached."""
    base_url = config.public_base_url
    if base_url is None or not config.oauth.enabled:
        return None
    clients = OAuthClients(database, clock)
    grants = OAuthGrants(database, clock, sessions)
    return OAuth(
        base_url,
        clients,
        grants,
        OAuthDevices(database, clock, clients, grants),
        BrowserSessions(database, clock, passwords, contact.named),
        AccountCare(
            accounts, profiles, devices, contact.contacts, contact.bindings, contact.validations, resets
        ),
    )
