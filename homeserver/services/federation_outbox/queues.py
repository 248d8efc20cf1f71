"""What waits for destinations, in memory: only for those that answer, and only while something waits."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from zlib import crc32

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.services.federation_outbox.catch_up import Place
from homeserver.services.federation_outbox.edus import WaitingEdus
from homeserver.services.federation_outbox.transactions import Pdu, Transaction, lowest_of
from homeserver.storage.destinations import Destination
from homeserver.storage.outbox_shards import SHARDS

MOST_PDUS_WAITING: Final = 1_000
MOST_BYTES_WAITING: Final = 8 * 1024 * 1024
"""For one destination. What is more, it reads from the database when its turn comes."""

MOST_BYTES_IN_ALL: Final = 64 * 1024 * 1024
"""For all destinations together, counting an event once for each of them."""

REMEMBERED_FAILURES: Final = 3
"""After more failures in a row nothing is remembered of how far a destination had been brought."""


def shard_of(server_name: ServerName) -> int:
    """The shard that a destination belongs to, always and in every process."""
    return crc32(server_name.encode()) % SHARDS


class CatchUp(msgspec.Struct, eq=False):
    """A destination that is brought up to date: everything up to `behind_from` has been sent, and what `done` says.

    While `collected` is a list, what is new goes there, since the page that is being read may be the last.
    """

    behind_from: int
    place: Place
    done: dict[int, int] = msgspec.field(default_factory=dict)
    receipts_after: int = 0
    collected: list[Pdu] | None = None


class Queue(msgspec.Struct, eq=False):
    """What one destination is to be sent.

    `after`: what has a position up to here has been sent, or is in the queue already. `singly`: how many of the next
    PDUs go alone, since they were refused together. `durable`: by source, since which position durable EDUs may wait;
    `durable_news` are the sources that were heard of since they were last read. `is_scheduled`: its turn is to come,
    or is now.
    """

    server_name: ServerName
    shard: int
    catch_up: CatchUp | None = None
    after: int = 0
    pdus: deque[Pdu] = msgspec.field(default_factory=deque)
    bytes: int = 0
    edus: WaitingEdus = msgspec.field(default_factory=WaitingEdus)
    durable: dict[int, int] = msgspec.field(default_factory=dict)
    durable_news: set[int] = msgspec.field(default_factory=set)
    is_flushing: bool = False
    is_scheduled: bool = False
    running: Transaction | None = None
    singly: int = 0
    refused: int = 0

    @property
    def has_work(self) -> bool:
        """Whether a transaction should be made now; receipts and presence wait a little for company."""
        return bool(
            self.catch_up is not None
            or self.pdus
            or self.durable
            or self.edus.is_urgent
            or (self.is_flushing and len(self.edus))
        )

    @property
    def is_listening(self) -> bool:
        """Whether what is new belongs into the queue; else the destination finds it in the database."""
        return self.catch_up is None or self.catch_up.collected is not None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits at all."""
        return self.catch_up is None and not self.pdus and not self.durable and not len(self.edus)

    def lowest(self) -> int | None:
        """The position of the oldest thing that must not be lost and has not arrived; `None` without any."""
        return lowest_of(
            (
                self.running.lowest if self.running else None,
                # What was read for this destination is in the order of rooms.
                min((pdu.position for pdu in self.pdus), default=None),
                self.edus.lowest(),
                min(self.durable.values(), default=None),
            )
        )

    def add(self, pdu: Pdu) -> int:
        """Queue an event; gives by how many bytes the queue has grown."""
        if self.catch_up is not None:
            if self.catch_up.collected is not None:
                self._collect(self.catch_up, pdu)
            return 0
        if pdu.position <= self.after:
            return 0
        self.pdus.append(pdu)
        self.bytes += len(pdu.data)
        return len(pdu.data)

    def extend(self, pdus: Iterable[Pdu]) -> int:
        """Queue events that were read for this destination; gives their bytes."""
        grown = 0
        for pdu in pdus:
            self.pdus.append(pdu)
            grown += len(pdu.data)
        self.bytes += grown
        return grown

    def add_durable(self, source: int, position: int) -> None:
        """Something new waits at that source."""
        self.durable.setdefault(source, position)
        self.durable_news.add(source)

    def take_pdus(self, most: int) -> tuple[Pdu, ...]:
        """Take the first `most` events out."""
        taken = tuple(self.pdus.popleft() for _ in range(min(most, len(self.pdus))))
        self.bytes -= sum(len(pdu.data) for pdu in taken)
        return taken

    def put_back(self, pdus: Iterable[Pdu]) -> int:
        """Put events that were taken out back to the front; gives their bytes."""
        returned = list(pdus)
        self.pdus.extendleft(reversed(returned))
        grown = sum(len(pdu.data) for pdu in returned)
        self.bytes += grown
        return grown

    def _collect(self, catch_up: CatchUp, pdu: Pdu) -> None:
        collected = catch_up.collected
        if collected is not None:
            collected.append(pdu)
            if len(collected) > MOST_PDUS_WAITING:
                # The page was read long ago, or much is happening: another round will find these.
                catch_up.collected = None


class Behind(msgspec.Struct, eq=False):
    """A destination that has a row, because it is to be sent what it has missed; all that is kept of a dead one."""

    destination: Destination
    is_stored: bool
    done: dict[int, int]


class Queues:
    """The queues of the destinations in the shards that this process holds, and who is behind."""

    def __init__(self) -> None:
        self.behind: dict[ServerName, Behind] = {}
        self.bytes = 0
        self._queues: dict[ServerName, Queue] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[Queue]:
        return iter(list(self._queues.values()))

    @property
    def pdus(self) -> int:
        """How many events wait, counted once for each destination."""
        return sum(len(queue.pdus) for queue in self._queues.values())

    def get(self, server_name: ServerName) -> Queue | None:
        """The destination's queue, `None` if nothing waits for it."""
        return self._queues.get(server_name)

    def open(self, server_name: ServerName) -> Queue | None:
        """The queue for something new, made if need be; `None` for a destination that is behind: it will find it."""
        queue = self._queues.get(server_name)
        if queue is None and server_name not in self.behind:
            queue = self._queues[server_name] = Queue(server_name, shard_of(server_name))
        return queue

    def begin_catch_up(self, server_name: ServerName, from_position: int, done: dict[int, int]) -> Queue:
        """A queue that is filled from the database."""
        catch_up = CatchUp(from_position, Place(from_position), done, from_position)
        queue = Queue(server_name, shard_of(server_name), catch_up)
        self._queues[server_name] = queue
        return queue

    def fall_behind(self, queue: Queue, from_position: int) -> None:
        """More waits than is held in memory: from now on the queue is filled from the database."""
        self.bytes -= queue.bytes
        queue.pdus.clear()
        queue.bytes = 0
        queue.edus.forget_receipts()
        queue.catch_up = CatchUp(from_position, Place(from_position), {}, from_position)

    def drop(self, queue: Queue) -> None:
        """Hold nothing of it any more."""
        if self._queues.get(queue.server_name) is queue:
            del self._queues[queue.server_name]
            self.bytes -= queue.bytes

    def drop_shards(self, shards: Collection[int]) -> None:
        """Hold nothing of the destinations in these shards."""
        for queue in self:
            if queue.shard in shards:
                self.drop(queue)
        for server_name in [name for name in self.behind if shard_of(name) in shards]:
            del self.behind[server_name]

    def overflowing(self, touched: Iterable[Queue]) -> list[Queue]:
        """Those of the `touched` queues that hold too much, and the largest of all if they do so together."""
        found = [
            queue
            for queue in touched
            if queue.catch_up is None
            and (
                len(queue.pdus) > MOST_PDUS_WAITING
                or queue.bytes > MOST_BYTES_WAITING
                or queue.edus.is_overflowing
            )
        ]
        spared = self.bytes - sum(queue.bytes for queue in found)
        if spared > MOST_BYTES_IN_ALL:
            others = (queue for queue in self if queue.catch_up is None and queue not in found)
            for queue in sorted(others, key=lambda each: each.bytes, reverse=True):
                if spared <= MOST_BYTES_IN_ALL:
                    break
                spared -= queue.bytes
                found.append(queue)
        return found

    def limits(self) -> dict[int, int]:
        """By shard the lowest position of what has not arrived and is noted nowhere else."""
        found: dict[int, int] = {}
        for queue in self._queues.values():
            lowest = None if queue.catch_up is not None else queue.lowest()
            if lowest is not None:
                found[queue.shard] = min(found.get(queue.shard, lowest), lowest)
        for server_name, behind in self.behind.items():
            from_position = behind.destination.behind_from
            if not behind.is_stored and from_position is not None:
                shard = shard_of(server_name)
                found[shard] = min(found.get(shard, from_position + 1), from_position + 1)
        return found
