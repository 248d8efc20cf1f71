"""From the stream into the queues: each thing to those of its destinations that this process sends to."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from homeserver.core.identifiers import ServerName
from homeserver.services.federation_outbox.queues import Queue, Queues, shard_of
from homeserver.services.federation_outbox.reading import Batch
from homeserver.services.federation_outbox.shards import Shards


@attrs.frozen
class Intake:
    """Takes one batch, for those shards that it was read for: others were taken while it was being read."""

    queues: Queues
    shards: Shards
    batch: Batch
    _touched: dict[ServerName, Queue] = attrs.field(factory=dict, init=False)

    def take(self) -> Collection[Queue]:
        """Queue everything; gives the queues that something was for."""
        batch = self.batch
        taking = {
            number: shard.read_upto
            for number, shard in self.shards.held.items()
            if batch.after <= shard.read_upto < batch.upto
        }
        self._take_pdus(taking)
        self._take_receipts(taking)
        self._take_passing(taking)
        for source, servers in batch.durable:
            for queue in self._queues_for(batch.upto, servers, taking):
                queue.add_durable(source, batch.after + 1)
        for number in taking:
            self.shards.held[number].read_upto = batch.upto
        for queue in self._touched.values():
            self.shards.held[queue.shard].has_sent = True
        return self._touched.values()

    def _take_pdus(self, taking: Mapping[int, int]) -> None:
        for pdu, servers in self.batch.pdus:
            for queue in self._queues_for(pdu.position, servers, taking):
                self.queues.bytes += queue.add(pdu)

    def _take_receipts(self, taking: Mapping[int, int]) -> None:
        for receipt, servers in self.batch.receipts:
            for queue in self._queues_for(receipt.position, servers, taking):
                if queue.is_listening:
                    queue.edus.add_receipt(receipt)

    def _take_passing(self, taking: Mapping[int, int]) -> None:
        """Typing and presence: of no use to who is not up to date."""
        for position, typing, servers in self.batch.typing:
            for queue in self._queues_for(position, servers, taking):
                if queue.catch_up is None:
                    queue.edus.add_typing(typing)
        for position, presence, servers in self.batch.presence:
            for queue in self._queues_for(position, servers, taking):
                if queue.catch_up is None:
                    queue.edus.add_presence(presence)

    def _queues_for(
        self, position: int, servers: Iterable[ServerName], taking: Mapping[int, int]
    ) -> Iterator[Queue]:
        """The queues of those of the servers for which a thing at that position is new."""
        for server_name in servers:
            queue = self._touched.get(server_name)
            if queue is None:
                opened = self.queues.open(server_name) if shard_of(server_name) in taking else None
                if opened is None:
                    continue
                queue = self._touched[server_name] = opened
            if position > taking[queue.shard]:
                yield queue
