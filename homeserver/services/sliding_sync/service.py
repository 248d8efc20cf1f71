"""Sliding sync: what is new in the windows of a client's lists; the client waits until there is something.

Spec: MSC4186.
"""

from typing import Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from homeserver.core.endpoint_errors import UnknownPos
from homeserver.core.requester import Requester
from homeserver.core.sliding_sync.requests import SlidingRequest
from homeserver.core.splice import keyed, object_of
from homeserver.core.tokens import SlidingToken
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.sliding_sync.answered import LastAnswers
from homeserver.services.sliding_sync.context import Answer, Asking
from homeserver.services.sliding_sync.extensions import E2EE, TO_DEVICE, e2ee_json, to_device_json
from homeserver.services.sliding_sync.read import IDLE_MS, find_connection, find_step, read_sliding
from homeserver.services.sync.lazy_members import LazyMembers, Sent
from homeserver.services.sync.listening import Listening, Patience
from homeserver.services.sync.remembered import UserRooms
from homeserver.services.sync.to_device import Inboxes
from homeserver.storage import sliding_sync
from homeserver.storage.sliding_sync import Connection, Step

MAX_TIMEOUT_MS: Final = 5 * 60_000

MOST_CONNECTIONS: Final = 16
"""Of one device; the longest unused one makes room for one more."""

MOST_ANSWERS: Final = 8
"""To requests with the same token: which of them the client has got is known when it comes back with it."""

EXPIRY_MS: Final = 7 * 24 * 3_600_000
"""A connection that is not used for so long is forgotten."""

EXPIRED_AT_ONCE: Final = 50


@attrs.frozen
class SlidingSync:
    """Answers both forms of the API.

    What clients have been told is in the database. In memory is only what may be lost: which members have been sent,
    and which requests have been answered last.
    """

    database: Database
    clock: Clock
    listening: Listening
    lazy_members: LazyMembers
    inboxes: Inboxes
    _answers: LastAnswers = attrs.field(factory=LastAnswers, init=False)

    async def sync(
        self,
        requester: Requester,
        request: SlidingRequest,
        *,
        conn_id: str,
        token: SlidingToken | None,
        timeout_ms: int,
        gone: Deferred[None],
    ) -> dict[str, bytes]:
        """The members of the response, as JSON.

        Waits up to `timeout_ms` for something new, if there is a token. `gone` fires if the client goes away.
        Errors: UnknownPos.
        """
        device_id = requester.device_id or ""
        asking = Asking(requester.user_id, device_id, conn_id, token, request, {}, 0)
        patience = self.listening.patience(timeout_ms, gone)
        to_device = request.extensions.to_device
        if to_device is not None and to_device.after is not None:
            await self.inboxes.acknowledge(asking.user_id, device_id, upto=to_device.after)
        await self.listening.catch_up()
        answer = await self._first(asking, patience)
        while token is not None and answer.is_empty and not patience.is_over:
            await self._news(asking, answer.upto, patience)
            if not self._is_new(asking, await self.listening.rooms(asking.user_id), answer.upto):
                break
            answer = await self._read(asking)
        new_token = await self._keep(asking, answer)
        self._remember(asking, answer, new_token)
        body = {"pos": b'"%b"' % str(new_token).encode(), "lists": keyed(answer.lists)}
        extensions = answer.extensions
        if to_device is not None and TO_DEVICE not in extensions:
            # "REQUIRED: even if no changes".
            extensions = extensions | {TO_DEVICE: to_device_json(answer.upto)}
        if request.extensions.e2ee and E2EE not in extensions:
            # What is not mentioned counts as nothing.
            keys = await self.listening.keys(asking.user_id, device_id)
            extensions = extensions | {E2EE: e2ee_json(keys)}
        return body | {"rooms": keyed(answer.rooms), "extensions": object_of(extensions)}

    async def _first(self, asking: Asking, patience: Patience) -> Answer:
        """What there is at once; a client that has just been answered the same request waits before it is read."""
        known, token = self._answers.of(asking), asking.token
        if known is None or token is None:
            return await self._read(asking)
        has_waited = not patience.is_over
        await self._news(asking, token.position, patience)
        connection, position = await self.database.read(find_connection, asking)
        rooms = await self.listening.rooms(asking.user_id)
        # Who does not want to wait wants all there is now; the memory may be a moment behind.
        knows_all = has_waited or self.listening.tail.position >= position
        is_idle = self.clock.now_ts() - connection.used_ts > IDLE_MS
        if is_idle or not knows_all or self._is_new(asking, rooms, token.position):
            return await self._read(asking)
        return Answer.nothing(token.position, known.lists)

    async def expire(self) -> None:
        """Forget connections that have not been used for long."""
        before_ts = self.clock.now_ts() - EXPIRY_MS
        while await self.database.write_soon(_expire, before_ts=before_ts):
            pass

    async def _read(self, asking: Asking) -> Answer:
        token = asking.token
        sent: Sent = {}
        if token is not None:
            sent = self.lazy_members.sent(asking.user_id, _holder(asking, token), str(token))
        ready = msgspec.structs.replace(asking, sent_members=sent, now_ts=self.clock.now_ts())
        return await self.database.read(read_sliding, ready)

    async def _news(self, asking: Asking, position: int, patience: Patience) -> None:
        """Wait until there may be something that concerns the user after `position`."""
        while not patience.is_over:
            rooms = await self.listening.rooms(asking.user_id)
            # Nothing falls between looking and waiting: both happen without a pause.
            if self._is_new(asking, rooms, position):
                return
            if not patience.is_over:
                await patience.wait(asking.user_id, rooms.topics)

    def _is_new(self, asking: Asking, rooms: UserRooms, position: int) -> bool:
        """Whether the tail has something for the user after `position`, as far as it can tell."""
        tail = self.listening.tail
        if tail.position <= position:
            return False
        if asking.request.extensions.to_device is not None and tail.messages.may_be_after(
            position, asking.user_id, asking.device_id
        ):
            return True
        entries = tail.after(position, rooms.topics, most=500) if tail.holds(position) else None
        wanted = asking.request.extensions
        if entries is None or wanted.typing is not None or wanted.receipts is not None:
            return entries is None or bool(entries)
        return not all(entry.ephemeral for entry in entries)

    async def _keep(self, asking: Asking, answer: Answer) -> SlidingToken:
        """Store what the client will have been told, if that has changed; gives the token that stands for it."""
        now_ts = self.clock.now_ts()
        token = asking.token
        if token is None:
            return await self.database.write_soon(_begin, asking, answer, now_ts=now_ts)
        if answer.step is not None and answer.told is not answer.step.told:
            return await self.database.write_soon(_go_on, asking, answer, now_ts=now_ts)
        if answer.is_idle:
            await self.database.write_soon(sliding_sync.use, token.connection, now_ts=now_ts)
        return msgspec.structs.replace(token, position=answer.upto)

    def _remember(self, asking: Asking, answer: Answer, token: SlidingToken) -> None:
        before = None if asking.token is None else str(asking.token)
        holder = _holder(asking, token)
        self.lazy_members.remember(
            asking.user_id, holder, before, str(token), answer.sent_members, anew=answer.flushed
        )
        if TO_DEVICE not in answer.extensions:
            # Whoever asks the same again has not got its messages.
            self._answers.note(asking, token, answer.lists)


def _holder(asking: Asking, token: SlidingToken) -> str:
    """Who has been sent members: a connection of the device."""
    return f"{asking.device_id}/{token.connection}"


def _begin(tx: WriteTransaction, asking: Asking, answer: Answer, *, now_ts: int) -> SlidingToken:
    """A new connection, and what its client has been told first.

    Where nothing is to be remembered, one that was begun in the same way goes on beside it. Apps decrypt a notification
    by opening the connection that they have for their keys anew, in another process, and then go on with the old one.
    """
    if not answer.told.rooms:
        same = sliding_sync.beginning(tx, asking.user_id, asking.device_id, asking.conn_id)
        if same is not None and not same.told.rooms and same.told.extensions == answer.told.extensions:
            sliding_sync.use(tx, same.connection_nid, now_ts=now_ts)
            return SlidingToken(answer.upto, same.connection_nid, same.step_nid)
    nid = tx.new_nid()
    opened = Connection(nid, asking.user_id, asking.device_id, asking.conn_id, now_ts)
    sliding_sync.open_connection(tx, opened, most=MOST_CONNECTIONS)
    step_nid = tx.new_nid()
    step = Step(nid, step_nid, step_nid, answer.told)
    sliding_sync.add_step(tx, step, parent=None, now_ts=now_ts, most=MOST_ANSWERS)
    return SlidingToken(answer.upto, nid, step_nid)


def _go_on(tx: WriteTransaction, asking: Asking, answer: Answer, *, now_ts: int) -> SlidingToken:
    """What the client has been told next.

    Errors: UnknownPos if the connection has been closed meanwhile, or the client has to begin anew since it has wanted
    too many different things.
    """
    found = find_step(tx, asking)
    if found is None or answer.told.is_too_long:
        raise UnknownPos
    connection, parent = found
    step = Step(connection.connection_nid, tx.new_nid(), parent.base_nid, answer.told)
    sliding_sync.add_step(tx, step, parent=parent, now_ts=now_ts, most=MOST_ANSWERS)
    if answer.is_idle:
        sliding_sync.use(tx, connection.connection_nid, now_ts=now_ts)
    return SlidingToken(answer.upto, connection.connection_nid, step.step_nid)


def _expire(tx: WriteTransaction, *, before_ts: int) -> int:
    unused = sliding_sync.unused(tx, before_ts=before_ts, most=EXPIRED_AT_ONCE)
    sliding_sync.close(tx, unused)
    return len(unused)
