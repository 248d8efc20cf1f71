"""Staged PDUs: made part of their rooms in order, put off, given up, and none of it lost with a process."""

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread

from homeserver.core.errors import Forbidden
from homeserver.core.event import Event
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.json import JsonObject, decode
from homeserver.database.database import Database, Rerun
from homeserver.database.drivers import Location
from homeserver.database.errors import Obstacle
from homeserver.rooms import judge
from homeserver.rooms.draft import Signer
from homeserver.rooms.judge import RoomView
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks
from homeserver.rooms.persist import MOST_AT_ONCE
from homeserver.services import incoming_events
from homeserver.services.federation_inbox import MOST_PDUS, FederationInbox, take
from homeserver.services.inbox_measures import InboxMetrics, NoInboxMetrics
from homeserver.services.inbox_prometheus_metrics import PrometheusInboxMetrics
from homeserver.services.incoming_events import IncomingEvents
from homeserver.services.pdu_intake import PduIntake, Transaction, take_rooms
from homeserver.services.timely_checks import TimelyChecks
from homeserver.storage import events, incoming_pdus
from tests.databases import Databases
from tests.rooms.holding import US, check_rows, enter, held
from tests.rooms.remote_rooms import Remote, receiver
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, Keys, SignedRoom, key_of
from tests.rooms.test_convergence import grow
from tests.services.conftest import Commits, MovableClock
from tests.services.test_follower import until

B = ServerName("b.example")


class Outside:
    async def settle(self, pdu: CheckedPdu) -> None:
        del pdu


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
            PduIntake(self.database, self.clock, US, TimelyChecks(PduChecks(Keys()), reactor), self.wake),
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
            Outside(),
        )

    async def send(self, *sent: Event, txn_id: str = "t") -> bytes:
        return await self.inbox.receive(B, txn_id, [self.room.pdu(event) for event in sent], [])

    async def work(self) -> None:
        """Let a new process do what is due."""
        worker = self.worker()
        await worker.work()
        await until(lambda: not worker._running and not worker._completions._running)

    async def stage(self, *waiting: Event) -> None:
        """Have events wait, whatever could be done at once."""
        checked = await self.room.checked(*waiting)
        transaction = Transaction(B, "staged", self.clock.now_ts())
        await self.database.write(take_rooms, transaction, checked, US, only_stage=True)

    async def known(self) -> set[str]:
        return set((await self.database.read(held, self.room)).statuses)


@pytest.fixture
async def files(databases: Databases, tmp_path: Path, commits: Commits) -> AsyncIterator[Database]:
    made = Database(
        Location.parse(databases.sqlite(tmp_path)),
        reactor,  # type: ignore[arg-type]  # zope's reactor
        on_commit=commits.add,
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


async def test_a_full_transaction_is_stored_as_it_comes(scene: Scene, commits: Commits) -> None:
    """In few writes, of which none takes long."""
    said = [scene.room.say(BOB, str(number)) for number in range(MOST_PDUS)]
    await commits.take()
    answer = await scene.send(*said)
    assert decode(answer) == {"pdus": {event.event_id: {} for event in said}}
    assert scene.woken == 0
    assert len(await commits.take()) == 2
    assert set(scene.room.events) == await scene.known()
    # Should it come again, it is answered as it was.
    assert await scene.send(*said) == answer
    assert not await commits.take()


async def test_a_transaction_that_was_broken_off_is_taken_to_its_end(scene: Scene) -> None:
    """As by a process that died between two writes: the transaction is not known, some of its events are."""
    said = [scene.room.say(BOB, str(number)) for number in range(MOST_PDUS)]
    begun = await scene.room.checked(*said[:MOST_AT_ONCE])
    transaction = Transaction(B, "t", scene.clock.now_ts())
    await scene.database.write(take, transaction, begun, {}, US, remember=False)
    assert decode(await scene.send(*said)) == {"pdus": {event.event_id: {} for event in said}}
    assert set(scene.room.events) == await scene.known()
    found = await scene.database.read(held, scene.room)
    assert found.extremities == {said[-1].event_id}


async def test_what_lacks_nothing_is_processed_together(scene: Scene, commits: Commits) -> None:
    room = scene.room
    said = [room.say(BOB, str(number)) for number in range(3 * MOST_AT_ONCE)]
    # Not in their order.
    await scene.stage(*said[MOST_AT_ONCE:], *said[:MOST_AT_ONCE])
    await commits.take()
    await scene.work()
    assert set(room.events) == await scene.known()
    assert (await scene.database.read(held, room)).extremities == {said[-1].event_id}
    # The first batch has what stands on the second.
    assert scene.remote.count("missing_events") == 1
    assert len(await commits.take()) < len(said) // 5


async def test_one_that_lacks_something_keeps_no_others_waiting(scene: Scene) -> None:
    room = scene.room
    base = room.last
    before = [room.say(BOB, f"before {number}") for number in range(5)]
    room.say(BOB, "missing", prev=[base])
    stuck = room.say(BOB, "stuck")
    behind = room.say(BOB, "behind")
    after = [room.say(BOB, f"after {number}", prev=before[-1:]) for number in range(5)]
    scene.remote.silent = {"missing_events", "state_ids"}
    await scene.stage(*before[:3], stuck, behind, *before[3:], *after)
    await scene.work()
    known = await scene.known()
    assert {each.event_id for each in (*before, *after)} <= known
    assert not {stuck.event_id, behind.event_id} & known
    assert await scene.database.read(incoming_pdus.count, room.room_id, B) == 2


async def test_one_that_meets_a_bug_harms_no_others(scene: Scene, monkeypatch: Any) -> None:
    room = scene.room
    said = [room.say(BOB, str(number)) for number in range(6)]
    beside = [room.say(BOB, f"beside {number}", prev=said[:1]) for number in range(6)]
    judge_as_is = judge.judge

    def judge_badly(view: RoomView, pdu: CheckedPdu, *others: Any) -> Any:
        if pdu.event == said[2]:
            raise ZeroDivisionError
        return judge_as_is(view, pdu, *others)

    for module in ("persist", "receive"):
        monkeypatch.setattr(f"homeserver.rooms.{module}.judge", judge_badly)
    await scene.stage(*said, *beside)
    with capture_logs() as logs:
        await scene.work()
    assert any(each.get("event_id") == said[2].event_id and "exc_info" in each for each in logs)
    known = await scene.known()
    assert {each.event_id for each in (*said[:2], *beside)} <= known
    assert not {each.event_id for each in said[2:]} & known
    monkeypatch.undo()
    scene.clock.advance(incoming_events.BACKOFF.cap_ms)
    await scene.work()
    assert set(room.events) == await scene.known()


@pytest.mark.parametrize("seed", range(3))
async def test_together_or_not_events_come_to_the_same(scene: Scene, seed: int) -> None:
    """Forks, bans, rejected and soft-failed events, in any order: the verdicts and states of the reference."""
    room, draw = scene.room, random.Random(seed)
    # Whoever else comes and goes, this server stays.
    joins = [room.join(UserID("@dave:a.example")), room.join(CAROL)]
    await scene.stage(*joins)
    base = list(room.events)
    grow(room, draw, 40)
    new = [event for event_id, event in room.events.items() if event_id not in base]
    await scene.stage(*draw.sample(new, len(new)))
    while await scene.database.read(incoming_pdus.count_all, room.room_id):
        await scene.work()
        scene.clock.advance(incoming_events.BACKOFF.cap_ms)
    found = await scene.database.read(held, room)
    rejected = {event.event_id for event in room.events.values() if event.rejected}
    assert {each for each, status in found.statuses.items() if status == events.REJECTED} == rejected
    for event in new:
        assert found.befores[event.event_id] == room.before(event.prev_events)
    assert found.state == room.before(sorted(found.extremities))
    check_rows(room, found)


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


async def test_very_many_extremities_are_tied_together_at_once(scene: Scene) -> None:
    """Nothing more need happen in the room for that."""
    room = scene.room
    base = room.last
    forks = [room.say(BOB, str(number), prev=[base]) for number in range(80)]
    await scene.send(*forks[:40])
    await scene.send(*forks[40:], txn_id="u")
    await scene.work()
    assert len((await scene.database.read(held, room)).extremities) <= 10


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
    monkeypatch.setattr("homeserver.services.pdu_intake.MOST_STAGED", 2)
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
