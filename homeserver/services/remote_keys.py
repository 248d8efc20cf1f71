"""Keys of users of other servers, for the clients here: those that are kept, and others from the users' servers.

Spec: client-server API, `POST /keys/query` and `POST /keys/claim`; server-server API, "End-to-End Encryption".
"""

from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.device_lists import DeviceList
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import DeviceID, ServerName, UserID, parse_server_name, server_of
from homeserver.core.identity_keys import DeviceKeys, Usage
from homeserver.core.json import JsonObject
from homeserver.core.key_answers import KeysOfUser, read_claimed, read_queried
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.remote_device_lists import NoDeviceList, RemoteDeviceLists
from homeserver.storage import remote_device_lists

_log = structlog.get_logger(__name__)

LEAST_PATIENCE_MS: Final = 500
MOST_PATIENCE_MS: Final = 60_000
"""What a client may say of how long it will wait."""

MOST_LISTS: Final = 5
"""Of one server: whole lists that are asked for while the client waits. If it wants those of more users, they are all
asked for in one request, and the lists are fetched in the background."""

MOST_FOLLOWED: Final = 1_000
"""Users of one server whom one request makes this server follow."""

MOST_BYTES: Final = 20 * 1024 * 1024
"""Of one server's answer."""

Wanted = Mapping[UserID, Collection[DeviceID]]
"""Whose devices are asked for; an empty collection stands for all of them."""


class FoundKeys(msgspec.Struct):
    """The keys of the users that there are, and the servers that could not be asked, with why."""

    users: dict[UserID, KeysOfUser] = msgspec.field(default_factory=dict)
    failures: dict[ServerName, JsonObject] = msgspec.field(default_factory=dict)


class ClaimedKeys(msgspec.Struct):
    """One key each for devices: by its name, as JSON. And the servers that could not be asked, with why."""

    users: dict[UserID, dict[DeviceID, tuple[str, bytes]]] = msgspec.field(default_factory=dict)
    failures: dict[ServerName, JsonObject] = msgspec.field(default_factory=dict)


class RemoteKeys(msgspec.Struct, frozen=True):
    """Answers for other servers' users. No server is believed about any users but its own."""

    client: FederationClient
    database: Database
    reactor: IReactorTime
    lists: RemoteDeviceLists

    async def query(self, wanted: Wanted, *, patience_ms: int) -> FoundKeys:
        """The device keys and cross-signing keys of users of other servers.

        All servers are asked at the same time. One that is known not to be there fails at once.
        Errors: StorageUnavailable.
        """
        found, sharing = await self.database.read(read_kept, wanted)
        missing = by_server(user_id for user_id in wanted if user_id not in found.users)
        await self._all(
            {
                server_name: self._ask(server_name, users, wanted, sharing, found)
                for server_name, users in missing.items()
            },
            found.failures,
            patience_ms,
        )
        return found

    async def claim(
        self, wanted: Mapping[UserID, Mapping[DeviceID, str]], *, patience_ms: int
    ) -> ClaimedKeys:
        """A one-time key of the algorithm for each of these devices of users of other servers.

        What a server gives is given to the one who asked, and is nowhere kept. A key that comes too late is lost: the
        other server has used it up, and the client claims another one.
        """
        claimed = ClaimedKeys()
        await self._all(
            {
                server_name: self._claim(
                    server_name, {user_id: wanted[user_id] for user_id in users}, claimed
                )
                for server_name, users in by_server(wanted).items()
            },
            claimed.failures,
            patience_ms,
        )
        return claimed

    async def _all(
        self,
        work: Mapping[ServerName, Coroutine[Deferred[Any], Any, None]],
        failures: dict[ServerName, JsonObject],
        patience_ms: int,
    ) -> None:
        """Ask all of the servers, and note who has failed. Errors: StorageUnavailable."""
        patience_s = min(max(patience_ms, LEAST_PATIENCE_MS), MOST_PATIENCE_MS) / 1000

        async def ask(server_name: ServerName, asking: Coroutine[Deferred[Any], Any, None]) -> None:
            try:
                await Deferred.fromCoroutine(asking).addTimeout(patience_s, self.reactor)
            except OutOfPatience:
                failures[server_name] = _failure("it has not answered in time")
            except RemoteError as error:
                failures[server_name] = _failure(error.message)

        await _together([Deferred.fromCoroutine(ask(name, asking)) for name, asking in work.items()])

    async def _ask(
        self,
        server_name: ServerName,
        users: list[UserID],
        wanted: Wanted,
        sharing: Collection[UserID],
        found: FoundKeys,
    ) -> None:
        followed = [user_id for user_id in users if user_id in sharing]
        asking: list[Coroutine[Deferred[Any], Any, None]] = []
        if len(users) <= MOST_LISTS:
            asking += [self._ask_for_list(server_name, user_id, wanted, found) for user_id in followed]
            users = [user_id for user_id in users if user_id not in sharing]
            followed = []
        if users:
            asking.append(self._query(server_name, {user_id: wanted[user_id] for user_id in users}, found))
        await _together([Deferred.fromCoroutine(each) for each in asking])
        if followed:
            await self.lists.follow(followed[:MOST_FOLLOWED], server_name)

    async def _ask_for_list(
        self, server_name: ServerName, user_id: UserID, wanted: Wanted, found: FoundKeys
    ) -> None:
        try:
            whole = await self.lists.ask(user_id, server_name)
        except NoDeviceList:
            # That is no failure of the server: the user is left out.
            return
        found.users[user_id] = _keys_in(whole, wanted[user_id])

    async def _query(self, server_name: ServerName, wanted: Wanted, found: FoundKeys) -> None:
        body: JsonObject = {"device_keys": {user_id: list(ids) for user_id, ids in wanted.items()}}
        path = federation_path("v1", "user", "keys", "query")
        answer = await self.client.post(
            server_name, path, body, patience_ms=MOST_PATIENCE_MS, most_bytes=MOST_BYTES
        )
        users, refused = await deferToThread(read_queried, answer, wanted)
        found.users.update(users)
        _log_refused(server_name, refused)

    async def _claim(
        self, server_name: ServerName, wanted: Mapping[UserID, Mapping[DeviceID, str]], claimed: ClaimedKeys
    ) -> None:
        asked: JsonObject = {user_id: dict(devices.items()) for user_id, devices in wanted.items()}
        path = federation_path("v1", "user", "keys", "claim")
        answer = await self.client.post(
            server_name,
            path,
            {"one_time_keys": asked},
            patience_ms=MOST_PATIENCE_MS,
            most_bytes=MOST_BYTES,
        )
        users, refused = read_claimed(answer, wanted)
        claimed.users.update(users)
        _log_refused(server_name, refused)


def read_kept(tx: ReadTransaction, wanted: Wanted) -> tuple[FoundKeys, set[UserID]]:
    """What is kept of these users and good, and who of the others shares a room with somebody here."""
    good = remote_device_lists.good(tx, wanted)
    devices = remote_device_lists.devices_of(tx, good) if good else {}
    user_keys = remote_device_lists.user_keys_of(tx, good) if good else {}
    found = FoundKeys()
    for user_id in good:
        of_user = devices.get(user_id, {})
        found.users[user_id] = KeysOfUser(_chosen(of_user, wanted[user_id]), dict(user_keys.get(user_id, {})))
    others = [user_id for user_id in wanted if user_id not in good]
    return found, remote_device_lists.sharing(tx, others) if others else set()


async def _together(running: Sequence[Deferred[None]]) -> None:
    """Wait for all. Errors: those of the first that has one."""
    for _, result in await DeferredList(running, consumeErrors=True):
        if isinstance(result, Failure):
            result.raiseException()


def by_server(users: Iterable[UserID]) -> dict[ServerName, list[UserID]]:
    """The users by their servers, in their order; who has none that could be asked is left out."""
    found: dict[ServerName, list[UserID]] = {}
    for user_id in users:
        try:
            server_name = parse_server_name(server_of(user_id) or "")
        except InvalidParam:
            continue
        found.setdefault(server_name, []).append(user_id)
    return found


def _keys_in(whole: DeviceList, device_ids: Collection[DeviceID]) -> KeysOfUser:
    devices = {device.device_id: device for device in whole.devices}
    user_keys: dict[Usage, bytes] = {key.usage: key.keys for key in whole.user_keys}
    return KeysOfUser(_chosen(devices, device_ids), user_keys)


def _chosen(
    devices: Mapping[DeviceID, DeviceKeys], device_ids: Collection[DeviceID]
) -> dict[DeviceID, DeviceKeys]:
    if not device_ids:
        return {**devices}
    return {device_id: devices[device_id] for device_id in device_ids if device_id in devices}


def _failure(message: str) -> JsonObject:
    return {"errcode": "M_UNKNOWN", "error": message, "status": 503}


def _log_refused(server_name: ServerName, refused: list[str]) -> None:
    if refused:
        _log.info("keys were left out", origin=server_name, number=len(refused), first=refused[0])
