"""Transactions of other servers: what they hold is checked, stored or staged, and only then acknowledged.

`pdu_intake` decides what becomes of each PDU.

Spec: server-server API, "Transactions".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import attrs
import structlog

from homeserver.core.errors import BadJson, InvalidParam, MatrixError
from homeserver.core.hashes import event_id_of
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject, encode
from homeserver.core.room_versions import DEFAULT_ROOM_VERSION, RoomVersion, get_room_version
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.pdu_checks import CheckedPdu, RefusedPdu
from homeserver.rooms.persist import MOST_AT_ONCE
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.services.inbox_measures import InboxMetrics
from homeserver.services.pdu_intake import NOT_THERE, Taken, Transaction, take_rooms
from homeserver.services.timely_checks import TimelyChecks
from homeserver.storage import federation_transactions, incoming_pdus, pending_joins, rooms

MOST_PDUS: Final = 50
MOST_EDUS: Final = 100

LONGEST_TXN_ID: Final = 255

_log = structlog.get_logger(__name__)


class Edus(Protocol):
    """What takes EDUs."""

    async def receive(self, origin: ServerName, edus: Sequence[JsonObject]) -> None:
        """Take the EDUs of a transaction. Errors: StorageUnavailable."""
        ...


@attrs.frozen(eq=False)
class FederationInbox:
    """Receives transactions. `wake` is called when PDUs have been staged."""

    database: Database
    clock: Clock
    server_name: ServerName
    checks: TimelyChecks
    edus: Edus
    wake: Callable[[], None]
    metrics: InboxMetrics
    _versions: Cache[RoomID, RoomVersion] = attrs.field(factory=lambda: Cache(10_000), init=False)

    async def receive(
        self, origin: ServerName, txn_id: str, pdus: Sequence[JsonObject], edus: Sequence[JsonObject]
    ) -> bytes:
        """Take a transaction of an authenticated server; gives the body of the response.

        When it returns, all that it acknowledges is on the disk. A transaction that comes again is answered as it
        was, and nothing is done twice.
        Errors: BadJson if there is too much in it; InvalidParam for an impossible ID; StorageUnavailable.
        """
        if len(pdus) > MOST_PDUS or len(edus) > MOST_EDUS:
            raise BadJson(f"a transaction has at most {MOST_PDUS} PDUs and {MOST_EDUS} EDUs")
        if len(txn_id) > LONGEST_TXN_ID or "\0" in txn_id:
            raise InvalidParam("the transaction ID is too long, or has a NUL")
        transaction = Transaction(origin, txn_id, self.clock.now_ts())
        checked, results = await self._check(transaction, pdus)
        taken = await self._take(transaction, checked, results, remember=not edus)
        if taken.staged:
            self.wake()
        if taken.response is not None:
            return taken.response
        self._count(taken, len(pdus))
        response = _response(taken.results)
        if edus:
            await self.edus.receive(origin, edus)
            await self.database.write(
                federation_transactions.remember, origin, txn_id, response, now_ts=transaction.received_ts
            )
        return response

    async def measure(self) -> None:
        """Tell the metrics how much waits; to be called every half minute or so."""
        self.metrics.waiting(await self.database.read(incoming_pdus.count_everything))

    def _count(self, taken: Taken, pdus: int) -> None:
        accepted = sum(error is None for error in taken.results.values())
        self.metrics.received(
            stored=accepted - taken.staged, staged=taken.staged, refused=max(0, pdus - accepted)
        )

    async def _check(
        self, transaction: Transaction, pdus: Sequence[JsonObject]
    ) -> tuple[list[CheckedPdu], dict[EventID, str | None]]:
        """Check the PDUs; gives the good ones in order, and what is wrong with the others, as far as they have IDs."""
        versions = await self._versions_of({str(pdu.get("room_id")) for pdu in pdus})
        known: list[tuple[JsonObject, RoomVersion]] = []
        results: dict[EventID, str | None] = {}
        for pdu in pdus:
            version = versions.get(str(pdu.get("room_id")))
            if version is not None:
                known.append((pdu, version))
            elif (event_id := _supposed_id(pdu)) is not None:
                results[event_id] = NOT_THERE

        async def take_late(late: Sequence[CheckedPdu]) -> None:
            taken = await self.database.write(
                take_rooms, transaction, late, self.server_name, only_stage=True
            )
            if taken.staged:
                self.wake()

        found: list[CheckedPdu] = []
        for each in await self.checks.check(known, take_late):
            if isinstance(each, CheckedPdu):
                found.append(each)
            else:
                _note_refusal(each, results)
        return found, results

    async def _versions_of(self, room_ids: set[str]) -> dict[str, RoomVersion]:
        """The versions of those of the rooms that this server knows."""
        found: dict[str, RoomVersion] = {}
        unknown: list[RoomID] = []
        for room_id in map(RoomID, room_ids):
            version = self._versions.get(room_id)
            if version is None:
                unknown.append(room_id)
            else:
                found[room_id] = version
        if unknown:
            held, supposed = await self.database.read(known_versions, unknown, now_ts=self.clock.now_ts())
            for room_id, identifier in (supposed | held).items():
                found[room_id] = get_room_version(identifier)
                if room_id in held:
                    self._versions.put(room_id, found[room_id])
        return found

    async def _take(
        self,
        transaction: Transaction,
        checked: Sequence[CheckedPdu],
        results: Mapping[EventID, str | None],
        *,
        remember: bool,
    ) -> Taken:
        """Store or stage, some PDUs at a time, so that no write takes long.

        If the process dies meanwhile, the transaction comes again; then some of its PDUs are known.
        """
        staged = 0
        for start in range(0, max(1, len(checked)), MOST_AT_ONCE):
            is_last = start + MOST_AT_ONCE >= len(checked)
            some = checked[start : start + MOST_AT_ONCE]
            taken = await self._take_some(transaction, some, results, remember=remember and is_last)
            if taken.response is not None:
                return taken
            results, staged = taken.results, staged + taken.staged
        return Taken(results, staged)

    async def _take_some(
        self,
        transaction: Transaction,
        some: Sequence[CheckedPdu],
        results: Mapping[EventID, str | None],
        *,
        remember: bool,
    ) -> Taken:
        """Store or stage; if storing meets a bug, all is staged, so that it harms one event only."""
        own = self.server_name
        try:
            return await self.database.write(take, transaction, some, results, own, remember=remember)
        except StorageUnavailable:
            raise
        except Exception:  # noqa: BLE001 - logged with its traceback, and met again for the one event
            # A row that cannot be read is a bug, too, whatever error that gives: the other server is not to blame.
            _log.exception("PDUs could not be taken at once", origin=transaction.origin)
        return await self.database.write(
            take, transaction, some, results, own, remember=remember, only_stage=True
        )


def known_versions(
    tx: ReadTransaction, room_ids: Sequence[RoomID], *, now_ts: int
) -> tuple[dict[RoomID, str], dict[RoomID, str]]:
    """The versions of rooms that this server has, or had, a part in, and those that others say of further rooms."""
    known = {room_id: room for room_id in room_ids if (room := rooms.of(tx, room_id)) is not None}
    held = {room_id: room.version for room_id, room in known.items() if room.is_held}
    # What is only known from an invitation need not be true; who lets this server in is believed rather.
    told = {room_id: room.version for room_id, room in known.items() if not room.is_held}
    return held, {**told, **pending_joins.versions(tx, room_ids, now_ts=now_ts)}


def take(
    tx: WriteTransaction,
    transaction: Transaction,
    checked: Sequence[CheckedPdu],
    results: Mapping[EventID, str | None],
    server_name: ServerName,
    *,
    remember: bool,
    only_stage: bool = False,
) -> Taken:
    """Store or stage PDUs of a transaction, unless it has been dealt with; `results` are those of others of it.

    With `remember` that is all there is to the transaction.
    """
    before = federation_transactions.response_to(tx, transaction.origin, transaction.txn_id)
    if before is not None:
        return Taken({}, response=before)
    taken = take_rooms(tx, transaction, checked, server_name, only_stage=only_stage)
    found = {**results, **taken.results}
    if remember:
        federation_transactions.remember(
            tx, transaction.origin, transaction.txn_id, _response(found), now_ts=transaction.received_ts
        )
    return Taken(found, taken.staged)


def _supposed_id(pdu: JsonObject) -> EventID | None:
    """The ID of an event of an unknown room, as it would be in most rooms; None if it has none."""
    try:
        issued = pdu.get("event_id")
        return EventID(issued) if isinstance(issued, str) else event_id_of(pdu, DEFAULT_ROOM_VERSION)
    except MatrixError:
        return None


def _note_refusal(refused: RefusedPdu, results: dict[EventID, str | None]) -> None:
    _log.info("a PDU was dropped", event_id=refused.event_id, reason=refused.error.message)
    if refused.event_id is not None:
        results[refused.event_id] = refused.error.message


def _response(results: Mapping[EventID, str | None]) -> bytes:
    """The body of the response: what is wrong with each PDU, by its ID."""
    return encode(
        {"pdus": {event_id: {} if error is None else {"error": error} for event_id, error in results.items()}}
    )
