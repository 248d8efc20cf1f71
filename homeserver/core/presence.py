"""Presence: what a user's devices say, and what others see of it. Spec: client-server API, "Presence"."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.profiles import NameAndAvatar

PresenceState: TypeAlias = Literal["online", "unavailable", "offline"]

IDLE_MS: Final = 5 * 60_000
"""After so long without any activity a device that says it is online counts as unavailable."""

GRACE_MS: Final = 60_000
"""For so long a device that is not waiting for anything counts as still there."""

_RANKS: Final[dict[PresenceState, int]] = {"online": 2, "unavailable": 1, "offline": 0}


class DevicePresence(msgspec.Struct, frozen=True):
    """What one device has said: `presence` is online or unavailable. It is gone from `expires_ts` on."""

    device_id: str
    presence: PresenceState
    last_active_ts: int
    expires_ts: int

    def state(self, now_ts: int) -> PresenceState:
        """What it counts as now."""
        if now_ts >= self.expires_ts:
            return "offline"
        if now_ts >= self.last_active_ts + IDLE_MS:
            return "unavailable"
        return self.presence

    def changes_ts(self, now_ts: int) -> int:
        """When time alone next changes what it counts as."""
        idle_ts = self.last_active_ts + IDLE_MS
        if self.presence == "online" and now_ts < idle_ts:
            return min(idle_ts, self.expires_ts)
        return self.expires_ts


class UserPresence(msgspec.Struct, frozen=True):
    """What others see of a user. `last_active_ts` is `None` if the user has not been seen active."""

    presence: PresenceState
    status_msg: str | None
    last_active_ts: int | None
    currently_active: bool

    def to_content(self, now_ts: int) -> JsonObject:
        """As answered to a client that asks for it."""
        content: JsonObject = {"presence": self.presence}
        if self.last_active_ts is not None:
            content["last_active_ago"] = max(0, now_ts - self.last_active_ts)
        if self.status_msg is not None:
            content["status_msg"] = self.status_msg
        if self.presence == "online":
            content["currently_active"] = self.currently_active
        return content


OFFLINE: Final = UserPresence("offline", None, None, currently_active=False)
"""Of a user who has never been there."""


def combine(devices: Iterable[DevicePresence], now_ts: int) -> PresenceState:
    """The state of a user with these devices: that of the one that is most there."""
    states = (device.state(now_ts) for device in devices)
    return max(states, key=_RANKS.__getitem__, default="offline")


def presence_event(
    user_id: UserID, presence: UserPresence, profile: NameAndAvatar | None, now_ts: int
) -> JsonObject:
    """The `m.presence` event that tells a client of it."""
    content = presence.to_content(now_ts)
    if profile is not None:
        content.update(profile.to_content())
    return {"type": "m.presence", "sender": user_id, "content": content}
