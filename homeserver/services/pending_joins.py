"""Entering rooms by way of other servers: one user at a time, whichever process the users are at.

While a room is being entered, its servers send events already, which have to wait: `pdu_intake` reads the same
rows. A process that ends loses its turn after a while.
"""

import enum
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import structlog
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from homeserver.core.errors import Unknown
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.room_versions import RoomVersion
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.storage import incoming_pdus, pending_joins, room_servers, rooms

LEASE_MS: Final = 30_000
"""After so long without a word of its process, a join counts as broken off."""

LOOK_S: Final = 0.25
"""How often is looked whether the join of another process has ended."""

_log = structlog.get_logger(__name__)


class _Turn(enum.Enum):
    """What comes of asking for a room."""

    OURS = "ours"
    OTHERS = "others"
    ENTERED = "entered"


@attrs.frozen(eq=False)
class PendingJoins:
    """The joins of this process, and whose turn it is. `renew` is to be called every five seconds or so.

    `wake` is called when a room has been entered: there may be events that wait for that.
    """

    database: Database
    clock: Clock
    reactor: IReactorTime
    server_name: ServerName
    wake: Callable[[], None]
    _holder: str = attrs.field(factory=lambda: secrets.token_urlsafe(9), init=False)
    _locks: dict[RoomID, DeferredLock] = attrs.field(factory=dict, init=False)
    _held: set[RoomID] = attrs.field(factory=set, init=False)

    async def alone(self, room_id: RoomID, enter: Callable[[], Awaitable[bool]]) -> bool:
        """Run `enter` while nobody else enters the room, which it may have to wait for; gives what it gives.

        False, and it is not run, if this server is in the room already, or then. Errors: those of `enter`.
        """
        lock = self._locks.setdefault(room_id, DeferredLock())
        await lock.acquire()
        try:
            if not await self._begin(room_id):
                return False
            self._held.add(room_id)
            try:
                is_entered = await enter()
            finally:
                self._held.discard(room_id)
                await self._end(room_id)
        finally:
            lock.release()
            if not lock.locked:
                # Nobody was waiting.
                self._locks.pop(room_id, None)
        if is_entered:
            self.wake()
        return is_entered

    async def expect(self, room_id: RoomID, version: RoomVersion) -> None:
        """From now on other servers may send events of the room, which is said to be of that version.

        Only within `alone`. Errors: Unknown (502) if the turn has been lost.
        """
        if not await self.database.write(expect, room_id, self._holder, version.identifier):
            raise Unknown("Joining the room has taken too long", status=502)

    async def renew(self) -> None:
        """Keep the turns of this process."""
        if self._held:
            until_ts = self.clock.now_ts() + LEASE_MS
            await self.database.write_soon(
                pending_joins.keep, sorted(self._held), self._holder, until_ts=until_ts
            )

    async def prune(self) -> None:
        """Forget the joins of processes that have ended; to be called about once an hour."""
        before_ts = self.clock.now_ts() - LEASE_MS
        await self.database.write_soon(pending_joins.prune, before_ts=before_ts)

    async def _begin(self, room_id: RoomID) -> bool:
        while True:
            now_ts = self.clock.now_ts()
            turn = await self.database.write(
                claim, room_id, self._holder, self.server_name, now_ts=now_ts, until_ts=now_ts + LEASE_MS
            )
            if turn is not _Turn.OTHERS:
                return turn is _Turn.OURS
            await deferLater(self.reactor, LOOK_S)

    async def _end(self, room_id: RoomID) -> None:
        try:
            await self.database.write(end, room_id, self._holder, self.server_name)
        except StorageUnavailable as error:
            # The turn ends by itself.
            _log.warning("the end of a join could not be noted", room=room_id, reason=str(error))


def claim(
    tx: WriteTransaction,
    room_id: RoomID,
    holder: str,
    server_name: ServerName,
    *,
    now_ts: int,
    until_ts: int,
) -> _Turn:
    """Let `holder` enter the room, unless this server is in it, or another is at it."""
    room = rooms.lock(tx, room_id)
    if room is not None and room_servers.joined(tx, room.room_nid, server_name):
        return _Turn.ENTERED
    if not pending_joins.claim(tx, room_id, holder, now_ts=now_ts, until_ts=until_ts):
        return _Turn.OTHERS
    # Of a join that was broken off.
    incoming_pdus.drop_room(tx, room_id)
    return _Turn.OURS


def expect(tx: WriteTransaction, room_id: RoomID, holder: str, version: str) -> bool:
    """Let events of the room wait, as those of a room of that version; False if `holder` has lost the turn."""
    rooms.lock(tx, room_id)
    pending = pending_joins.lock(tx, room_id)
    if pending is None or pending.holder != holder:
        return False
    if pending.version not in (None, version):
        # They were checked, and got their IDs, by the rules of what another server had said.
        incoming_pdus.drop_room(tx, room_id)
    return pending_joins.set_version(tx, room_id, holder, version)


def end(tx: WriteTransaction, room_id: RoomID, holder: str, server_name: ServerName) -> None:
    """The turn is over. If the room has not been entered, nothing waits for it any more."""
    room = rooms.lock(tx, room_id)
    pending = pending_joins.lock(tx, room_id)
    if pending is None or pending.holder != holder:
        return
    pending_joins.remove(tx, room_id)
    if room is None or not room_servers.joined(tx, room.room_nid, server_name):
        incoming_pdus.drop_room(tx, room_id)
