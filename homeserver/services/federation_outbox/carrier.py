"""Carrying a transaction to its destination. Spec: server-server API, `PUT /_matrix/federation/v1/send/{txnId}`."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

import attrs
import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from homeserver.clients.errors import RemoteError
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.services.federation_outbox.transactions import (
    Pdu,
    Transaction,
    lowest_of,
    transaction_body,
)
from homeserver.services.federation_outbox.transmitter import Transmitter

_log = structlog.get_logger(__name__)

PATIENCE_MS: Final = 60_000
"""How long a destination may take for a transaction."""

MOST_ANSWER_BYTES: Final = 1024 * 1024

PAUSE_S: Final = 1.0
"""Before a transaction that has failed for the first time is tried once more; up to twice as long, by chance."""

MOST_LOGGED: Final = 5
"""Events that a destination refused, of one transaction."""

_TROUBLE: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""Client errors that say something about the servers, not about what is sent."""


def is_refusal(error: RemoteError) -> bool:
    """Whether the destination answers, but will not take what it is sent, however often that is tried."""
    return error.status is not None and 400 <= error.status < 500 and error.status not in _TROUBLE


@attrs.define(eq=False)
class Carrier:
    """Makes transactions and carries them. `holder` is a part of their identifiers: no other process ever has it."""

    origin: ServerName
    holder: str
    transmitter: Transmitter
    clock: Clock
    reactor: IReactorTime
    chance: Callable[[], float]
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)
    _pauses: set[Deferred[None]] = attrs.field(factory=set, init=False)
    _is_stopping: bool = attrs.field(default=False, init=False)

    def make(
        self,
        pdus: tuple[Pdu, ...],
        edus: Sequence[bytes],
        *,
        lowest: int | None,
        durable: tuple[tuple[int, tuple[int, ...]], ...] = (),
    ) -> Transaction:
        """A new transaction; `lowest` is the position of the oldest of its EDUs that must not be lost."""
        return Transaction(
            f"{self.holder}{next(self._numbers)}",
            pdus,
            len(edus),
            lowest_of((lowest, min((pdu.position for pdu in pdus), default=None))),
            transaction_body(self.origin, self.clock.now_ts(), pdus, edus),
            durable,
        )

    async def carry(self, to: ServerName, transaction: Transaction, *, is_patient: bool) -> None:
        """Have the destination take the transaction; if that fails for now, a patient one tries once more.

        Errors: RemoteError; CancelledError if the process stops before it is tried once more.
        """
        try:
            answer = await self._put(to, transaction)
        except RemoteError as error:
            if is_refusal(error) or not error.transient or not is_patient:
                raise
            await self._pause()
            answer = await self._put(to, transaction)
        _log_refused(to, answer)

    def stop_pausing(self) -> None:
        """The process stops: what waits to be tried once more is left to the next one, as if it had not been tried."""
        self._is_stopping = True
        for pause in list(self._pauses):
            pause.cancel()

    async def _pause(self) -> None:
        if self._is_stopping:
            raise CancelledError
        pause = deferLater(self.reactor, PAUSE_S * (1 + self.chance()), _nothing)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            self._pauses.discard(pause)

    async def _put(self, to: ServerName, transaction: Transaction) -> JsonObject:
        path = f"/_matrix/federation/v1/send/{quote(transaction.txn_id, safe='')}"
        return await self.transmitter.put(
            to,
            path,
            transaction.body,
            patience_ms=PATIENCE_MS,
            most_bytes=MOST_ANSWER_BYTES,
            is_probe=True,
        )


def _log_refused(to: ServerName, answer: JsonObject) -> None:
    """Say which events the destination did not like. It has them; nothing is to be gained by sending them again."""
    results = answer.get("pdus")
    if not isinstance(results, dict):
        return
    logged = 0
    for event_id, result in results.items():
        if isinstance(result, dict) and "error" in result and logged < MOST_LOGGED:
            logged += 1
            _log.info(
                "an event was refused",
                destination=to,
                event_id=event_id[:255],
                reason=str(result["error"])[:200],
            )


def _nothing() -> None:
    """What is done after a pause."""
