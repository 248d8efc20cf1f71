"""Client-server API, `capabilities.yaml`: what users of this server may do."""

import msgspec

from homeserver.config.sections import DelayedEvents
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.http.endpoints import Auth, Limit, endpoint


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities, as the server is built and configured.

    `moderation`: administrators can suspend and lock accounts by `/admin/suspend` and `/admin/lock`.
    """

    default_room_version: str
    change_password: bool
    threepid_changes: bool
    get_login_token: bool
    moderation: bool
    delayed_events: DelayedEvents

    @endpoint("GET", "/_matrix/client/v3/capabilities", auth=Auth.USER, limit=Limit.UPDATES)
    async def get_capabilities(self, requester: Requester) -> JsonObject:
        """What the requester may do; what needs a password, apps of the OAuth 2.0 API leave to the account's page."""
        has_password = not requester.is_oauth
        capabilities: JsonObject = {
            "m.change_password": {"enabled": self.change_password and has_password},
            "m.room_versions": {
                "default": self.default_room_version,
                # "Rooms", "Room versions": all that are known here are stable.
                "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
            },
            "m.profile_fields": {"enabled": True},
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": True},
            "m.3pid_changes": {"enabled": self.threepid_changes and has_password},
            "m.get_login_token": {"enabled": self.get_login_token and has_password},
            "m.forget_forced_upon_leave": {"enabled": False},
        }
        if self.delayed_events.max_scheduled:
            # Spec: MSC4140, "Delayed event limits as a capability".
            limits: JsonObject = {
                "max_delay_ms": self.delayed_events.max_delay_s * 1000,
                "max_scheduled": self.delayed_events.max_scheduled,
            }
            capabilities |= {"m.delayed_events": limits, "org.matrix.msc4140.delayed_events": limits}
        if self.moderation and requester.is_admin:
            capabilities["m.account_moderation"] = {"suspend": True, "lock": True}
        return {"capabilities": capabilities}
