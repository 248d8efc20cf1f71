"""A destination's turn: its next transaction, from memory or from the database, and what follows from its fate."""

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog
from twisted.internet.defer import CancelledError

from homeserver.clients.errors import RemoteError
from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.federation_outbox.carrier import Carrier, is_refusal
from homeserver.services.federation_outbox.catch_up import Place, missed_receipts, read_page
from homeserver.services.federation_outbox.edus import MOST_EDUS, DurableEdu
from homeserver.services.federation_outbox.measures import OutboxMetrics
from homeserver.services.federation_outbox.queues import CatchUp, Queue, Queues
from homeserver.services.federation_outbox.shards import Shards
from homeserver.services.federation_outbox.sources import EduSource
from homeserver.services.federation_outbox.transactions import MOST_PDUS, Transaction, lowest_of
from homeserver.services.federation_outbox.troubles import Troubles

_log = structlog.get_logger(__name__)

REFUSED_IN_A_ROW: Final = 3
"""If a destination refuses so many single things one after the other, it is the destination that is at fault."""


class Delivery(msgspec.Struct, frozen=True):
    """Gives destinations what waits for them."""

    database: Database
    queues: Queues
    shards: Shards
    carrier: Carrier
    troubles: Troubles
    metrics: OutboxMetrics
    sources: Sequence[EduSource] = ()

    async def turn(self, queue: Queue) -> bool:
        """Send the next transaction, if there is one; whether the queue wants another turn at once."""
        try:
            if queue.catch_up is not None and not queue.pdus:
                await self._load(queue, queue.catch_up)
            durable = await self._durable(queue)
            if self._is_current(queue) and (transaction := self._next(queue, durable)) is not None:
                await self._deliver(queue, transaction)
            if self._is_current(queue):
                await self._settle(queue)
        except StorageUnavailable as error:
            # Nothing is lost. The next tick gives it another turn.
            queue.running = None
            _log.warning("a server could not be sent to", destination=queue.server_name, reason=str(error))
            return False
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a fault with one destination must not end the sending to it
            _log.exception("a transaction failed", destination=queue.server_name)
            await self._fail(queue, "internal error")
        return self._is_current(queue) and queue.has_work

    def _is_current(self, queue: Queue) -> bool:
        """Whether this process still sends to the destination, from this queue."""
        return self.queues.get(queue.server_name) is queue

    async def _load(self, queue: Queue, catch_up: CatchUp) -> None:
        """Fill the queue from the database; at the end the destination joins those that get what is new."""
        if catch_up.place.upto is None:
            if catch_up.behind_from != catch_up.place.after:
                catch_up.behind_from = catch_up.place.after
                catch_up.done.clear()
            catch_up.collected = []
        page = await self.database.read(
            read_page,
            queue.server_name,
            catch_up.place,
            done=dict(catch_up.done),
            now_ts=self.carrier.clock.now_ts(),
        )
        if not self._is_current(queue):
            return
        self.queues.bytes += queue.extend(page.pdus)
        if page.next is not None:
            catch_up.place, catch_up.collected = page.next, None
        elif catch_up.collected is None:
            catch_up.place = Place(page.upto)
        else:
            await self._join(queue, catch_up, page.upto)

    async def _join(self, queue: Queue, catch_up: CatchUp, upto: int) -> None:
        """All that was missed up to `upto` is in the queue, and what came since is in `collected`."""
        after = catch_up.receipts_after
        receipts = await self.database.read(
            missed_receipts, queue.server_name, self.carrier.origin, after=after, upto=upto
        )
        if not self._is_current(queue):
            return
        for receipt in receipts:
            queue.edus.add_receipt(receipt)
        if catch_up.collected is None:  # too much came since
            catch_up.place = Place(upto)
            return
        queue.catch_up, queue.after = None, upto
        self.queues.bytes += queue.extend(pdu for pdu in catch_up.collected if pdu.position > upto)
        for source in range(len(self.sources)):
            queue.add_durable(source, after + 1)

    async def _durable(self, queue: Queue) -> list[tuple[int, Sequence[DurableEdu]]]:
        """The next durable EDUs, by source."""
        if not queue.durable or (queue.singly and queue.pdus):
            return []
        asked = sorted(queue.durable)
        queue.durable_news.clear()
        most = 1 if queue.singly else MOST_EDUS
        found = await self.database.read(self._waiting, queue.server_name, asked, most=most)
        for index, edus in zip(asked, found, strict=True):
            if not edus and index not in queue.durable_news:
                queue.durable.pop(index, None)
        return [(index, edus) for index, edus in zip(asked, found, strict=True) if edus]

    def _waiting(
        self, tx: ReadTransaction, server_name: ServerName, indexes: list[int], *, most: int
    ) -> list[Sequence[DurableEdu]]:
        found: list[Sequence[DurableEdu]] = []
        for index in indexes:
            waiting = self.sources[index].waiting(tx, server_name, most=most) if most > 0 else ()
            found.append(waiting)
            most -= len(waiting)
        return found

    def _next(self, queue: Queue, durable: list[tuple[int, Sequence[DurableEdu]]]) -> Transaction | None:
        """The next transaction, `None` if nothing waits."""
        before = queue.bytes
        pdus = queue.take_pdus(1 if queue.singly else MOST_PDUS)
        self.queues.bytes += queue.bytes - before
        edus = [edu.data for _, some in durable for edu in some]
        lowest = lowest_of(queue.durable.get(index) for index, _ in durable)
        if queue.singly:
            queue.singly -= 1
        else:
            taken = queue.edus.take(MOST_EDUS - len(edus))
            queue.is_flushing = False
            edus += taken.data
            lowest = lowest_of((lowest, taken.lowest))
        if not pdus and not edus:
            return None
        numbers = tuple((index, tuple(edu.number for edu in some)) for index, some in durable)
        queue.running = self.carrier.make(pdus, edus, lowest=lowest, durable=numbers)
        return queue.running

    async def _deliver(self, queue: Queue, transaction: Transaction) -> None:
        try:
            await self.carrier.carry(
                queue.server_name, transaction, is_patient=queue.server_name not in self.queues.behind
            )
        except RemoteError as error:
            self.metrics.failed(transient=error.transient)
            if self._is_current(queue):
                if is_refusal(error):
                    await self._refused(queue, transaction, error)
                else:
                    await self._fail(queue, str(error))
            return
        self.metrics.sent(len(transaction.pdus), transaction.edus)
        queue.refused = 0
        await self._sent(queue, transaction)

    async def _sent(self, queue: Queue, transaction: Transaction) -> None:
        """The destination has the transaction, or will never take it."""
        if transaction.durable:
            await self.database.write(self._delivered, queue.server_name, transaction.durable)
        queue.running = None
        if queue.catch_up is not None:
            for pdu in transaction.pdus:
                done = queue.catch_up.done
                done[pdu.room_nid] = max(pdu.position, done.get(pdu.room_nid, 0))
        if queue.shard in self.shards.held:
            self.shards.held[queue.shard].has_sent = True
        self.troubles.answers(queue.server_name)

    def _delivered(
        self,
        tx: WriteTransaction,
        server_name: ServerName,
        durable: tuple[tuple[int, tuple[int, ...]], ...],
    ) -> None:
        for index, numbers in durable:
            self.sources[index].delivered(tx, server_name, numbers)

    async def _refused(self, queue: Queue, transaction: Transaction, error: RemoteError) -> None:
        """Find out which part it is that the destination will not have: that alone is not sent."""
        durable = sum(len(numbers) for _, numbers in transaction.durable)
        if len(transaction.pdus) + transaction.edus > 1:
            _log.warning("a transaction was refused", destination=queue.server_name, reason=str(error))
            self.queues.bytes += queue.put_back(transaction.pdus)
            queue.singly = max(len(transaction.pdus), durable)
            queue.running = None
            return
        queue.refused += 1
        if queue.refused >= REFUSED_IN_A_ROW:
            await self._fail(queue, str(error))
            return
        _log.warning(
            "something was refused and is not sent again",
            destination=queue.server_name,
            event_ids=[pdu.event_id for pdu in transaction.pdus],
            reason=str(error),
        )
        await self._sent(queue, transaction)

    async def _fail(self, queue: Queue, reason: str) -> None:
        if not self._is_current(queue):
            return
        shard = self.shards.held.get(queue.shard)
        if shard is None:
            self.queues.drop(queue)
        else:
            await self.troubles.fail(queue, reason, read_upto=shard.read_upto)

    async def _settle(self, queue: Queue) -> None:
        """A destination that has everything that it had missed is like any other; an empty queue is dropped."""
        if queue.catch_up is not None:
            return
        shard = self.shards.held.get(queue.shard)
        lowest = queue.lowest()
        if shard is not None and (lowest is None or lowest > shard.stored):
            await self.troubles.recovered(queue.server_name)
        # Until the stream has been read up to where the queue began, it says what not to send again.
        is_needed = shard is not None and queue.after > shard.read_upto
        if queue.is_empty and not is_needed and queue.server_name not in self.queues.behind:
            self.queues.drop(queue)
