"""Following the devices of users of other servers: their lists are asked for, kept, and asked for again when in doubt.

Spec: server-server API, "Device Management".

What is kept is changed in two ways, by updates that other servers send (`federation_edus.device_lists`) and by whole
lists. A list is asked for under the `version` that its row has, every update changes that, and an answer is only kept
under the version that it was asked for: so no answer takes the place of what came after it was written.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs
import msgspec
import structlog
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.backoff import Backoff
from homeserver.core.device_lists import DeviceList, read_list
from homeserver.core.errors import BadJson
from homeserver.core.identifiers import ServerName, UserID
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork
from homeserver.storage import device_lists, remote_device_lists
from homeserver.storage.remote_device_lists import RemoteList

_log = structlog.get_logger(__name__)

PATIENCE_MS: Final = 20_000
"""How long a server may take for a list."""

LEASE_MS: Final = 60_000
"""If a process dies while it asks, another one asks after this time."""

AT_ONCE: Final = 10
AT_ONCE_OF_SERVER: Final = 2
"""Lists that one process asks for beside what clients wait for."""

PAUSE_MS: Final = 2_000
"""When a list is looked at again that had to wait for others of the same server."""

MOST_CLAIMED: Final = 50
"""In one turn of the loop."""

BACKOFF: Final = Backoff(first_ms=10_000, cap_ms=3_600_000)
"""A server that cannot be asked is asked for ever, once an hour in the end, or when it is heard of."""

HEARD_AGAIN_MS: Final = 60_000
"""A server that makes requests but does not answer ours is not asked more often because of that."""

MOST_FAILING: Final = 5_000
"""Servers that may be heard of again; others are asked when their time comes."""


class NoDeviceList(Exception):  # noqa: N818 - it names what has been found
    """The server has answered, and there is no list of this one user that could be used."""


class _Asked(msgspec.Struct, frozen=True):
    """A list that is being asked for: its row as it was then, and where the stream was."""

    row: RemoteList
    position: int


@attrs.define(eq=False)
class RemoteDeviceLists:
    """Asks for lists of devices: at once for who waits, and in the background for those that are in doubt."""

    client: FederationClient
    database: Database
    clock: Clock
    chance: Callable[[], float]
    # By the version, too: who has heard of something is not given what was asked for before.
    _asking: SharedWork[tuple[UserID, int], DeviceList] = attrs.field(factory=SharedWork, init=False)
    _running: dict[Deferred[None], ServerName] = attrs.field(factory=dict, init=False)
    _failing: set[ServerName] = attrs.field(factory=set, init=False)
    _heard: Cache[ServerName, int] = attrs.field(factory=lambda: Cache(MOST_FAILING), init=False)

    async def ask(self, user_id: UserID, server_name: ServerName) -> DeviceList:
        """The list of a user who shares a room with somebody here; it is kept, and followed from now on.

        Who asks may give up waiting: what comes is kept all the same.
        Errors: RemoteError if the server could not be asked; NoDeviceList; StorageUnavailable.
        """
        known = await self.database.look_up(remote_device_lists.of, user_id)
        version = 0 if known is None else known.version
        return await self._asking.get((user_id, version), lambda: self._ask_for(user_id, server_name))

    async def follow(self, user_ids: list[UserID], server_name: ServerName) -> None:
        """Have the lists of these users asked for in the background. Errors: StorageUnavailable."""
        await self.database.write_soon(begin_all, user_ids, server_name, now_ts=self.clock.now_ts())

    async def work(self) -> None:
        """Ask for lists that are in doubt. A loop's work, about once a second.

        Errors: StorageUnavailable.
        """
        of_server = Counter(self._running.values())
        for _ in range(MOST_CLAIMED):
            now_ts = self.clock.now_ts()
            if len(self._running) >= AT_ONCE or not await self.database.look_up(
                remote_device_lists.is_any_due, now_ts=now_ts
            ):
                return
            asked = await self.database.write(claim, now_ts=now_ts, until_ts=now_ts + LEASE_MS)
            if asked is None:
                return
            server_name = asked.row.server_name
            if of_server[server_name] >= AT_ONCE_OF_SERVER:
                await self.database.write_soon(
                    remote_device_lists.put_off, asked.row.user_id, due_ts=now_ts + PAUSE_MS
                )
                continue
            of_server[server_name] += 1
            running = Deferred.fromCoroutine(self._work_at(asked))
            self._running[running] = server_name
            running.addBoth(self._worked, running)

    async def look_for_failing(self) -> None:
        """Find out which servers are waited for; to be called every half a minute or so."""
        self._failing = await self.database.look_up(remote_device_lists.failing, most=MOST_FAILING)

    async def finish(self) -> None:
        """Wait for what is being asked."""
        for running in list(self._running):
            done: Deferred[None] = Deferred()
            running.addBoth(_pass_on, done)
            await done

    def heard_of(self, server_name: ServerName) -> None:
        """A server has made a request: if its lists are waited for, it is asked at once."""
        if server_name not in self._failing:
            return
        now_ms = self.clock.monotonic_ms()
        last = self._heard.get(server_name)
        if last is None or now_ms >= last + HEARD_AGAIN_MS:
            self._heard.put(server_name, now_ms)
            Deferred.fromCoroutine(self._hasten(server_name))

    async def _hasten(self, server_name: ServerName) -> None:
        try:
            await self.database.write_soon(
                remote_device_lists.hasten, server_name, now_ts=self.clock.now_ts()
            )
        except StorageUnavailable as error:
            _log.info("that a server was heard of was not noted", reason=str(error))

    def _worked(self, result: object, running: Deferred[None]) -> None:
        self._running.pop(running, None)
        if isinstance(result, Failure):
            # It is tried again when the lease is over.
            _log.error("a list of devices could not be asked for", reason=result.getErrorMessage())

    async def _work_at(self, asked: _Asked) -> None:
        user_id = asked.row.user_id
        try:
            if await self.database.write(drop_if_strange, user_id):
                return
            await self._asking.get((user_id, asked.row.version), lambda: self._fetch(asked))
        except (RemoteError, NoDeviceList) as error:
            _log.info("a list of devices could not be had", user=user_id, reason=str(error))
        except StorageUnavailable as error:
            _log.warning("lists of devices have to wait", reason=str(error))

    async def _ask_for(self, user_id: UserID, server_name: ServerName) -> DeviceList:
        until_ts = self.clock.now_ts() + LEASE_MS
        return await self._fetch(await self.database.write(begin, user_id, server_name, due_ts=until_ts))

    async def _fetch(self, asked: _Asked) -> DeviceList:
        """Ask for the list, and keep it, or note that it could not be had."""
        row = asked.row
        path = federation_path("v1", "user", "devices", row.user_id)
        try:
            answer = await self.client.get(row.server_name, path, patience_ms=PATIENCE_MS)
            whole, refused = await deferToThread(read_list, answer, row.user_id)
        except RemoteError as error:
            if not _is_about_user(error):
                await self._failed(row, is_server=True)
                raise
            if error.is_not_found:
                # Whoever that was: nothing is known of any devices, and nothing is to be waited for.
                await self.database.write(lose, row.user_id)
            else:
                await self._failed(row, is_server=False)
            raise NoDeviceList(str(error)) from error
        except BadJson as error:
            await self._failed(row, is_server=False)
            raise NoDeviceList(f"{row.server_name}: malformed: {error.message}") from error
        if refused:
            _log.info("keys were left out", user=row.user_id, number=len(refused), first=refused[0])
        await self.database.write(keep, asked, whole, now_ts=self.clock.now_ts())
        return whole

    async def _failed(self, row: RemoteList, *, is_server: bool) -> None:
        delay_ms = BACKOFF.delay_ms(row.failures + 1, jitter=self.chance())
        due_ts = self.clock.now_ts() + delay_ms
        self._failing.add(row.server_name)
        await self.database.write(remote_device_lists.fail, row, due_ts=due_ts, is_server=is_server)


def begin(tx: WriteTransaction, user_id: UserID, server_name: ServerName, *, due_ts: int) -> _Asked:
    """The list is about to be asked for, whatever is kept."""
    position = tx.stream_row().position
    row = remote_device_lists.begin(tx, user_id, server_name, position=position, due_ts=due_ts)
    return _Asked(row, position)


def begin_all(tx: WriteTransaction, user_ids: list[UserID], server_name: ServerName, *, now_ts: int) -> None:
    """The lists of these users are to be asked for, those that are kept likewise: they are not good any more."""
    position = tx.stream_row().position
    for user_id in sorted(user_ids):
        row = remote_device_lists.begin(tx, user_id, server_name, position=position, due_ts=now_ts)
        if row.due_ts is None:
            remote_device_lists.doubt(tx, row, now_ts=now_ts)


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> _Asked | None:
    """A list that is to be asked for by this process, None if there is none."""
    position = tx.stream_row().position
    row = remote_device_lists.claim(tx, now_ts=now_ts, until_ts=until_ts)
    return None if row is None else _Asked(row, position)


def drop_if_strange(tx: WriteTransaction, user_id: UserID) -> bool:
    """Forget a user with whom nobody here shares a room; whether that is so."""
    if remote_device_lists.shares_room(tx, user_id):
        return False
    if remote_device_lists.lock(tx, user_id) is not None:
        remote_device_lists.forget(tx, user_id)
    return True


def keep(tx: WriteTransaction, asked: _Asked, whole: DeviceList, *, now_ts: int) -> bool:
    """Keep a list, unless something has been heard since it was asked for: then it is asked for again at once.

    Whether it is kept. Those who knew another one are told.
    """
    row = remote_device_lists.lock(tx, asked.row.user_id)
    if row is None:
        return False
    if row.version != asked.row.version:
        remote_device_lists.put_off(tx, row.user_id, due_ts=now_ts)
        return False
    is_new = remote_device_lists.keep(tx, row, whole, position=asked.position)
    if is_new and row.stream_id is not None:
        device_lists.tell(tx, row.user_id)
    return True


def lose(tx: WriteTransaction, user_id: UserID) -> None:
    """The user's server says that there is no such user."""
    row = remote_device_lists.lock(tx, user_id)
    if row is not None:
        remote_device_lists.forget(tx, user_id)
        if row.stream_id is not None:
            device_lists.tell(tx, user_id)


def _is_about_user(error: RemoteError) -> bool:
    """Whether the server could be asked, and may well answer for other users."""
    is_refused = error.status in (400, 403) and error.errcode is not None
    return is_refused or error.is_not_found or error.is_too_large


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
