"""Staged PDUs: made part of their rooms in order, put off, given up, and none of it lost with a process."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread

from homeserver.core.errors import Forbidden
from homeserver.core.event import Event
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, decode
from homeserver.database.database import Database, Rerun
from homeserver.database.drivers import Location
from homeserver.database.errors import Obstacle
from homeserver.rooms.draft import Signer
from homeserver.rooms.pdu_checks import PduChecks
from homeserver.services import incoming_events
from homeserver.services.federation_inbox import FederationInbox
from homeserver.services.inbox_measures import InboxMetrics, NoInboxMetrics
from homeserver.services.inbox_prometheus_metrics import PrometheusInboxMetrics
from homeserver.services.incoming_events import IncomingEvents
from homeserver.services.timely_checks import TimelyChecks
from homeserver.storage import events, incoming_pdus
from tests.api.server import Databases
from tests.rooms.holding import US, enter, held
from tests.rooms.remote_rooms import Remote, receiver
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, Keys, SignedRoom, key_of
from tests.services.conftest import MovableClock
from tests.services.test_follower import until

B = ServerName("b.example")


class NoEdus:
    async def receive(self, origin: ServerName, edus: Sequence[JsonObject]) -> None:
        del origin, edus


@attrs.define
class Scene:
    """A server that receives; `woken` counts the calls for its worker."""

    database: Database
    clock: MovableClock
    room: SignedRoom
    remote: Remote
    woken: int = 0
    metrics: InboxMetrics = attrs.field(factory=NoInboxMetrics)

    def wake(self) -> None:
        self.woken += 1

    @property
    def inbox(self) -> FederationInbox:
        return FederationInbox(
            self.database,
            self.clock,
            US,
            TimelyChecks(PduChecks(Keys()), reactor),
            NoEdus(),
            self.wake,
            self.metrics,
        )

    def worker(self) -> IncomingEvents:
        """A process that has just been started."""
        return IncomingEvents(
            self.database,
            self.clock,
            Signer(US, key_of(US)),
            receiver(self.database, self.clock, self.remote),
        )

    async def send(self, *sent: Event, txn_id: str = "t") -> bytes:
        return await self.inbox.receive(B, txn_id, [self.room.pdu(event) for event in sent], [])

    async def work(self) -> None:
        """Let a new process do what is due."""
        worker = self.worker()
        await worker.work()
        await until(lambda: not worker._running and not worker._completions._running)

    async def known(self) -> set[str]:
        return set((await self.database.read(held, self.room)).statuses)


@pytest.fixture
async def files(databases: Databases, tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(
        Location.parse(databases.sqlite(tmp_path)),
        reactor,  # type: ignore[arg-type]  # zope's reactor
        on_commit=lambda _position, _topics: None,
    )
    made.start()
    yield made
    await deferToThread(made.stop)


@pytest.fixture
async def scene(files: Database, clock: MovableClock) -> Scene:
    room = SignedRoom.new("10")
    room.join(BOB)
    await files.write(enter, room, list(room.events.values()))
    return Scene(files, clock, room, Remote(room))


async def test_what_lacks_nothing_is_not_staged(scene: Scene) -> None:
    said = [scene.room.say(BOB, str(number)) for number in range(3)]
    await scene.send(*said)
    assert scene.woken == 0
    assert {event.event_id for event in said} <= await scene.known()


async def test_what_was_acknowledged_is_processed_by_whoever_comes(scene: Scene) -> None:
    room = scene.room
    room.say(BOB, "missing")
    said = room.say(BOB, "staged")
    later = room.say(BOB, "later")
    await scene.send(later, said)
    assert scene.woken == 1
    assert said.event_id not in await scene.known()
    await scene.work()
    assert set(room.events) == await scene.known()
    assert scene.remote.count("missing_events") == 1
    # Nothing is left, and the next event takes the short way again.
    await scene.send(room.say(BOB, "on top"), txn_id="u")
    assert scene.woken == 1
    assert set(room.events) == await scene.known()


async def test_a_process_that_died_is_followed_by_another(scene: Scene) -> None:
    room = scene.room
    room.say(BOB, "missing")
    await scene.send(room.say(BOB, "staged"))
    now_ts = scene.clock.now_ts()
    # A process that takes the room, and is never heard of again.
    claimed = await scene.database.write(
        incoming_pdus.claim, now_ts=now_ts, until_ts=now_ts + incoming_events.LEASE_MS
    )
    assert claimed == room.room_id
    await scene.work()
    assert room.last.event_id not in await scene.known()
    scene.clock.advance(incoming_events.LEASE_MS)
    await scene.work()
    assert room.last.event_id in await scene.known()


async def test_what_fails_again_and_again_is_given_up(scene: Scene) -> None:
    room = scene.room
    base = room.last
    room.say(BOB, "missing")
    stuck = room.say(BOB, "stuck")
    behind = room.say(BOB, "behind")
    scene.remote.silent = {"missing_events", "state_ids"}
    await scene.send(stuck, behind)
    for attempt in range(1, incoming_events.MOST_FAILURES):
        await scene.work()
        assert scene.remote.count("state_ids") == attempt
        # Not before its time.
        await scene.work()
        assert scene.remote.count("state_ids") == attempt
        # What depends on nothing that is missing goes the short way all the while.
        beside = room.say(BOB, "beside", prev=[base])
        await scene.send(beside, txn_id=str(attempt))
        assert beside.event_id in await scene.known()
        scene.clock.advance(incoming_events.BACKOFF.cap_ms)
    assert await scene.database.read(incoming_pdus.count, room.room_id, B) == 2
    # Then what waited for it has its share of attempts.
    for _ in range(incoming_events.MOST_FAILURES):
        await scene.work()
        scene.clock.advance(incoming_events.BACKOFF.cap_ms)
    assert await scene.database.read(incoming_pdus.count, room.room_id, B) == 0
    assert not {stuck.event_id, behind.event_id} & await scene.known()


async def test_many_extremities_are_tied_together(scene: Scene) -> None:
    room = scene.room
    base = room.last
    forks = [room.say(BOB, str(number), prev=[base]) for number in range(15)]
    await scene.send(*forks)
    await scene.work()
    found = await scene.database.read(held, room)
    assert len(found.extremities) == 1
    (dummy_id,) = found.extremities
    dummy = await scene.database.read(events.of, dummy_id)
    assert dummy is not None
    assert (dummy.type, dummy.sender, dummy.status) == ("org.matrix.dummy_event", ALICE, events.HIDDEN)
    # The others are to have it, too.
    assert dummy.is_outbound
    assert dummy.position is not None


async def test_a_room_that_cannot_be_healed_is_gone_on_with(scene: Scene) -> None:
    """Its policy server will not sign what would tie its extremities together."""
    room = scene.room
    keys = {"ed25519": encode_base64(key_of(B).verify_key)}
    policy = room.send("m.room.policy", ALICE, {"via": B, "public_keys": keys}, "")
    asked: list[Obstacle] = []

    def refuse(obstacle: Obstacle, again: Rerun) -> Deferred[Any]:
        del again
        asked.append(obstacle)
        return fail(Forbidden("not in this room"))

    scene.database.clear = refuse
    forks = [room.say(BOB, str(number), prev=[policy]) for number in range(15)]
    await scene.send(policy, *forks)
    await scene.work()
    assert len(asked) == 1
    assert set(room.events) == await scene.known()
    # Nobody has to wait for the end of a lease.
    await scene.send(room.say(BOB, "one more", prev=[policy]), txn_id="u")
    await scene.work()
    assert len(asked) == 2
    assert set(room.events) == await scene.known()


async def test_a_server_cannot_have_everything_wait(scene: Scene, monkeypatch: Any) -> None:
    """What is too much for one room is refused, and with it nothing of another room."""
    monkeypatch.setattr("homeserver.services.federation_inbox.MOST_STAGED", 2)
    room = scene.room
    other = SignedRoom.new("10", creator=CAROL)
    other.join(ALICE)
    other.join(BOB)
    await scene.database.write(enter, other, list(other.events.values()))
    base = room.last
    room.say(BOB, "missing")
    one, two, three, four = (room.say(BOB, str(number)) for number in range(4))
    assert decode(await scene.send(one)) == {"pdus": {one.event_id: {}}}
    elsewhere = other.say(BOB, "elsewhere")
    pdus = [*(room.pdu(event) for event in (two, three, four)), other.pdu(elsewhere)]
    answer: Any = decode(await scene.inbox.receive(B, "u", pdus, []))
    refused = {"error": "Too many events of that room wait already"}
    assert answer["pdus"] == {
        two.event_id: {},
        three.event_id: refused,
        four.event_id: refused,
        elsewhere.event_id: {},
    }
    assert (await scene.database.read(events.placed, [elsewhere.event_id])).keys() == {elsewhere.event_id}
    # Once the room is done with them, the next event brings what was refused.
    await scene.work()
    await scene.send(room.say(BOB, "next", prev=[four, base]), txn_id="v")
    await scene.work()
    assert set(room.events) == await scene.known()


async def test_what_became_of_events_is_counted(scene: Scene) -> None:
    registry = CollectorRegistry()
    scene.metrics = PrometheusInboxMetrics(registry)
    room = scene.room

    def received() -> list[float | None]:
        name = "homeserver_federation_received_pdus_total"
        return [
            registry.get_sample_value(name, {"outcome": each}) for each in ("stored", "staged", "refused")
        ]

    await scene.send(room.say(BOB, "at once"))
    assert received() == [1, 0, 0]
    # A repetition is no news.
    await scene.send(room.last)
    assert received() == [1, 0, 0]
    forged = room.pdu(room.say(BOB, "forged")) | {"signatures": {B: {"ed25519:b": "A" * 86}}}
    pdus: list[JsonObject] = [
        forged,
        {"room_id": room.room_id},
        room.pdu(room.say(BOB, "lacks the forged one")),
    ]
    await scene.inbox.receive(B, "other", pdus, [])
    assert received() == [1, 1, 2]
    await scene.inbox.measure()
    assert registry.get_sample_value("homeserver_federation_staged_pdus") == 1
    await scene.work()
    await scene.inbox.measure()
    assert registry.get_sample_value("homeserver_federation_staged_pdus") == 0
