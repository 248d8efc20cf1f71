"""What tests of the outbox look at: the outbox of a server `x`, and other servers that take what they are sent."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import attrs
from twisted.internet import reactor
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Timers
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from homeserver.clients.errors import RemoteError
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.json import JsonObject, canonical, decode_object
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.transactions import ReadTransaction
from homeserver.services.federation_outbox.measures import OutboxMetrics
from homeserver.services.federation_outbox.outbox import Identity, Outbox
from homeserver.services.federation_outbox.shards import LEASE_MS
from homeserver.services.federation_outbox.sources import EduSource
from homeserver.storage import destinations, outbox_shards
from homeserver.storage.destinations import Destination
from tests.room_stories import Story
from tests.services.conftest import MovableClock

OWN = ServerName("x")
ALICE = UserID("@alice:x")


@attrs.define
class Received:
    """A transaction as its destination got it."""

    to: ServerName
    txn_id: str
    body: bytes

    @property
    def content(self) -> JsonObject:
        return decode_object(self.body)

    @property
    def pdus(self) -> list[JsonObject]:
        return self.content["pdus"]  # type: ignore[return-value]  # JSON

    @property
    def texts(self) -> list[str]:
        """The bodies of the messages in it, and the types of its other events."""
        return [str(pdu["content"].get("body", pdu["type"])) for pdu in self.pdus]  # type: ignore[union-attr]  # JSON

    @property
    def edus(self) -> list[JsonObject]:
        return self.content["edus"]  # type: ignore[return-value]  # JSON


@attrs.define
class Network:
    """All other servers. Those in `down` cannot be reached; `held` do not answer until they are let go."""

    received: list[Received] = attrs.field(factory=list)
    attempts: list[Received] = attrs.field(factory=list)
    down: set[str] = attrs.field(factory=set)
    held: dict[str, list[Deferred[None]]] = attrs.field(factory=dict)
    refuses: Callable[[Received], int | None] = lambda _: None

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: JsonObject | bytes,
        *,
        patience_ms: int = 0,
        most_bytes: int = 0,
        is_probe: bool = False,
    ) -> JsonObject:
        assert patience_ms > 0
        assert most_bytes > 0
        assert is_probe
        assert isinstance(body, bytes)
        assert canonical(decode_object(body)) == body
        start, _, txn_id = path.rpartition("/")
        assert start == "/_matrix/federation/v1/send"
        transaction = Received(destination, txn_id, body)
        self.attempts.append(transaction)
        if destination in self.held:
            waiting: Deferred[None] = Deferred()
            self.held[destination].append(waiting)
            await waiting
        if destination in self.down:
            raise RemoteError(destination, "connection refused", transient=True)
        status = self.refuses(transaction)
        if status is not None:
            raise RemoteError(destination, f"answered {status}", transient=status >= 500, status=status)
        self.received.append(transaction)
        return {"pdus": {}}

    def let_go(self, server_name: str) -> None:
        """The server answers what it was asked, and whatever it is asked from now on."""
        for waiting in self.held.pop(server_name):
            waiting.callback(None)

    def texts(self, to: str) -> list[str]:
        """The messages that the server was sent, in order."""
        return [text for each in self.received if each.to == to for text in each.texts]

    def edus(self, to: str, edu_type: str) -> list[JsonObject]:
        """The contents of the EDUs of that type that the server was sent, in order."""
        return [
            edu["content"]  # type: ignore[misc]  # mypy cannot tell
            for each in self.received
            if each.to == to
            for edu in each.edus
            if edu["edu_type"] == edu_type
        ]


@attrs.define
class OutboxScene:
    """An outbox that follows a database; `timers` are its pauses, `clock` its time."""

    database: Database
    clock: MovableClock
    network: Network
    outbox: Outbox
    timers: Timers
    holder: int = 0
    sources: tuple[EduSource, ...] = ()
    metrics: OutboxMetrics | None = None

    async def room(self, *members: str, seed: str = "room", visibility: str | None = "shared") -> Story:
        """A room of alice's with these other members; what was sent for that is not counted."""
        story = await Story(self.database, ALICE).begin(visibility, seed=seed)
        for member in members:
            await story.member(UserID(member), "join")
        await self.settle()
        self.forget()
        return story

    def forget(self) -> None:
        """Count from now on."""
        self.network.received.clear()
        self.network.attempts.clear()

    async def settle(self) -> None:
        """Until all that can be done now has been done."""
        upto = await self.database.read(_position)
        self.outbox.lost_touch()
        await until(lambda: (self.outbox.shards.position() or upto) >= upto and self.is_idle)

    @property
    def is_idle(self) -> bool:
        """Whether the outbox waits for a server, a timer or something new."""
        feed, slots = self.outbox._feed, (self.outbox._live, self.outbox._catching_up)
        held = sum(len(each) for each in self.network.held.values())
        calls = [cast("DelayedCall", call) for call in self.timers.getDelayedCalls()]
        paused = sum(call.func.__name__ == "callback" for call in calls)
        return not feed._reading and sum(each.running for each in slots) <= held + paused

    async def tick(self) -> None:
        """A second goes by."""
        self.clock.advance(1_000)
        self.timers.advance(1.0)
        await self.outbox.tick()
        await self.outbox.retry_due()
        await self.settle()

    async def pass_ms(self, ms: int) -> None:
        """Time goes by."""
        self.clock.advance(ms)
        self.timers.advance(ms / 1000)
        await self.tick()

    async def crash(self) -> None:
        """The process dies, and another one starts."""
        self.outbox._feed.stop()
        self.outbox._troubles.queues.drop_shards(range(outbox_shards.SHARDS))
        self.outbox.shards.held.clear()
        self.clock.advance(LEASE_MS + 1)
        await self.begin()

    async def begin(self) -> None:
        """A process starts."""
        self.holder += 1
        self.outbox = new_outbox(
            self.database, self.clock, self.timers, self.network, self.holder, self.sources, self.metrics
        )
        await self.outbox.start()

    async def row(self, server_name: str) -> Destination | None:
        """What is noted of a server."""
        return await self.database.read(destinations.of, ServerName(server_name))


def new_outbox(
    database: Database,
    clock: MovableClock,
    timers: Timers,
    network: Network,
    holder: int,
    sources: tuple[EduSource, ...] = (),
    metrics: OutboxMetrics | None = None,
) -> Outbox:
    """An outbox of another process than any before."""
    identity = Identity(OWN, f"process{holder}-")
    return Outbox(identity, database, clock, timers, network, lambda: 0.0, sources=sources, metrics=metrics)


@asynccontextmanager
async def opened_scene(
    url: str, clock: MovableClock, sources: tuple[EduSource, ...] = ()
) -> AsyncIterator[OutboxScene]:
    """A scene on the database at `url`."""
    database = Database(
        Location.parse(url),
        reactor,  # type: ignore[arg-type]  # zope's reactor
        on_commit=lambda _, topics: scene.outbox.hint(topics),
    )
    timers, network = Timers(), Network()
    outbox = new_outbox(database, clock, timers, network, 0, sources)
    scene = OutboxScene(database, clock, network, outbox, timers, sources=sources)
    database.start()
    try:
        # By itself, since what awaits inside of an asynchronous fixture cannot be given tuples (CPython 3.11).
        await Deferred.fromCoroutine(outbox.start())
        await scene.settle()
        yield scene
        for server_name in list(network.held):
            network.let_go(server_name)
        stopping = Deferred.fromCoroutine(scene.outbox.stop())
        await until(lambda: scene.is_idle)
        timers.advance(5.0)
        await stopping
    finally:
        await deferToThread(database.stop)


async def until(condition: Callable[[], object]) -> None:
    """Turn the reactor until `condition` holds."""
    for _ in range(3_000):
        if condition():
            return
        await deferLater(reactor, 0.003)
    raise AssertionError("it does not come about")


def _position(tx: ReadTransaction) -> int:
    return tx.stream_row().position
