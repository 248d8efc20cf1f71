"""Events that users have this server send later, unless they change their mind. Spec: MSC4140.

An event that is due is sent by whichever process comes first: it claims the row for a while, and the transaction that
sends the event is the one that notes so in its row. So each is sent once, whatever dies meanwhile.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, Literal, Protocol

import attrs
import msgspec
import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.core.errors import (
    Forbidden,
    InvalidParam,
    LimitExceeded,
    MatrixError,
    NotFound,
    TooLarge,
    Unknown,
)
from homeserver.core.event_format import MAX_EVENT_BYTES
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue, canonical, decode_object
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_changes import GUEST_ACCESS, check_not_suspended
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import new_token
from homeserver.services.delayed_sending import check_sendable, send_delayed
from homeserver.services.room_state import check_may_stick
from homeserver.storage import client_transactions, delayed_events
from homeserver.storage.delayed_events import Delayed, Outcome

LEASE_MS: Final = 5_000
"""How long an event stays claimed by a process that has died; one that is at it for longer says so in time."""

RETRY_MS: Final = 10_000
"""How long it takes until it is tried again."""

AT_ONCE: Final = 50
"""Events that a process claims together, and rooms that it is at."""

PATIENCE_MS: Final = 10 * 60_000
"""For how long it is tried again where the room cannot take the event yet."""

KEPT_MS: Final = 7 * 24 * 3_600_000
"""For how long it is told what became of an event. Spec: MSC4140, "Retention of finalised delayed events"."""

Action = Literal["send", "cancel", "restart"]

_log = structlog.get_logger(__name__)


class GuestKeeper(Protocol):
    """Keeps guests out of rooms."""

    def enforce(self, room_id: RoomID) -> Awaitable[None]:
        """Let the guests leave a room unless it admits them."""
        ...


class DelayLimits(msgspec.Struct, frozen=True):
    """How long an event may be delayed, and how many of a user may wait at a time; with 0 nothing can be delayed."""

    max_delay_ms: int
    max_scheduled: int


class DelayTooLong(Forbidden):
    """The delay is longer than `max_delay_ms`."""

    def __init__(self, max_delay_ms: int) -> None:
        super().__init__(f"An event can be delayed by {max_delay_ms} ms at most")
        self.max_delay_ms = max_delay_ms


class Wish(msgspec.Struct, frozen=True):
    """What a client wants to be sent, and when."""

    room_id: RoomID
    type: str
    state_key: str | None
    content: JsonObject
    delay_ms: int
    sticky_duration_ms: int | None = None


@attrs.frozen(eq=False)
class DelayedEvents:
    """Keeps events until they are due, and sends them."""

    database: Database
    clock: Clock
    signer: Signer
    limits: DelayLimits
    guest_access: GuestKeeper
    _running: dict[Deferred[None], list[str]] = attrs.field(factory=dict, init=False)

    async def schedule(self, requester: Requester, wish: Wish, txn_id: str | None) -> str:
        """Have an event sent later; gives its delay ID. The same `txn_id` from the same device gives the same.

        Errors: DelayTooLong; InvalidParam, TooLarge, BadJson for what could not be sent; Forbidden where nothing can
        be delayed; LimitExceeded with too many; UserSuspended. Spec: MSC4140, "Scheduling a delayed event".
        """
        if not self.limits.max_scheduled:
            raise Forbidden("This server delays no events")
        if wish.delay_ms <= 0:
            raise InvalidParam("the delay must be positive")
        if wish.delay_ms > self.limits.max_delay_ms:
            raise DelayTooLong(self.limits.max_delay_ms)
        if wish.state_key is not None and "\0" in wish.state_key:
            raise InvalidParam("the state key has a NUL")
        content = canonical(wish.content)
        if len(content) > MAX_EVENT_BYTES:
            raise TooLarge("The event is too large")
        check_may_stick(wish.type if wish.state_key is not None else "", wish.sticky_duration_ms)
        check_sendable(self.signer.server_name, requester.user_id, wish.type, wish.state_key, wish.content)
        delayed = Delayed(
            new_token(),
            requester.user_id,
            wish.room_id,
            wish.type,
            wish.state_key,
            content,
            wish.delay_ms,
            self.clock.now_ts(),
            wish.sticky_duration_ms,
        )
        request = None if txn_id is None else f"delay/{wish.room_id}/{wish.type}/{txn_id}"
        device = requester.device_id or ""
        return await self.database.write(
            schedule_once, delayed, device, request, max_scheduled=self.limits.max_scheduled
        )

    async def act(self, requester: Requester, delay_id: str, action: Action) -> None:
        """Send the event now, cancel it, or let its delay begin anew.

        Errors: NotFound if the requester has no such event; Unknown (409) if it has ended otherwise; those of sending
        it, after which it is scheduled still. Spec: MSC4140, "Managing scheduled delayed events".
        """
        sent = await self.database.write(
            act, self.signer, requester.user_id, delay_id, action, now_ts=self.clock.now_ts()
        )
        if sent is not None:
            await self._after(sent)

    async def one(self, requester: Requester, delay_id: str) -> JsonObject:
        """An event of the requester, and what became of it. Errors: NotFound.

        Spec: MSC4140, "Getting delayed events".
        """
        found = await self.database.look_up(delayed_events.of_user, requester.user_id, delay_id)
        if found is None:
            raise _not_found()
        return _document(*found)

    async def scheduled(self, requester: Requester) -> list[JsonValue]:
        """What the requester has scheduled, what is due next first; each as `one` gives it."""
        found = await self.database.look_up(delayed_events.of_user_scheduled, requester.user_id)
        return [_document(delayed, None) for delayed in found]

    async def work(self) -> None:
        """Begin to send what is due. A loop's work."""
        if self._running:
            # Rooms that are slow: nobody else need try, too.
            delay_ids = [delay_id for listed in self._running.values() for delay_id in listed]
            until_ts = self.clock.now_ts() + LEASE_MS
            await self.database.write(delayed_events.keep, delay_ids, until_ts=until_ts)
        while len(self._running) < AT_ONCE:
            now_ts = self.clock.now_ts()
            if not await self.database.look_up(delayed_events.is_any_due, now_ts=now_ts):
                return
            claimed = await self.database.write(
                delayed_events.claim, now_ts=now_ts, until_ts=now_ts + LEASE_MS, most=AT_ONCE
            )
            by_room: dict[RoomID, list[Delayed]] = {}
            for delayed in claimed:
                by_room.setdefault(delayed.room_id, []).append(delayed)
            # In their order in each room; a room that is slow holds up no other.
            for listed in by_room.values():
                sending = Deferred.fromCoroutine(self._send_all(listed))
                self._running[sending] = [delayed.delay_id for delayed in listed]
                sending.addBoth(self._sent, sending)

    async def finish(self) -> None:
        """Wait for what is being sent."""
        for sending in list(self._running):
            done: Deferred[None] = Deferred()
            sending.addBoth(_pass_on, done)
            await done

    async def prune(self) -> None:
        """Forget what became of events long ago. A loop's work."""
        await self.database.write_soon(delayed_events.prune, before_ts=self.clock.now_ts() - KEPT_MS)

    def _sent(self, result: object, sending: Deferred[None]) -> None:
        self._running.pop(sending, None)
        if isinstance(result, Failure):
            _log.error("delayed events could not be sent", reason=result.getErrorMessage())

    async def _send_all(self, claimed: Sequence[Delayed]) -> None:
        try:
            for delayed in claimed:
                await self._send(delayed)
        except StorageUnavailable as error:
            # The others are taken up again when the lease is over.
            _log.warning("delayed events have to wait", reason=str(error))

    async def _send(self, delayed: Delayed) -> None:
        """Send one, or note why not; without the database that is left to who comes next."""
        try:
            is_sent = await self.database.write(
                send_due, self.signer, delayed.delay_id, now_ts=self.clock.now_ts()
            )
        except (StorageUnavailable, CancelledError):
            raise
        except MatrixError as error:
            await self._fail(delayed, error)
        except Exception:  # noqa: BLE001 - one event's fault is not the others'
            _log.exception("a delayed event could not be sent", delay_id=delayed.delay_id)
            await self._fail(delayed, Unknown("internal server error"))
        else:
            if is_sent:
                await self._after(delayed)

    async def _fail(self, delayed: Delayed, error: MatrixError) -> None:
        now_ts = self.clock.now_ts()
        if isinstance(error, LimitExceeded) and now_ts - delayed.due_ts < PATIENCE_MS:
            # As while the members of the room are being fetched. Who sends too much was stopped when scheduling.
            await self.database.write(delayed_events.keep, [delayed.delay_id], until_ts=now_ts + RETRY_MS)
            return
        _log.info("a delayed event was given up", user=delayed.user_id, reason=str(error))
        await self.database.write(give_up, delayed.delay_id, error, now_ts=now_ts)

    async def _after(self, delayed: Delayed) -> None:
        if (delayed.type, delayed.state_key) == GUEST_ACCESS:
            await self.guest_access.enforce(delayed.room_id)


def schedule_once(
    tx: WriteTransaction, delayed: Delayed, device_id: str, request: str | None, *, max_scheduled: int
) -> str:
    """Schedule the event, unless this device has already made this request. Errors: LimitExceeded, UserSuspended."""
    user_id, now_ts = delayed.user_id, delayed.since_ts
    if request is not None:
        done = client_transactions.result_of(tx, user_id, device_id, request)
        if done is not None:
            return done
    check_not_suspended(tx, user_id)
    count, next_ts = delayed_events.scheduled(tx, user_id)
    if count >= max_scheduled:
        wait_ms = max(1_000, (next_ts or now_ts) - now_ts)
        raise LimitExceeded("The maximum number of delayed events has been reached", retry_after_ms=wait_ms)
    delayed_events.schedule(tx, delayed)
    if request is not None:
        client_transactions.remember(tx, user_id, device_id, request, result=delayed.delay_id, now_ts=now_ts)
    return delayed.delay_id


def act(
    tx: WriteTransaction, signer: Signer, user_id: UserID, delay_id: str, action: Action, *, now_ts: int
) -> Delayed | None:
    """Do what the user wants with the event; gives it if it was sent. Errors: see `DelayedEvents.act`."""
    found = delayed_events.of_user(tx, user_id, delay_id)
    if found is None:
        raise _not_found()
    delayed, outcome = found
    if outcome is not None:
        _check_matches(outcome, action)
    elif action == "restart":
        delayed_events.restart(tx, delay_id, now_ts=now_ts)
    elif action == "cancel":
        delayed_events.finalise(tx, delay_id, now_ts=now_ts)
    else:
        event_id = send_delayed(tx, signer, delayed, now_ts=now_ts)
        delayed_events.finalise(tx, delay_id, now_ts=now_ts, event_id=event_id)
        return delayed
    return None


def send_due(tx: WriteTransaction, signer: Signer, delay_id: str, *, now_ts: int) -> bool:
    """Send the event if that is still to be done; whether it was."""
    delayed = delayed_events.due(tx, delay_id, now_ts=now_ts)
    if delayed is None:
        return False
    event_id = send_delayed(tx, signer, delayed, now_ts=now_ts)
    return delayed_events.finalise(tx, delay_id, now_ts=now_ts, event_id=event_id)


def give_up(tx: WriteTransaction, delay_id: str, error: MatrixError, *, now_ts: int) -> None:
    """Note why the event was not sent, if it was still to be."""
    if delayed_events.due(tx, delay_id, now_ts=now_ts) is not None:
        document: JsonObject = {"errcode": error.errcode, "error": error.message}
        document.update(error.fields)  # type: ignore[arg-type]  # errors are made with JSON values
        delayed_events.finalise(tx, delay_id, now_ts=now_ts, error=document)


def _check_matches(outcome: Outcome, action: Action) -> None:
    """A request may be repeated, and may not come too late. Errors: Unknown."""
    if action != ("cancel" if outcome.event_id is None else "send"):
        done = "cancelled" if outcome.event_id is None else "sent"
        raise Unknown(f"The event has already been {done}", status=409)


def _document(delayed: Delayed, outcome: Outcome | None) -> JsonObject:
    document: JsonObject = {
        "delay_id": delayed.delay_id,
        "room_id": delayed.room_id,
        "type": delayed.type,
        "delay_ms": delayed.delay_ms,
        "delayed_since_ts": delayed.since_ts,
        "content": decode_object(delayed.content),
    }
    if delayed.state_key is not None:
        document["state_key"] = delayed.state_key
    if delayed.sticky_duration_ms is not None:
        document["org.matrix.msc4354.sticky_duration_ms"] = delayed.sticky_duration_ms
    if outcome is not None:
        finalised: JsonObject = {"finalised_ts": outcome.finalised_ts}
        if outcome.event_id is not None:
            finalised["event_id"] = outcome.event_id
        if outcome.error is not None:
            finalised["error"] = outcome.error
        document["finalised"] = finalised
    return document


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result


def _not_found() -> NotFound:
    return NotFound("There is no such delayed event")
