"""What people do to their account and devices on this server's own pages. Whether it is them has been asked before."""

from collections.abc import Sequence

import msgspec

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.profiles import DISPLAY_NAME
from homeserver.core.requester import Requester
from homeserver.core.threepids import EMAIL, Threepid
from homeserver.services.accounts import Accounts
from homeserver.services.bindings import Bindings
from homeserver.services.contacts import Contacts
from homeserver.services.cross_signing_resets import CrossSigningResets
from homeserver.services.devices import Device, Devices
from homeserver.services.email_validations import EmailValidations, Purpose, TokenRequest
from homeserver.services.profiles import Profiles


class OwnProfile(msgspec.Struct, frozen=True):
    """What an account's owner sees of it."""

    display_name: str
    emails: Sequence[str]


class AccountCare(msgspec.Struct, frozen=True):
    """Looks after accounts, by the services that the legacy API has for that."""

    accounts: Accounts
    profiles: Profiles
    devices: Devices
    contacts: Contacts
    bindings: Bindings
    validations: EmailValidations
    resets: CrossSigningResets

    @property
    def can_mail(self) -> bool:
        """Whether addresses can be added."""
        return self.validations.is_possible

    async def profile_of(self, user_id: UserID) -> OwnProfile:
        """Name and addresses. Errors: NotFound."""
        name = (await self.profiles.profile_of(user_id)).get(DISPLAY_NAME)
        own = await self.contacts.of(user_id)
        emails = [each.threepid.address for each in own if each.threepid.medium == EMAIL]
        return OwnProfile(name if isinstance(name, str) else "", emails)

    async def set_display_name(self, requester: Requester, display_name: str) -> None:
        """Change the name, or with an empty one have none. Errors: as `Profiles.set_field`."""
        await self.profiles.set_field(
            requester, requester.user_id, DISPLAY_NAME, {DISPLAY_NAME: display_name}
        )

    async def request_email(self, user_id: UserID, wanted: TokenRequest) -> str:
        """Send a mail to an address that is to be added. Errors: as `EmailValidations.request`."""
        return await self.validations.request(Purpose.ADD, wanted, user_id)

    async def add_email(self, requester: Requester, sid: str, client_secret: str) -> None:
        """Add an address that was confirmed. Errors: as `Contacts.validated` and `Contacts.add`."""
        await self.contacts.add(requester, await self.contacts.validated(requester, sid, client_secret))

    async def remove_email(self, requester: Requester, address: Threepid) -> None:
        """Take an address away, and have identity servers forget it, as far as they do. Errors: UserSuspended."""
        await self.contacts.remove(requester, address)
        published = await self.bindings.of(requester.user_id, None)
        await self.bindings.unbind_as_far_as_possible(
            requester.user_id, [each for each in published if each.threepid == address]
        )

    async def devices_of(self, user_id: UserID) -> list[Device]:
        """All devices."""
        return await self.devices.of_user(user_id)

    async def device_of(self, user_id: UserID, device_id: DeviceID) -> Device:
        """One device. Errors: NotFound."""
        return await self.devices.find(user_id, device_id)

    async def rename_device(self, requester: Requester, device_id: DeviceID, display_name: str) -> None:
        """Name a device. Errors: NotFound; TooLarge, InvalidParam."""
        await self.devices.update(requester, device_id, display_name)

    async def remove_device(self, user_id: UserID, device_id: DeviceID) -> None:
        """Log a device out, and delete it. Errors: NotFound."""
        await self.devices.find(user_id, device_id)
        await self.devices.remove(user_id, [device_id])

    async def set_password(self, user_id: UserID, password: str, *, logout_devices: bool) -> None:
        """Change the password. Errors: WeakPassword, NotFound."""
        await self.accounts.set_password(user_id, password, logout_devices=logout_devices)

    async def allow_reset(self, user_id: UserID) -> None:
        """An app may replace the user's cross-signing keys."""
        await self.resets.allow(user_id)

    async def deactivate(self, user_id: UserID, *, erase: bool) -> None:
        """Close the account for good. Errors: NotFound."""
        published = await self.bindings.of(user_id, None)
        await self.accounts.deactivate(user_id, erase=erase)
        await self.bindings.unbind_as_far_as_possible(user_id, published)
