"""Fetching the members of rooms that were entered without them, by whichever process comes first.

Spec: server-server API, `joins-v2.yaml`, `omit_members`, and "Retrieving events" (`/state_ids`, `/state`).
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.core.backoff import Backoff
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomID, ServerName, server_of
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import get_room_version
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import complete_states
from homeserver.rooms.append import Appender
from homeserver.rooms.complete_states import Whole, is_wanted
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.missing import Incomplete, MissingEvents, Place
from homeserver.runtime.clock import Clock
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.storage import memberships, partial_joins, room_servers, rooms
from homeserver.storage.partial_joins import PartialJoin

ROOMS_AT_ONCE: Final = 3

LEASE_MS: Final = 30_000
"""If a process dies at a room, another goes on after this time."""

MOST_SERVERS: Final = 5
"""Servers that are asked, one after the other, before a pause."""

MEMBERS_AT_ONCE: Final = 1_000

BACKOFF: Final = Backoff(first_ms=5_000, cap_ms=600_000, factor=2.0)

GIVE_UP_MS: Final = 24 * 3_600_000
"""After that the room is left: its state cannot be had."""

MOST_LEAVING: Final = 1_000

_log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class PartialJoins:
    """Fetches what is lacking. `wake` it when a room has been entered; `work` is for what was missed.

    `renew` is to be called every five seconds or so. `on_complete` is called when events that have waited for the
    members of a room can be processed.
    """

    database: Database
    clock: Clock
    signer: Signer
    missing: MissingEvents
    awaited: AwaitedMembers
    on_complete: Callable[[], None]
    _running: set[Deferred[None]] = attrs.field(factory=set, init=False)
    _taken: set[PartialJoin] = attrs.field(factory=set, init=False)
    _closing: bool = attrs.field(default=False, init=False)

    async def start(self) -> None:
        """Begin. Errors: StorageUnavailable."""
        if self.database.backend == "sqlite":
            # There is no other process: what is leased was so to one that is gone.
            await self.database.write(partial_joins.release_all, now_ts=self.clock.now_ts())

    async def work(self) -> None:
        """Take up what is due; to be called every few seconds."""
        if await self.database.read(partial_joins.is_any_due, now_ts=self.clock.now_ts()):
            self.wake()

    async def renew(self) -> None:
        """Keep the rooms that this process is at."""
        if self._taken:
            until_ts = self.clock.now_ts() + LEASE_MS
            taken = sorted(self._taken, key=lambda join: join.room_nid)
            await self.database.write_soon(keep_all, taken, until_ts=until_ts)

    def wake(self) -> None:
        """There may be one more room, unless enough are being completed."""
        if self._closing or len(self._running) >= ROOMS_AT_ONCE:
            return
        running = Deferred.fromCoroutine(self._take_rooms())
        if not running.called:
            self._running.add(running)
        running.addBoth(self._ended, running)

    async def wait(self, room_id: RoomID, *, most_ms: int) -> bool:
        """Wait until the room's members are there; whether they are."""
        return await self.awaited.wait(room_id, most_ms=most_ms)

    async def finish(self) -> None:
        """Begin nothing any more, and leave what is being fetched to who comes next."""
        self._closing = True
        for running in list(self._running):
            done: Deferred[None] = Deferred()
            running.addBoth(_pass_on, done)
            running.cancel()
            await done

    def _ended(self, result: object, running: Deferred[None]) -> None:
        self._running.discard(running)
        is_cancelled = isinstance(result, Failure) and result.check(CancelledError)
        if result is not None and not is_cancelled:
            _log.error("members of rooms could not be fetched", reason=str(result))

    async def _take_rooms(self) -> None:
        while not self._closing:
            now_ts = self.clock.now_ts()
            try:
                join = await self.database.write(
                    partial_joins.claim, now_ts=now_ts, until_ts=now_ts + LEASE_MS
                )
                if join is None:
                    return
                # There may be more.
                self.wake()
                await self._take(join)
            except StorageUnavailable as error:
                _log.warning("members of rooms have to wait", reason=str(error))
                return

    async def _take(self, join: PartialJoin) -> None:
        """Complete one room, or put it off."""
        log = _log.bind(room=join.room_id, join=join.join_id)
        try:
            await self._complete_alone(join)
        except CancelledError:
            await self.database.write(partial_joins.keep, join, until_ts=self.clock.now_ts())
        except StorageUnavailable:
            raise
        except Incomplete as problem:
            await self._put_off(join, str(problem))
        except Exception as error:
            # Whatever it is: it is logged, and tried again later.
            log.exception("the members of a room could not be fetched")
            await self._put_off(join, repr(error))

    async def _put_off(self, join: PartialJoin, reason: str) -> None:
        now_ts = self.clock.now_ts()
        if self._closing:
            await self.database.write(partial_joins.keep, join, until_ts=now_ts)
            return
        log = _log.bind(room=join.room_id, join=join.join_id, reason=reason)
        if now_ts - join.begun_ts > GIVE_UP_MS:
            log.error("a room is left, since nobody has told who is in it", failures=join.failures + 1)
            await self.database.write(leave, join, self.signer, reason, now_ts=now_ts)
            return
        delay_ms = BACKOFF.delay_ms(join.failures + 1, jitter=random.random())  # noqa: S311 - no secret
        log.warning("the members of a room cannot be had now", failures=join.failures + 1, retry_ms=delay_ms)
        await self.database.write(partial_joins.fail, join, due_ts=now_ts + delay_ms)

    async def _complete_alone(self, join: PartialJoin) -> None:
        """As `_complete`; meanwhile `renew` keeps other processes away."""
        self._taken.add(join)
        try:
            await self._complete(join)
        finally:
            self._taken.discard(join)

    async def _complete(self, join: PartialJoin) -> None:
        """Errors: Incomplete."""
        whole = await self._fetch(join)
        if whole is None:
            await self.database.write(end, join, self.signer.server_name)
            return
        own, database = self.signer.server_name, self.database
        done = await database.write(complete_states.store_root, whole)
        remote = [each for user_id, each in whole.members.items() if server_of(user_id) != own]
        for start in range(0, len(remote), MEMBERS_AT_ONCE):
            some = remote[start : start + MEMBERS_AT_ONCE]
            await database.write(complete_states.store_members, join, some)
        while True:
            redone = await database.write(
                complete_states.complete, whole, done, own, now_ts=self.clock.now_ts()
            )
            if redone is None:
                await database.write(end, join, own)
                return
            if redone.is_all:
                break
            done = redone
        _log.info("the members of a room are there", room=join.room_id, members=len(whole.members))
        self.on_complete()

    async def _fetch(self, join: PartialJoin) -> Whole | None:
        """The state before the join, from the first server that has it; None if nobody wants it any more.

        Errors: Incomplete.
        """
        problem = Incomplete("no other server is known to be in the room")
        servers = await self.database.read(likely_servers, join, self.signer.server_name)
        for server_name in servers:
            room = await self.database.read(is_wanted, join, self.signer.server_name)
            if room is None:
                return None
            place = Place(join.room_id, get_room_version(room.version), [server_name])
            try:
                state_ids = await self.missing.state_before(place, join.join_id)
                return await self.database.read(complete_states.read_whole, join, state_ids)
            except Incomplete as error:
                _log.info("a server does not tell a room's state", server=server_name, reason=str(error))
                problem = error
        raise problem


def keep_all(tx: WriteTransaction, joins: Sequence[PartialJoin], *, until_ts: int) -> None:
    """No other process gets these before `until_ts`."""
    for join in joins:
        partial_joins.keep(tx, join, until_ts=until_ts)


def likely_servers(tx: ReadTransaction, join: PartialJoin, server_name: ServerName) -> list[ServerName]:
    """Servers that may be asked now: the one by which the room was entered, and others, in turn.

    `server_name` is this server's own.
    """
    first, *others = join.servers
    members = room_servers.of_room(tx, join.room_nid)
    others = [*others, *(name for name in members if name not in join.servers)]
    others = [name for name in others if name != server_name]
    if others:
        # With each failure others have their turn.
        start = join.failures * (MOST_SERVERS - 1) % len(others)
        others = others[start:] + others[:start]
    return [first, *others][:MOST_SERVERS]


def end(tx: WriteTransaction, join: PartialJoin, server_name: ServerName) -> None:
    """Nobody wants the members, unless the room has been entered anew meanwhile."""
    rooms.lock(tx, join.room_id)
    if partial_joins.underway(tx, join.room_nid) == join.join_nid and not is_wanted(tx, join, server_name):
        partial_joins.close(tx, join.room_nid)


def leave(tx: WriteTransaction, join: PartialJoin, signer: Signer, reason: str, *, now_ts: int) -> None:
    """Have all users of this server leave the room."""
    room = rooms.lock(tx, join.room_id)
    if room is None or is_wanted(tx, join, signer.server_name) is None:
        return
    appender = Appender(tx, room, signer, now_ts=now_ts)
    content: JsonObject = {"membership": "leave", "reason": f"The state of the room cannot be had: {reason}"}
    for user_id in memberships.some_local(tx, room.room_nid, most=MOST_LEAVING):
        try:
            appender.append(Draft(user_id, "m.room.member", content, state_key=user_id))
        except Forbidden as error:
            _log.error("a user cannot leave", room=join.room_id, user=user_id, reason=str(error))
    appender.publish()
    partial_joins.close(tx, room.room_nid)


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
