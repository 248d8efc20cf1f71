"""Keys of other servers: from memory, the database, the servers themselves, and from notaries.

Spec: server-server API, "Retrieving server keys".
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, cast

import msgspec
import structlog
from twisted.internet.defer import CancelledError, DeferredList, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, key_path
from homeserver.core.backoff import Backoff
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.core.server_keys import (
    MAX_RESPONSE_BYTES,
    ServerKeysResponse,
    VerifyKey,
    WantedKey,
    check_notary,
    is_key_id,
    read_response,
    server_of_response,
)
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork
from homeserver.services.own_keys import OwnKeys
from homeserver.storage import server_keys

AT_ONCE: Final = 50
"""How many servers are asked at the same time for one caller."""

SERVER_MS: Final = 10_000
"""How long one server may take to answer."""

DIRECT_S: Final = 12.0
"""How long all servers together may take that one caller needs keys of."""

NOTARY_MS: Final = 10_000

NOTARY_BYTES: Final = 20 * 1024 * 1024

MOST_FROM_NOTARY: Final = 2_000
"""Servers that a notary is asked about in one request."""

REMEMBERED_MS: Final = 30_000
"""How long keys are remembered without looking at the database, where another process may know better."""

PAUSE_MS: Final = 10_000
"""Neither a server that has just answered, nor a notary about it, is asked again before: an event can name keys that
do not exist."""

_FAILING: Final = Backoff(first_ms=10_000, cap_ms=3_600_000)

Keys = Mapping[str, VerifyKey]

_log = structlog.get_logger(__name__)


class _Pause(msgspec.Struct, frozen=True):
    """Until when a server is not asked, and how often in a row it has failed."""

    until_ms: int
    failures: int


class ServerKeys:
    """Finds keys. A remote's fault is never the caller's: what cannot be had is left out."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        reactor: IReactorTime,
        client: FederationClient,
        own: OwnKeys,
        notaries: Sequence[ServerName] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._reactor = reactor
        self._client = client
        self._own = own
        self._notaries = notaries
        self._remembered: Cache[ServerName, tuple[int, Keys]] = Cache(3_000)
        self._pauses: Cache[ServerName, _Pause] = Cache(10_000)
        self._witnessed: Cache[tuple[ServerName, ServerName], int] = Cache(10_000)
        self._asking: SharedWork[ServerName, ServerKeysResponse | None] = SharedWork()
        self._kept = 0
        """How often something was added to the database: what was read meanwhile may be older."""

    async def fetch(self, wanted: Collection[WantedKey]) -> Mapping[WantedKey, bytes]:
        """The keys that are wanted, by what was wanted; those that cannot be had are left out.

        However many servers are involved, it takes half a minute at most.
        """
        return {each: key.key for each, key in (await self._find(wanted)).items()}

    async def current(self, server_name: ServerName, key_id: str) -> bytes | None:
        """A key with which a server may sign requests now; None if there is no such one.

        Spec: server-server API, "Publishing Keys": old keys are "only valid for signing events".
        """
        wanted = WantedKey(server_name, key_id, self._clock.now_ts())
        key = (await self._find([wanted])).get(wanted)
        return None if key is None or key.is_old else key.key

    async def ask(self, server_names: Collection[ServerName]) -> Mapping[ServerName, ServerKeysResponse]:
        """Ask servers themselves, however much is known of them; those that do not answer are left out."""
        turns = DeferredSemaphore(AT_ONCE)
        answers: dict[ServerName, ServerKeysResponse] = {}

        async def ask(name: ServerName) -> None:
            answer = await self._asking.get(name, lambda: self._ask(name))
            if answer is not None:
                answers[name] = answer

        asked = [turns.run(ask, name) for name in server_names]
        together = DeferredList(asked, consumeErrors=True).addTimeout(DIRECT_S, self._reactor)
        late = 0
        for succeeded, result in await together:
            if not succeeded:
                # Out of patience, the list has cancelled those that were left.
                cast("Failure", result).trap(CancelledError)
                late += 1
        if late:
            # What they answer later is remembered all the same.
            _log.info("not all servers gave their keys in time", asked=len(asked), late=late)
        return answers

    async def _find(self, wanted: Collection[WantedKey]) -> dict[WantedKey, VerifyKey]:
        found: dict[WantedKey, VerifyKey] = {}
        for each in wanted:
            if each.server_name == self._own.server_name:
                key = self._own.verify_key(each.key_id)
                if key is not None and key.is_valid_at(each.valid_at_ts):
                    found[each] = key
        left = {
            each for each in wanted if each.server_name != self._own.server_name and is_key_id(each.key_id)
        }
        kept = self._kept
        known = await self._known({each.server_name for each in left})
        left = _match(left, known, found)
        # No server can make valid again what it has given up.
        left = {each for each in left if not _is_given_up(each, known)}
        if left:
            answers = await self.ask(sorted({each.server_name for each in left}))
            left = _match(left, {name: answer.keys for name, answer in answers.items()}, found)
        for notary in self._notaries:
            left = {each for each in left if each.server_name != notary}
            if left:
                answers = await self._ask_notary(notary, left)
                left = _match(left, {name: answer.keys for name, answer in answers.items()}, found)
        if left and self._kept != kept:
            # Who has just answered somebody else was not asked again.
            _match(left, await self._known({each.server_name for each in left}), found)
        return found

    async def _known(self, server_names: Collection[ServerName]) -> Mapping[ServerName, Keys]:
        """What memory and database know of these servers."""
        known: dict[ServerName, Keys] = {}
        now_ms = self._clock.monotonic_ms()
        missing = []
        for name in server_names:
            remembered = self._remembered.get(name)
            if remembered is not None and now_ms < remembered[0]:
                known[name] = remembered[1]
            else:
                missing.append(name)
        if missing:
            kept = self._kept
            stored = await self._database.look_up(server_keys.of, missing)
            if self._kept == kept:
                for name, keys in stored.items():
                    self._remembered.put(name, (now_ms + REMEMBERED_MS, keys))
            known |= stored
        return known

    async def _ask(self, server_name: ServerName) -> ServerKeysResponse | None:
        """What a server itself says, unless it has been asked or has failed a moment ago."""
        pause = self._pauses.get(server_name)
        if pause is not None and self._clock.monotonic_ms() < pause.until_ms:
            return None
        try:
            document = await self._client.get(
                server_name,
                key_path("server"),
                patience_ms=SERVER_MS,
                most_bytes=MAX_RESPONSE_BYTES,
                is_signed=False,
            )
            response = read_response(document, server_name, now_ts=self._clock.now_ts())
        except (RemoteError, MatrixError) as error:
            failures = 1 if pause is None else pause.failures + 1
            delay_ms = _FAILING.delay_ms(failures, jitter=random.random())  # noqa: S311 - no secret
            self._pauses.put(server_name, _Pause(self._clock.monotonic_ms() + delay_ms, failures))
            _log.info("no keys of a server", server=server_name, reason=str(error))
            return None
        self._pauses.put(server_name, _Pause(self._clock.monotonic_ms() + PAUSE_MS, 0))
        await self._keep([response])
        return response

    async def _ask_notary(
        self, notary: ServerName, wanted: Iterable[WantedKey]
    ) -> Mapping[ServerName, ServerKeysResponse]:
        """What a notary knows of the servers whose keys are wanted; nothing if it does not answer well."""
        criteria: dict[str, dict[str, JsonObject]] = {}
        now_ts, now_ms = self._clock.now_ts(), self._clock.monotonic_ms()
        for each in sorted(wanted, key=lambda each: (each.server_name, each.key_id)):
            if now_ms < (self._witnessed.get((notary, each.server_name)) or 0):
                continue
            if each.server_name in criteria or len(criteria) < MOST_FROM_NOTARY:
                until_ts = now_ts if each.valid_at_ts is None else each.valid_at_ts
                of_key = criteria.setdefault(each.server_name, {}).setdefault(each.key_id, {})
                of_key["minimum_valid_until_ts"] = max(
                    until_ts, int(str(of_key.get("minimum_valid_until_ts", 0)))
                )
        if not criteria:
            return {}
        for name in criteria:
            self._witnessed.put((notary, ServerName(name)), now_ms + PAUSE_MS)
        body: JsonObject = {"server_keys": {name: dict(keys) for name, keys in criteria.items()}}
        try:
            answer = await self._client.post(
                notary,
                key_path("query"),
                body,
                patience_ms=NOTARY_MS,
                most_bytes=NOTARY_BYTES,
                is_signed=False,
            )
        except RemoteError as error:
            _log.warning("a notary did not answer", notary=notary, reason=str(error))
            return {}
        listed = answer.get("server_keys")
        documents = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        notary_keys = await self._keys_of_notary(notary, documents)
        # Many signatures: beside the reactor.
        responses = await deferToThread(_read_all, documents, notary, notary_keys, set(criteria), now_ts)
        await self._keep(responses)
        return {each.server_name: each for each in responses}

    async def _keys_of_notary(
        self, notary: ServerName, documents: Sequence[JsonObject]
    ) -> Mapping[str, bytes]:
        """The current keys with which a notary claims to have signed; it does not vouch for itself."""
        key_ids: set[str] = set()
        for document in documents[:MOST_FROM_NOTARY]:
            signatures = document.get("signatures")
            own = signatures.get(notary) if isinstance(signatures, dict) else None
            if isinstance(own, dict):
                key_ids |= own.keys()
        keys = {}
        for key_id in sorted(key_ids)[:4]:
            key = await self.current(notary, key_id)
            if key is not None:
                keys[key_id] = key
        return keys

    async def _keep(self, responses: Sequence[ServerKeysResponse]) -> None:
        if responses:
            await self._database.write(_add_all, responses, now_ts=self._clock.now_ts())
            self._kept += 1
            self._remembered.drop([each.server_name for each in responses])


def _add_all(tx: WriteTransaction, responses: Sequence[ServerKeysResponse], *, now_ts: int) -> None:
    for response in sorted(responses, key=lambda each: each.server_name):
        server_keys.add(tx, response, now_ts=now_ts)


def _match(
    wanted: Iterable[WantedKey], known: Mapping[ServerName, Keys], found: dict[WantedKey, VerifyKey]
) -> set[WantedKey]:
    """Put into `found` what is known and valid for its moment; gives what is left."""
    left = set()
    for each in wanted:
        key = known.get(each.server_name, {}).get(each.key_id)
        if key is not None and key.is_valid_at(each.valid_at_ts):
            found[each] = key
        else:
            left.add(each)
    return left


def _is_given_up(wanted: WantedKey, known: Mapping[ServerName, Keys]) -> bool:
    key = known.get(wanted.server_name, {}).get(wanted.key_id)
    return key is not None and key.is_old


def _read_all(
    documents: Sequence[JsonObject],
    notary: ServerName,
    notary_keys: Mapping[str, bytes],
    asked: Collection[str],
    now_ts: int,
) -> list[ServerKeysResponse]:
    """The responses in a notary's answer that were asked for and are signed by it and by their servers."""
    found: dict[ServerName, ServerKeysResponse] = {}
    for document in documents[: 2 * MOST_FROM_NOTARY]:
        try:
            name = server_of_response(document)
            if name in asked:
                check_notary(document, notary, notary_keys)
                response = read_response(document, name, now_ts=now_ts)
                before = found.get(name)
                if before is None or before.valid_until_ts <= response.valid_until_ts:
                    found[name] = response
        except MatrixError as error:
            _log.info("a notary's answer is not valid", notary=notary, reason=str(error))
    return list(found.values())
