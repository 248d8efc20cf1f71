"""Transactions of other servers: what they hold is taken in, and only then acknowledged; each of them once.

`pdu_intake` checks the PDUs, and decides what becomes of each; EDUs go to their own services.

Spec: server-server API, "Transactions".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import attrs
import structlog

from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.identifiers import EventID, ServerName
from homeserver.core.json import JsonObject, encode
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.persist import MOST_AT_ONCE
from homeserver.runtime.clock import Clock
from homeserver.services.inbox_measures import InboxMetrics
from homeserver.services.pdu_intake import PduIntake, Taken, Transaction, take_rooms
from homeserver.storage import federation_transactions, incoming_pdus

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
    intake: PduIntake
    edus: Edus
    wake: Callable[[], None]
    metrics: InboxMetrics

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
        checked, results = await self.intake.check(transaction, pdus)
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


def _response(results: Mapping[EventID, str | None]) -> bytes:
    """The body of the response: what is wrong with each PDU, by its ID."""
    return encode(
        {"pdus": {event_id: {} if error is None else {"error": error} for event_id, error in results.items()}}
    )
