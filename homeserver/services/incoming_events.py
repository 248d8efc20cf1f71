"""Making staged PDUs part of their rooms: rooms beside each other, each in order, by whichever process comes first."""

import enum
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, Protocol

import attrs
import msgspec
import structlog
from twisted.internet.defer import Deferred

from homeserver.core.backoff import Backoff
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.rooms.draft import Signer
from homeserver.rooms.healing import heal
from homeserver.rooms.judge import Verdict
from homeserver.rooms.missing import AwaitsState, Incomplete
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.persist import MOST_AT_ONCE
from homeserver.rooms.receive import Receiver
from homeserver.runtime.clock import Clock
from homeserver.services.completions import Completion, Completions
from homeserver.services.staged_events import (
    Staged,
    conclude,
    conclude_one,
    in_order,
    read_batch,
    release,
    take_together,
)
from homeserver.storage import incoming_pdus
from homeserver.storage.incoming_pdus import IncomingPdu

ROOMS_AT_ONCE: Final = 8

ALONE: Final = 4
"""If a PDU cannot be stored together with others, the next ones are not tried together either: they may be like it."""

LEASE_MS: Final = 60_000
"""If a process dies at a room, another goes on after this time."""

RENEW_MS: Final = 15_000

BACKOFF: Final = Backoff(first_ms=5_000, cap_ms=3_600_000, factor=3.0)

COMPLETION_MS: Final = 240_000
"""If a process dies while it completes an event, that is begun anew after this time."""

AWAITING_MS: Final = 15_000
"""When to look whether the members of a room have come, should that have been overlooked."""

FULL_MS: Final = 10_000
"""When to try again what could not be begun, because so much else of that server is being completed."""

MOST_FAILURES: Final = 10
"""After so many, over some four hours, an event is given up."""

MOST_HEALINGS: Final = 30
"""Of a room at a time; each ties 20 extremities together."""

_log = structlog.get_logger(__name__)


class _Outcome(msgspec.Struct):
    """What became of the PDUs of one batch: numbers that are done with, and (failures, due) of others.

    `failed` are the events that cannot be completed now: what names them as parents has to wait with them.
    `waiting` are those that are being completed, or stand on such: by number, the PDU and what it waits for.
    """

    done: list[int] = msgspec.field(default_factory=list)
    put_off: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    failed: dict[EventID, int] = msgspec.field(default_factory=dict)
    waiting: dict[int, tuple[IncomingPdu, Completion]] = msgspec.field(default_factory=dict)

    def put_off_waiting(self, now_ts: int) -> None:
        """Those that still wait are not due for a while; what they wait for hastens them when it is over."""
        for nid, (pdu, completion) in self.waiting.items():
            if completion.is_over and pdu is not completion.pdu:
                self.put_off[nid] = pdu.failures, now_ts
            elif not completion.is_over:
                self.put_off[nid] = pdu.failures, now_ts + COMPLETION_MS


class _Lease(msgspec.Struct):
    """A room that this process has claimed, and when it last said so."""

    database: Database
    clock: Clock
    room_id: RoomID
    said_ts: int

    async def keep(self) -> None:
        """Say so again, if it is time. Errors: StorageUnavailable."""
        now_ts = self.clock.now_ts()
        if now_ts - self.said_ts > RENEW_MS:
            self.said_ts = now_ts
            await self.database.write_soon(incoming_pdus.keep, self.room_id, until_ts=now_ts + LEASE_MS)


class _Fate(enum.Enum):
    """What came of receiving an event, if it did not fail."""

    DONE = "done"
    LACKING = "lacking"
    OUTSIDE = "outside"
    """This server is not in the room, or has left it meanwhile."""
    AWAITING = "awaiting"
    """The members of the room; whoever has fetched them hastens what waits."""


class Outside(Protocol):
    """What looks into events of rooms that this server is not in."""

    async def settle(self, pdu: CheckedPdu) -> None:
        """Take what the event says of users of this server. Errors: Incomplete if that cannot be told now."""
        ...


@attrs.define(eq=False)
class IncomingEvents:
    """Processes what has been staged. `wake` it when there is something; `work` is for what was missed."""

    database: Database
    clock: Clock
    signer: Signer
    receiver: Receiver
    outside: Outside
    _completions: Completions = attrs.field(factory=Completions, init=False)
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
        await self._completions.finish()

    def _ended(self, result: object, running: Deferred[None]) -> None:
        self._running.discard(running)
        if result is not None:
            _log.error("incoming events could not be processed", reason=str(result))

    async def _take_rooms(self) -> None:
        try:
            while (room_id := await self._claim_room()) is not None:
                # There may be more.
                self.wake()
                await self._process(room_id)
        except StorageUnavailable as error:
            _log.warning("incoming events have to wait", reason=str(error))

    async def _claim_room(self) -> RoomID | None:
        """A room with events that are due, now this process's for a while; None to stop looking."""
        if self._closing:
            return None
        now_ts = self.clock.now_ts()
        return await self.database.write(incoming_pdus.claim, now_ts=now_ts, until_ts=now_ts + LEASE_MS)

    async def _process(self, room_id: RoomID) -> None:
        """Process what is due of a room, and let go of it."""
        after, failed = 0, dict[EventID, int]()
        lease = _Lease(self.database, self.clock, room_id, self.clock.now_ts())
        while not self._closing:
            now_ts = self.clock.now_ts()
            batch = await self.database.read(read_batch, room_id, after=after, now_ts=now_ts)
            if not batch.pdus:
                break
            if batch.version is None:
                await self.database.write(incoming_pdus.drop_room, room_id)
                return
            outcome = _Outcome(failed=failed)
            await self._process_batch(deque(in_order(batch.pdus, batch.version)), outcome, lease)
            outcome.put_off_waiting(self.clock.now_ts())
            if outcome.done or outcome.put_off:
                await self.database.write(conclude, outcome.done, outcome.put_off)
            after = max(pdu.pdu_nid for pdu in batch.pdus)
        if await self.database.write(release, room_id):
            await self._heal(room_id)

    async def _process_batch(self, queue: deque[Staged], outcome: _Outcome, lease: _Lease) -> None:
        """Process PDUs of a room: together as far as that takes little, each by itself where it takes more."""
        alone = 0
        while queue and not self._closing:
            await lease.keep()
            ready = [] if alone else self._ready(queue, outcome)
            taken = await self._take_together(ready)
            for _ in range(taken or 0):
                queue.popleft()
            if ready and taken == len(ready):
                continue
            if ready and not taken:
                alone = ALONE if taken == 0 else len(ready)
            elif alone:
                alone -= 1
            await self._process_one(queue.popleft(), outcome)

    def _ready(self, queue: Iterable[Staged], outcome: _Outcome) -> list[Staged]:
        """The first of the PDUs, as far as they wait for nothing."""
        ready = itertools.takewhile(lambda staged: not self._has_to_wait(staged, outcome), queue)
        return list(itertools.islice(ready, MOST_AT_ONCE))

    def _has_to_wait(self, staged: Staged, outcome: _Outcome) -> bool:
        """Whether it is being completed, or stands on what is, or on what cannot be completed now."""
        prev_events = staged.event.prev_events
        return (
            not outcome.failed.keys().isdisjoint(prev_events)
            or self._completions.waited_for_by(staged.pdu, prev_events) is not None
        )

    async def _take_together(self, ready: Sequence[Staged]) -> int | None:
        """Receive the first of the PDUs in one write, those that lack nothing and need no resolution.

        Gives how many; None, and nothing is done, if one of them met a bug.
        """
        if not ready:
            return 0
        own = self.receiver.server_name
        room_id = ready[0].pdu.room_id
        try:
            verdicts = await self.database.write(take_together, room_id, ready, own)
        except StorageUnavailable:
            raise
        except Exception:  # noqa: BLE001 - logged with its traceback; each by itself it harms one event only
            _log.exception("events could not be processed together", room=room_id)
            return None
        for staged, verdict in zip(ready, verdicts, strict=False):
            _log_verdict(staged.pdu, verdict)
        return len(verdicts)

    async def _heal(self, room_id: RoomID) -> None:
        """Tie the extremities together if need be; that it cannot be done now is no reason to stop at the room."""
        try:
            for _ in range(MOST_HEALINGS):
                if not await self.database.write(heal, room_id, self.signer, now_ts=self.clock.now_ts()):
                    break
        except StorageUnavailable:
            raise
        except MatrixError as error:
            # Such as by its policy server.
            _log.info("a room could not be healed", room=room_id, reason=str(error))
        except Exception:  # noqa: BLE001 - logged with its traceback; the next event of the room has it tried again
            _log.exception("a room could not be healed", room=room_id)

    async def _process_one(self, staged: Staged, outcome: _Outcome) -> None:
        """Receive one event, or put it off; one that lacks something is completed beside the others."""
        pdu, checked, event = staged.pdu, staged.checked, staged.event
        if (completion := self._completions.waited_for_by(pdu, event.prev_events)) is not None:
            if completion.pdu.event_id != pdu.event_id:
                completion.add(pdu)
            outcome.waiting[pdu.pdu_nid] = pdu, completion
            return
        waits_until = [outcome.failed[prev] for prev in event.prev_events if prev in outcome.failed]
        if waits_until:
            outcome.failed[event.event_id] = max(waits_until)
            outcome.put_off[pdu.pdu_nid] = pdu.failures, max(waits_until)
            return
        fate = await self._receive(pdu, self.receiver.receive_at_once(pdu.room_id, checked))
        if fate is _Fate.DONE or (fate is _Fate.OUTSIDE and not _removes_somebody(event)):
            outcome.done.append(pdu.pdu_nid)
        elif isinstance(fate, str):
            self._fail(pdu, outcome, fate)
        elif self._completions.is_full(pdu.room_id, pdu.origin):
            due_ts = self.clock.now_ts() + FULL_MS
            outcome.failed[pdu.event_id] = due_ts
            outcome.put_off[pdu.pdu_nid] = pdu.failures, due_ts
        else:
            begun = self._completions.begin(
                pdu, lambda each: Deferred.fromCoroutine(self._complete(each, checked))
            )
            outcome.waiting[pdu.pdu_nid] = pdu, begun

    async def _complete(self, completion: Completion, checked: CheckedPdu) -> None:
        """Receive an event, with what has to be fetched for it; then it is the turn of those that wait for it."""
        pdu, outcome = completion.pdu, _Outcome()
        due_ts = 0
        try:
            fate = await self._receive(pdu, self.receiver.receive(pdu.room_id, checked, origin=pdu.origin))
            if fate is _Fate.OUTSIDE:
                fate = await self._receive(pdu, self.outside.settle(checked))
            if isinstance(fate, str):
                self._fail(pdu, outcome, fate)
                _, due_ts = outcome.put_off.get(pdu.pdu_nid, (0, 0))
            elif fate is _Fate.AWAITING:
                due_ts = self.clock.now_ts() + AWAITING_MS
                outcome.put_off[pdu.pdu_nid] = pdu.failures, due_ts
            else:
                outcome.done.append(pdu.pdu_nid)
        except StorageUnavailable as error:
            _log.warning("an incoming event has to wait", event_id=pdu.event_id, reason=str(error))
        finally:
            self._completions.end(completion)
        due_ts = due_ts or self.clock.now_ts()
        outcome.put_off |= {nid: (each.failures, due_ts) for nid, each in completion.waiting.items()}
        try:
            await self.database.write(conclude_one, pdu.room_id, outcome.done, outcome.put_off)
        except StorageUnavailable as error:
            # It is due again after a while, and is then found to be known.
            _log.warning("an incoming event has to wait", event_id=pdu.event_id, reason=str(error))
        self.wake()

    async def _receive(self, pdu: IncomingPdu, receiving: Awaitable[Verdict | None]) -> _Fate | str:
        """What comes of it: why, if it fails."""
        try:
            verdict = await receiving
        except StorageUnavailable:
            raise
        except NotFound:
            return _Fate.OUTSIDE
        except AwaitsState:
            return _Fate.AWAITING
        except (Incomplete, MatrixError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - logged with its traceback; a bug must not hold the room up
            _log.exception("an event could not be processed", event_id=pdu.event_id, room=pdu.room_id)
            return repr(error)
        if verdict is None:
            return _Fate.LACKING
        _log_verdict(pdu, verdict)
        return _Fate.DONE

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


def _removes_somebody(event: Event) -> bool:
    """Whether the event may be of interest outside of its room."""
    return event.type == "m.room.member" and event.content.get("membership") in ("leave", "ban")


def _log_verdict(pdu: IncomingPdu, verdict: Verdict) -> None:
    if verdict.reason is not None:
        _log.info(
            "an event is not shown",
            event_id=pdu.event_id,
            room=pdu.room_id,
            origin=pdu.origin,
            reason=verdict.reason,
        )


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
