"""Making staged PDUs part of their rooms: rooms beside each other, each in order, by whichever process comes first."""

import random
from collections.abc import Sequence
from typing import Final

import attrs
import structlog
from twisted.internet.defer import Deferred

from homeserver.core.backoff import Backoff
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import decode_object
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.draft import Signer
from homeserver.rooms.healing import heal
from homeserver.rooms.missing import Incomplete, parents_first
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.receive import Receiver
from homeserver.runtime.clock import Clock
from homeserver.storage import incoming_pdus, rooms
from homeserver.storage.incoming_pdus import IncomingPdu

ROOMS_AT_ONCE: Final = 8

BATCH: Final = 50
"""PDUs of a room that are read at a time."""

LEASE_MS: Final = 600_000
"""If a process dies at a room, another goes on after this time."""

RENEW_MS: Final = 60_000

BACKOFF: Final = Backoff(first_ms=5_000, cap_ms=3_600_000, factor=3.0)

MOST_FAILURES: Final = 10
"""After so many, over some four hours, an event is given up."""

_log = structlog.get_logger(__name__)


@attrs.frozen(slots=True)
class _Batch:
    """PDUs of a room that are due; `version` is None if the room is gone."""

    version: RoomVersion | None
    pdus: Sequence[IncomingPdu]


@attrs.define(slots=True)
class _Outcome:
    """What became of the PDUs of one batch: numbers that are done with, and (failures, due) of others.

    `failed` are the events that cannot be completed now: what names them as parents has to wait with them.
    """

    done: list[int] = attrs.field(factory=list)
    put_off: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    failed: dict[EventID, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class IncomingEvents:
    """Processes what has been staged. `wake` it when there is something; `work` is for what was missed."""

    database: Database
    clock: Clock
    signer: Signer
    receiver: Receiver
    _running: set[Deferred[None]] = attrs.field(factory=set, init=False)
    _closing: bool = attrs.field(default=False, init=False)

    def wake(self) -> None:
        """Something has been staged: take one more room, unless enough are being processed."""
        if self._closing or len(self._running) >= ROOMS_AT_ONCE:
            return
        running = Deferred.fromCoroutine(self._take_rooms())
        if not running.called:
            self._running.add(running)
        running.addBoth(self._ended, running)

    async def work(self) -> None:
        """Take up what is due; to be called every few seconds."""
        self.wake()

    async def finish(self) -> None:
        """Begin nothing any more, and wait for the events that are being processed."""
        self._closing = True
        for running in list(self._running):
            done: Deferred[None] = Deferred()
            running.addBoth(_pass_on, done)
            await done

    def _ended(self, result: object, running: Deferred[None]) -> None:
        self._running.discard(running)
        if result is not None:
            _log.error("incoming events could not be processed", reason=str(result))

    async def _take_rooms(self) -> None:
        while not self._closing:
            now_ts = self.clock.now_ts()
            room_id = await self.database.write(
                incoming_pdus.claim, now_ts=now_ts, until_ts=now_ts + LEASE_MS
            )
            if room_id is None:
                return
            # There may be more.
            self.wake()
            try:
                await self._process(room_id)
            except StorageUnavailable as error:
                _log.warning("incoming events have to wait", room=room_id, reason=str(error))
                return

    async def _process(self, room_id: RoomID) -> None:
        """Process what is due of a room, and let go of it."""
        after, failed = 0, dict[EventID, int]()
        lease_ts = self.clock.now_ts()
        while not self._closing:
            now_ts = self.clock.now_ts()
            batch = await self.database.read(read_batch, room_id, after=after, now_ts=now_ts)
            if not batch.pdus:
                break
            if batch.version is None:
                await self.database.write(incoming_pdus.drop_room, room_id)
                return
            outcome = _Outcome(failed=failed)
            for pdu in in_order(batch):
                if self.clock.now_ts() - lease_ts > RENEW_MS:
                    lease_ts = self.clock.now_ts()
                    await self.database.write_soon(incoming_pdus.keep, room_id, until_ts=lease_ts + LEASE_MS)
                if self._closing:
                    break
                await self._process_one(pdu, batch.version, outcome)
            await self.database.write(conclude, outcome.done, outcome.put_off)
            after = max(pdu.pdu_nid for pdu in batch.pdus)
        await self.database.write(heal, room_id, self.signer, now_ts=self.clock.now_ts())
        await self.database.write(release, room_id)

    async def _process_one(self, pdu: IncomingPdu, version: RoomVersion, outcome: _Outcome) -> None:
        """Receive one event, or put it off."""
        event = Event.from_pdu(decode_object(pdu.pdu), version, event_id=pdu.event_id)
        waits_until = [outcome.failed[prev] for prev in event.prev_events if prev in outcome.failed]
        if waits_until:
            outcome.failed[event.event_id] = max(waits_until)
            outcome.put_off[pdu.pdu_nid] = pdu.failures, max(waits_until)
            return
        try:
            checked = CheckedPdu(event, pdu.pdu, pdu.signed_by)
            verdict = await self.receiver.receive(pdu.room_id, checked, origin=pdu.origin)
        except StorageUnavailable:
            raise
        except NotFound:
            # This server has left the room meanwhile.
            outcome.done.append(pdu.pdu_nid)
        except (Incomplete, MatrixError) as error:
            self._fail(pdu, outcome, str(error))
        except Exception as error:  # noqa: BLE001 - logged with its traceback; a bug must not hold the room up
            _log.exception("an event could not be processed", event_id=pdu.event_id, room=pdu.room_id)
            self._fail(pdu, outcome, repr(error))
        else:
            outcome.done.append(pdu.pdu_nid)
            if verdict.reason is not None:
                _log.info(
                    "an event is not shown",
                    event_id=pdu.event_id,
                    room=pdu.room_id,
                    origin=pdu.origin,
                    reason=verdict.reason,
                )

    def _fail(self, pdu: IncomingPdu, outcome: _Outcome, reason: str) -> None:
        failures = pdu.failures + 1
        log = _log.bind(event_id=pdu.event_id, room=pdu.room_id, origin=pdu.origin, reason=reason)
        if failures >= MOST_FAILURES:
            log.warning("an event was given up", failures=failures)
            outcome.done.append(pdu.pdu_nid)
            return
        delay_ms = BACKOFF.delay_ms(failures, jitter=random.random())  # noqa: S311 - no secret
        due_ts = self.clock.now_ts() + delay_ms
        log.info("an event cannot be completed now", failures=failures, retry_ms=delay_ms)
        outcome.failed[pdu.event_id] = due_ts
        outcome.put_off[pdu.pdu_nid] = failures, due_ts


def read_batch(tx: ReadTransaction, room_id: RoomID, *, after: int, now_ts: int) -> _Batch:
    """The next PDUs of the room that are due."""
    room = rooms.of(tx, room_id)
    pdus = incoming_pdus.due(tx, room_id, after=after, most=BATCH, now_ts=now_ts)
    return _Batch(None if room is None else get_room_version(room.version), pdus)


def in_order(batch: _Batch) -> list[IncomingPdu]:
    """The PDUs in the order of their arrival, but each after its parents among them."""
    if batch.version is None:
        return []
    by_id = {pdu.event_id: pdu for pdu in batch.pdus}
    events = {
        pdu.event_id: CheckedPdu(
            Event.from_pdu(decode_object(pdu.pdu), batch.version, event_id=pdu.event_id), b"", frozenset()
        )
        for pdu in batch.pdus
    }
    order = [by_id.pop(each.event.event_id) for each in parents_first(events)]
    # What is left is in a circle, and will be found to be so.
    return [*order, *by_id.values()]


def conclude(tx: WriteTransaction, done: Sequence[int], put_off: dict[int, tuple[int, int]]) -> None:
    """Note what became of a batch."""
    if done:
        incoming_pdus.remove(tx, done)
    incoming_pdus.put_off(tx, put_off)


def release(tx: WriteTransaction, room_id: RoomID) -> None:
    """Let go of a room until the next of its PDUs is due."""
    # Who stages PDUs holds the same lock: none is overlooked.
    rooms.lock(tx, room_id)
    incoming_pdus.release(tx, room_id)


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
