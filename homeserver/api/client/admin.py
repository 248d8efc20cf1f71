"""Client-server API, `admin.yaml`: what administrators see and decide of accounts."""

import msgspec

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.moderation import Moderation

LOCK = "/_matrix/client/v1/admin/lock/{user_id}"
SUSPEND = "/_matrix/client/v1/admin/suspend/{user_id}"


class Connection(msgspec.Struct, omit_defaults=True):
    """From where a device was last used, and when."""

    ip: str | None = None
    last_seen: int | None = None
    user_agent: str | None = None


class Session(msgspec.Struct):
    """What was done with one login."""

    connections: list[Connection]


class WhoisDevice(msgspec.Struct):
    """A device."""

    sessions: list[Session]


class WhoisResponse(msgspec.Struct):
    """A user's devices."""

    user_id: UserID
    devices: dict[DeviceID, WhoisDevice]


class Locked(msgspec.Struct):
    """Whether an account is locked."""

    locked: bool


class Suspended(msgspec.Struct):
    """Whether an account is suspended."""

    suspended: bool


class Admin(msgspec.Struct, frozen=True):
    """What administrators see and decide of accounts."""

    moderation: Moderation

    @endpoint("GET", "/_matrix/client/v3/admin/whois/{user_id}", auth=Auth.USER, limit=Limit.UPDATES)
    async def get_who_is(self, requester: Requester, user_id: UserID) -> WhoisResponse:
        """Where a user's devices were last seen."""
        found = await self.moderation.devices_of(requester, user_id)
        return WhoisResponse(
            user_id,
            {
                device.device_id: WhoisDevice(
                    [
                        Session(
                            [
                                Connection(
                                    device.last_seen_ip, device.last_seen_ts, device.last_seen_user_agent
                                )
                            ]
                        )
                    ]
                    if device.last_seen_ts is not None
                    else []
                )
                for device in found
            },
        )

    @endpoint("GET", LOCK, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_admin_lock_user(self, requester: Requester, user_id: UserID) -> Locked:
        """Whether an account is locked."""
        return Locked(await self.moderation.is_locked(requester, user_id))

    @endpoint("PUT", LOCK, auth=Auth.USER, limit=Limit.UPDATES)
    async def set_admin_lock_user(self, requester: Requester, user_id: UserID, body: Locked) -> Locked:
        """Lock an account, or unlock it."""
        await self.moderation.set_locked(requester, user_id, locked=body.locked)
        return body

    @endpoint("GET", SUSPEND, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_admin_suspend_user(self, requester: Requester, user_id: UserID) -> Suspended:
        """Whether an account is suspended."""
        return Suspended(await self.moderation.is_suspended(requester, user_id))

    @endpoint("PUT", SUSPEND, auth=Auth.USER, limit=Limit.UPDATES)
    async def set_admin_suspend_user(
        self, requester: Requester, user_id: UserID, body: Suspended
    ) -> Suspended:
        """Suspend an account, or end that."""
        await self.moderation.set_suspended(requester, user_id, suspended=body.suspended)
        return body
