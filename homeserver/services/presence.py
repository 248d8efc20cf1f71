"""Presence of this server's users: made from what their devices do, told to those who share a room with them.

A device is there while it syncs, and for a minute afterwards; five minutes without any activity (sending,
reading, typing, coming online) make it idle. The user is what the device is that is most there.
`storage.presence` says who is woken by a change. What a power cut takes back is said again soon, so no write
waits for the disk.
"""

from collections.abc import Callable

import attrs
import msgspec
import structlog

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.presence import (
    GRACE_MS,
    OFFLINE,
    DevicePresence,
    PresenceState,
    UserPresence,
    combine,
)
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.storage import presence

_log = structlog.get_logger(__name__)

MAX_STATUS_LENGTH = 1000

SLACK_MS = 45_000
"""How much of the grace may pass before what a device keeps saying is written again."""

ACTIVITY_MS = 30_000
"""How exactly the last activity is known."""

BATCH = 100
"""Users whose presence one transaction updates because time has passed."""

Change = Callable[[DevicePresence | None], DevicePresence | None]
"""From what a device was (`None`: not there) to what it is."""


class _Written(msgspec.Struct, frozen=True):
    """What this process last wrote of a device, so that it need not be written again soon."""

    presence: PresenceState
    expires_ts: int
    active_ts: int


@attrs.frozen
class Presence:
    """Who is there. Without `enabled` nobody is seen, and nothing is stored; who was there before is gone soon."""

    database: Database
    clock: Clock
    enabled: bool = True
    _written: Cache[tuple[UserID, str], _Written] = attrs.field(
        factory=lambda: Cache[tuple[UserID, str], _Written](20_000), init=False
    )

    async def touch(
        self, requester: Requester, set_presence: PresenceState = "online", *, wait_ms: int = 0
    ) -> None:
        """The device syncs, and will wait for up to `wait_ms`; it is there that long and a minute more.

        With `set_presence` offline nothing happens: "the client is not marked as being online".
        Spec: client-server API, "Syncing", `set_presence`.
        """
        if not self.enabled or set_presence == "offline":
            return
        now_ts = self.clock.now_ts()
        device_id = requester.device_id or ""
        key = requester.user_id, device_id
        known = self._written.get(key)
        expires_ts = now_ts + wait_ms + GRACE_MS
        if known and known.presence == set_presence and known.expires_ts >= expires_ts - SLACK_MS:
            return

        def sync(before: DevicePresence | None) -> DevicePresence:
            comes_online = set_presence == "online" and (before is None or before.presence != "online")
            active_ts = 0 if before is None else before.last_active_ts
            return DevicePresence(
                device_id,
                set_presence,
                now_ts if comes_online else active_ts,
                expires_ts if before is None else max(before.expires_ts, expires_ts),
            )

        active_ts = 0 if known is None else known.active_ts
        await self._note(key, sync, _Written(set_presence, expires_ts, active_ts), now_ts)

    async def active(self, requester: Requester) -> None:
        """The user has sent, read or typed something: an idle device is online again.

        A device that is not there stays so. Spec: client-server API, "Idle timeout".
        """
        if not self.enabled:
            return
        now_ts = self.clock.now_ts()
        device_id = requester.device_id or ""
        key = requester.user_id, device_id
        known = self._written.get(key)
        if known and known.presence == "online" and known.active_ts > now_ts - ACTIVITY_MS:
            return

        def wake(before: DevicePresence | None) -> DevicePresence | None:
            if before is None:
                return None
            return msgspec.structs.replace(before, presence="online", last_active_ts=now_ts)

        await self._note(key, wake, _Written("online", known.expires_ts if known else 0, now_ts), now_ts)

    async def set_status(
        self, requester: Requester, user_id: UserID, state: PresenceState, status_msg: str | None
    ) -> None:
        """Set what the requester's device is, and the user's status message (`None`: none).

        Errors: Forbidden for another user; InvalidParam for a very long message.
        Spec: client-server API, `PUT /presence/{userId}/status`.
        """
        if user_id != requester.user_id:
            raise Forbidden("You cannot set the presence of another user")
        if status_msg is not None and len(status_msg) > MAX_STATUS_LENGTH:
            raise InvalidParam(f"status_msg has at most {MAX_STATUS_LENGTH} characters")
        if not self.enabled:
            return
        now_ts = self.clock.now_ts()
        device_id = requester.device_id or ""
        expires_ts = now_ts + GRACE_MS

        def say(before: DevicePresence | None) -> DevicePresence | None:
            if state == "offline":
                return None
            until_ts = expires_ts if before is None else max(before.expires_ts, expires_ts)
            return DevicePresence(device_id, state, now_ts, until_ts)

        # `touch` writes its next message in any case, for it may know better how long the device stays.
        written = _Written(state, 0, now_ts)
        await self._change(
            (user_id, device_id), say, written, now_ts, with_status=True, status_msg=status_msg
        )

    async def status_of(self, requester: Requester, user_id: UserID) -> JsonObject:
        """The presence of a user as the client API shows it.

        Errors: Forbidden unless it is the requester, or shares a room with the requester; NotFound if this
        server keeps no presence.
        """
        if not self.enabled:
            raise NotFound("This server keeps no presence")
        state = await self.database.read(visible_presence, requester.user_id, user_id)
        return state.to_content(self.clock.now_ts())

    async def profile_changed(self, user_id: UserID) -> None:
        """Tell those who see the user that the name or the avatar is new, unless the user is not there.

        Spec: client-server API, "Events on Change of Profile Information".
        """
        if self.enabled:
            await self.database.write_soon(announce, user_id)

    async def expire(self) -> None:
        """Update those whose devices have become idle or are gone; to be called every few seconds."""
        now_ts = self.clock.now_ts()
        while True:
            users = await self.database.read(presence.due, now_ts=now_ts, most=BATCH)
            if not users:
                return
            await self.database.write_soon(update_for_time, users, now_ts=now_ts)

    async def _note(self, key: tuple[UserID, str], change: Change, written: _Written, now_ts: int) -> None:
        """As `_change`, beside what the user really asked for: that does not fail because of it."""
        try:
            await self._change(key, change, written, now_ts)
        except StorageUnavailable as error:
            _log.info("that a device is there was not noted", reason=str(error))

    async def _change(
        self,
        key: tuple[UserID, str],
        change: Change,
        written: _Written,
        now_ts: int,
        *,
        with_status: bool = False,
        status_msg: str | None = None,
    ) -> None:
        # Remembered at once, so that a burst of requests leads to one write.
        self._written.put(key, written)
        try:
            await self.database.write_soon(
                change_device, *key, change, now_ts=now_ts, with_status=with_status, status_msg=status_msg
            )
        except Exception:  # whatever it is: it may not count as written
            self._written.drop([key])
            raise


def visible_presence(tx: ReadTransaction, reader: UserID, user_id: UserID) -> UserPresence:
    """The presence of `user_id`, if `reader` may see it. Errors: Forbidden."""
    if reader != user_id and not presence.share_a_room(tx, reader, user_id):
        raise Forbidden("You are not allowed to see their presence")
    return presence.of(tx, user_id) or OFFLINE


def change_device(
    tx: WriteTransaction,
    user_id: UserID,
    device_id: str,
    change: Change,
    *,
    now_ts: int,
    with_status: bool,
    status_msg: str | None,
) -> None:
    """Apply a change to one device, and make the user's presence of it.

    `with_status` says that the user asked for it: then `status_msg` counts, and it is an activity.
    """
    before = presence.lock(tx, user_id)
    devices = presence.devices_of(tx, user_id)
    old = devices.pop(device_id, None)
    new = change(None if old is None or old.state(now_ts) == "offline" else old)
    if new is not None:
        presence.put_device(tx, user_id, new, now_ts=now_ts)
        devices[device_id] = new
    elif old is not None:
        presence.delete_device(tx, user_id, device_id)
    active_ts = now_ts if with_status else None
    status = status_msg if with_status else before.status_msg
    _update_user(tx, user_id, before, devices, now_ts=now_ts, active_ts=active_ts, status_msg=status)


def update_for_time(tx: WriteTransaction, users: list[UserID], *, now_ts: int) -> None:
    """Make the presence of these users anew: their devices may have become idle, or be gone."""
    for user_id in users:
        before = presence.lock(tx, user_id)
        devices = presence.devices_of(tx, user_id)
        for device in devices.values():
            if device.state(now_ts) == "offline":
                presence.delete_device(tx, user_id, device.device_id)
            else:
                presence.put_device(tx, user_id, device, now_ts=now_ts)
        _update_user(
            tx, user_id, before, devices, now_ts=now_ts, active_ts=None, status_msg=before.status_msg
        )


def announce(tx: WriteTransaction, user_id: UserID) -> None:
    """Publish the user's presence once more, unless the user is not there."""
    state = presence.lock(tx, user_id)
    if state.presence != "offline":
        presence.put(tx, user_id, state)


def _update_user(
    tx: WriteTransaction,
    user_id: UserID,
    before: UserPresence,
    devices: dict[str, DevicePresence],
    *,
    now_ts: int,
    active_ts: int | None,
    status_msg: str | None,
) -> None:
    """Publish what others see of the user, if that has changed.

    `active_ts` is an activity beside those of the devices.
    """
    state = combine(devices.values(), now_ts)
    active = [device.last_active_ts for device in devices.values()]
    last_active_ts = max(*active, before.last_active_ts or 0, active_ts or 0)
    after = UserPresence(
        state,
        status_msg,
        last_active_ts or None,
        # While it is true others are told no times. It ends with being online: nothing to tell in between.
        currently_active=state == "online",
    )
    if (after.presence, after.status_msg) != (before.presence, before.status_msg):
        presence.put(tx, user_id, after)
    elif after.last_active_ts != before.last_active_ts:
        presence.set_active(tx, user_id, last_active_ts)
