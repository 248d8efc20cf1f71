"""`m.presence`: users of other servers come and go. Spec: server-server API, "Presence"."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.presence import PresenceState, UserPresence
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.content import read_as, read_each, user_of
from homeserver.services.presence import BATCH, MAX_STATUS_LENGTH
from homeserver.storage import pending_joins, presence

EXPIRY_MS: Final = 30 * 60_000
"""Servers repeat that a user is there about every 25 minutes; who is not heard of for longer is gone."""

MOST_UPDATES: Final = 1_000
"""Users that the EDUs of one transaction may tell of."""


class PresenceUpdate(msgspec.Struct):
    """An item of `push` in the `content` of an EDU."""

    user_id: str
    presence: PresenceState
    last_active_ago: int | None = None
    status_msg: str | None = None
    currently_active: bool = False


class _Change(msgspec.Struct, frozen=True):
    user_id: UserID
    presence: PresenceState
    last_active_ago: int | None
    status_msg: str | None
    currently_active: bool


class IncomingPresence(msgspec.Struct, frozen=True):
    """Who is there elsewhere. Without `enabled` nothing is stored, all are soon gone. No write waits for the disk."""

    database: Database
    clock: Clock
    enabled: bool = True

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """As `EduKind.receive`."""
        if not self.enabled:
            return
        updates = islice(_updates_in(contents), MOST_UPDATES)
        changes = read_each(_change_in, origin, updates, what="m.presence")
        for first in range(0, len(changes), BATCH):
            await self.database.write_soon(apply, changes[first : first + BATCH], now_ts=self.clock.now_ts())

    async def expire(self) -> None:
        """Those whose servers have long been silent are offline; to be called every few seconds."""
        now_ts = self.clock.now_ts()
        while True:
            users = await self.database.read(presence.expired, now_ts=now_ts, most=BATCH)
            if not users:
                return
            await self.database.write_soon(go_offline, users, now_ts=now_ts)


def apply(tx: WriteTransaction, changes: Sequence[_Change], *, now_ts: int) -> None:
    """Store the presence of those who are joined to a room of this server, and tell of what has changed.

    Servers tell who is there as soon as this one may enter a room, before it knows who is in it.
    """
    may_come = pending_joins.is_any(tx, now_ts=now_ts)
    # In one order in all transactions, since each waits for the others' rows; of one user the last word counts.
    for user_id, change in sorted({change.user_id: change for change in changes}.items()):
        if not may_come and not presence.is_in_any_room(tx, user_id):
            continue
        before = presence.lock(tx, user_id)
        is_offline = change.presence == "offline"
        after = UserPresence(
            change.presence,
            change.status_msg,
            before.last_active_ts
            if change.last_active_ago is None
            else now_ts - min(max(change.last_active_ago, 0), now_ts),
            currently_active=change.currently_active and not is_offline,
        )
        expires_ts = None if is_offline else now_ts + EXPIRY_MS
        if _is_seen_alike(before, after):
            presence.refresh(tx, user_id, active_ts=after.last_active_ts or 0, expires_ts=expires_ts)
        else:
            presence.put(tx, user_id, after, expires_ts=expires_ts)


def go_offline(tx: WriteTransaction, users: Sequence[UserID], *, now_ts: int) -> None:
    """These users are offline, unless they have been heard of again."""
    for user_id in sorted(users):
        before = presence.lock(tx, user_id)
        if presence.is_expired(tx, user_id, now_ts=now_ts):
            presence.put(
                tx, user_id, msgspec.structs.replace(before, presence="offline", currently_active=False)
            )


def _is_seen_alike(one: UserPresence, other: UserPresence) -> bool:
    """Whether others need not be told: the time of the last activity alone is no news."""
    return (one.presence, one.status_msg, one.currently_active) == (
        other.presence,
        other.status_msg,
        other.currently_active,
    )


def _updates_in(contents: Sequence[object]) -> Iterator[object]:
    for content in contents:
        push = content.get("push") if isinstance(content, dict) else None
        if isinstance(push, list):
            yield from push
        else:
            yield None  # which is refused, and so logged


def _change_in(origin: ServerName, update: object) -> _Change:
    if update is None:
        raise BadJson("push must be an array")
    found = read_as(PresenceUpdate, update)
    status_msg = found.status_msg
    if status_msg is not None:
        # Not every database can keep a NUL.
        status_msg = status_msg.replace("\0", "")[:MAX_STATUS_LENGTH]
    return _Change(
        user_of(origin, found.user_id),
        found.presence,
        found.last_active_ago,
        status_msg,
        found.currently_active,
    )
