"""Sending message events, and redactions."""

import msgspec
from twisted.internet.defer import Deferred

from homeserver.core.errors import InvalidParam, UserSuspended
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, UserID, parse_event_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import Question, ReadTransaction, WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.runtime.clock import Clock
from homeserver.services.presence import Presence
from homeserver.storage import client_transactions, events, push_rules, rooms


class Messages(msgspec.Struct, frozen=True):
    """Sends the events of this server's users."""

    database: Database
    clock: Clock
    signer: Signer
    presence: Presence

    async def send(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        txn_id: str,
        content: JsonObject,
        *,
        sticky_duration_ms: int | None = None,
    ) -> EventID:
        """Send a message event; the same `txn_id` from the same device gives the same event.

        With `sticky_duration_ms` it is a sticky event.
        Errors: Forbidden if the auth rules or the power levels refuse; TooLarge past 65,536 bytes; BadJson;
        InvalidParam for a redaction of nothing; UserSuspended; DuplicateAnnotation; Unknown for a thread within
        another relation.
        Spec: client-server API, "Sending events to a room".
        """
        draft = message_draft(requester.user_id, event_type, content)
        draft = msgspec.structs.replace(
            draft, device_id=_device_of(requester), txn_id=txn_id, sticky_duration_ms=sticky_duration_ms
        )
        return await self._send(requester, room_id, draft, f"send/{room_id}/{event_type}/{txn_id}")

    async def redact(
        self, requester: Requester, room_id: RoomID, event_id: EventID, txn_id: str, content: JsonObject
    ) -> EventID:
        """Redact an event; the same `txn_id` from the same device gives the same redaction.

        Errors: Forbidden if the event is another's and the power level does not reach; NotFound;
        UserSuspended if it is another's.
        Spec: client-server API, "Redactions".
        """
        draft = Draft(
            requester.user_id,
            "m.room.redaction",
            {key: value for key, value in content.items() if key != "redacts"},
            redacts=event_id,
            device_id=_device_of(requester),
            txn_id=txn_id,
        )
        return await self._send(requester, room_id, draft, f"redact/{room_id}/{event_id}/{txn_id}")

    async def _send(self, requester: Requester, room_id: RoomID, draft: Draft, request: str) -> EventID:
        # Beforehand, as the answer is not to come after the event itself; but not waited for: the event takes its place
        # among the writes at once, so that nothing which the device sends after it overtakes it.
        noted = Deferred.fromCoroutine(self.presence.active(requester))
        event_id: EventID = await self.database.write(
            send_once,
            self.signer,
            room_id,
            draft,
            request,
            now_ts=self.clock.now_ts(),
            only_own=requester.is_suspended,
        )
        await noted
        return event_id


def send_once(
    tx: WriteTransaction,
    signer: Signer,
    room_id: RoomID,
    draft: Draft,
    request: str,
    *,
    now_ts: int,
    only_own: bool,
) -> EventID:
    """Append the event, unless this device has already made this request.

    With `only_own` the sender may redact own events, and do nothing else: UserSuspended.
    """
    device = draft.device_id or ""
    _ask_ahead(tx, room_id, client_transactions.question(draft.sender, device, request))
    # The lock comes first: another process may be doing the same request.
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    done = client_transactions.result_of(tx, draft.sender, device, request)
    if done is not None:
        return EventID(done)
    event = append_message(tx, appender, draft, only_own=only_own)
    client_transactions.remember(tx, draft.sender, device, request, result=event.event_id, now_ts=now_ts)
    return event.event_id


def message_draft(
    sender: UserID, event_type: str, content: JsonObject, *, delay_id: str | None = None
) -> Draft:
    """A message event as a client wants it. Errors: InvalidParam for a redaction of nothing."""
    if event_type != "m.room.redaction":
        return Draft(sender, event_type, content, txn_id=delay_id)
    others = {key: value for key, value in content.items() if key != "redacts"}
    return Draft(sender, event_type, others, redacts=_target_of(content), txn_id=delay_id)


def append_message(tx: WriteTransaction, appender: Appender, draft: Draft, *, only_own: bool) -> Event:
    """Append the event, and publish it; `only_own` as for `send_once`. Errors: UserSuspended; see `Messages.send`."""
    if only_own and not _redacts_own(tx, draft):
        raise UserSuspended("You cannot do this while your account is suspended")
    event = appender.append(draft)
    appender.publish()
    return event


def _ask_ahead(tx: WriteTransaction, room_id: RoomID, done: Question) -> None:
    """What every message asks, in this order; the room's number is a guess, the lock tells it."""
    questions = [rooms.lock_question(room_id), done]
    room_nid = tx.caches.likely_rooms.get(room_id)
    if room_nid is not None:
        questions.append(push_rules.members_question(room_nid))
    tx.ask_ahead(questions)


def _target_of(content: JsonObject) -> EventID:
    redacts = content.get("redacts")
    if not isinstance(redacts, str):
        raise InvalidParam("content.redacts must be the ID of the event to redact")
    return parse_event_id(redacts)


def _redacts_own(tx: ReadTransaction, draft: Draft) -> bool:
    """Whether an event of the sender is to be redacted."""
    target = None if draft.redacts is None else events.of(tx, draft.redacts)
    return target is not None and target.sender == draft.sender


def _device_of(requester: Requester) -> str:
    """What scopes transaction ids: the device, or for tokens without one, the user as such."""
    return requester.device_id or ""
