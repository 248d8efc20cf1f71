"""Client-server API, `device_management.yaml`: the user's devices."""

import msgspec

from homeserver.api.user_interactive import PASSWORD_FLOWS, challenge_response, operation
from homeserver.core.identifiers import DeviceID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import RawJson, Response
from homeserver.services.devices import Device, Devices
from homeserver.services.uia import Challenge, UserInteractiveAuth

DEVICE = "/_matrix/client/v3/devices/{device_id}"


class ClientDevice(msgspec.Struct, omit_defaults=True):
    """A device as its user sees it."""

    device_id: DeviceID
    display_name: str | None = None
    last_seen_ip: str | None = None
    last_seen_ts: int | None = None


class DevicesResponse(msgspec.Struct):
    """All devices of a user."""

    devices: list[ClientDevice]


class UpdateDeviceBody(msgspec.Struct):
    """What is to change."""

    display_name: str | None = None


class DeleteDeviceBody(msgspec.Struct):
    """The stage of the authentication."""

    auth: JsonObject | None = None


class DeleteDevicesBody(msgspec.Struct):
    """Which devices are to go."""

    devices: list[DeviceID]
    auth: JsonObject | None = None


class DeviceManagement(msgspec.Struct, frozen=True):
    """The user's devices."""

    devices: Devices
    uia: UserInteractiveAuth

    @endpoint("GET", "/_matrix/client/v3/devices", auth=Auth.GUEST_OK)
    async def get_devices(self, requester: Requester) -> DevicesResponse:
        """All devices of the requester."""
        return DevicesResponse([_shown(each) for each in await self.devices.of_user(requester.user_id)])

    @endpoint("GET", DEVICE, auth=Auth.GUEST_OK)
    async def get_device(self, requester: Requester, device_id: DeviceID) -> ClientDevice:
        """One device of the requester."""
        return _shown(await self.devices.find(requester.user_id, device_id))

    @endpoint("PUT", DEVICE, auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def update_device(
        self, requester: Requester, device_id: DeviceID, body: UpdateDeviceBody
    ) -> RawJson:
        """Name a device; application services may also make one."""
        was_made = await self.devices.update(requester, device_id, body.display_name)
        return RawJson(b"{}", 201 if was_made else 200)

    @endpoint("DELETE", DEVICE, auth=Auth.USER, limit=Limit.LOGIN)
    async def delete_device(
        self, requester: Requester, request: Request, device_id: DeviceID, body: DeleteDeviceBody
    ) -> JsonObject | Response:
        """Delete a device, and log it out."""
        return await self._delete(requester, request, f"deleteDevice {device_id}", [device_id], body.auth)

    @endpoint("POST", "/_matrix/client/v3/delete_devices", auth=Auth.USER, limit=Limit.LOGIN)
    async def delete_devices(
        self, requester: Requester, request: Request, body: DeleteDevicesBody
    ) -> JsonObject | Response:
        """Delete devices, and log them out."""
        return await self._delete(requester, request, "deleteDevices", body.devices, body.auth)

    async def _delete(
        self,
        requester: Requester,
        request: Request,
        name: str,
        device_ids: list[DeviceID],
        auth: JsonObject | None,
    ) -> JsonObject | Response:
        # "This API endpoint uses the User-Interactive Authentication API, except when used by an application
        # service."
        if requester.appservice_id is None:
            wanted = operation(name, requester, request, PASSWORD_FLOWS)
            outcome = await self.uia.require(wanted, auth)
            if isinstance(outcome, Challenge):
                return challenge_response(outcome)
        await self.devices.remove(requester.user_id, device_ids)
        return {}


def _shown(device: Device) -> ClientDevice:
    return ClientDevice(device.device_id, device.display_name, device.last_seen_ip, device.last_seen_ts)
