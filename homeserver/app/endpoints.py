"""All endpoints, from the services that they translate for."""

from collections.abc import Iterable

from homeserver.api.admin.health import Health
from homeserver.api.admin.register import Register
from homeserver.api.client.account_data import AccountData
from homeserver.api.client.account_deactivation import AccountDeactivation
from homeserver.api.client.capabilities import Capabilities
from homeserver.api.client.device_management import DeviceManagement
from homeserver.api.client.filter import Filter
from homeserver.api.client.login import Login
from homeserver.api.client.login_token import LoginToken
from homeserver.api.client.logout import Logout
from homeserver.api.client.password_management import PasswordManagement
from homeserver.api.client.presence import Presence
from homeserver.api.client.profile import Profile
from homeserver.api.client.pushrules import Pushrules
from homeserver.api.client.read_markers import ReadMarker
from homeserver.api.client.receipts import Receipts
from homeserver.api.client.redaction import Redaction
from homeserver.api.client.refresh import Refresh
from homeserver.api.client.registration import Registration
from homeserver.api.client.registration_tokens import RegistrationTokens
from homeserver.api.client.room_send import RoomSend
from homeserver.api.client.support import Support
from homeserver.api.client.sync import Sync
from homeserver.api.client.tags import Tags
from homeserver.api.client.typing import Typing
from homeserver.api.client.versions import Versions
from homeserver.api.client.wellknown import Wellknown
from homeserver.api.client.whoami import Whoami
from homeserver.api.federation.wellknown import Wellknown as FederationWellknown
from homeserver.app.services import Services
from homeserver.config.sections import Config, Resource
from homeserver.http.endpoints import Endpoint, endpoints_of


def endpoints(config: Config, services: Services, resources: Iterable[Resource]) -> list[Endpoint]:
    """What a listener with these resources serves."""
    served: list[object] = [Health(services.health)]
    if Resource.CLIENT in resources:
        served += _client(config, services)
    if Resource.FEDERATION in resources:
        served += _federation(config)
    return [endpoint for each in served for endpoint in endpoints_of(each)]


def _client(config: Config, services: Services) -> list[object]:
    return [
        AccountData(services.account_data),
        AccountDeactivation(services.accounts, services.uia),
        DeviceManagement(services.devices, services.uia),
        Login(services.logins, services.sessions, config.server_name, config.public_base_url),
        LoginToken(services.logins, services.uia),
        Logout(services.sessions),
        PasswordManagement(services.accounts, services.uia),
        Refresh(services.sessions),
        Registration(services.registrations, config.server_name),
        RegistrationTokens(services.registrations),
        Whoami(),
        Capabilities(
            default_room_version=config.default_room_version,
            change_password=True,
            threepid_changes=False,
            get_login_token=True,
            moderation=False,
        ),
        Filter(services.filters),
        Presence(services.presence),
        Profile(services.profiles),
        Pushrules(services.push_rules),
        ReadMarker(services.receipts),
        Receipts(services.receipts),
        Redaction(services.messages),
        Register(services.shared_secret_registrations, config.server_name),
        RoomSend(services.messages),
        Support(config.support),
        Sync(services.sync, services.sync_filters, services.presence),
        Tags(services.tags),
        Typing(services.typing),
        Versions(),
        Wellknown(config.public_base_url),
    ]


def _federation(config: Config) -> list[object]:
    return [FederationWellknown(config.server_name, config.public_base_url)]
