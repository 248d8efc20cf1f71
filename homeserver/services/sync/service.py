"""Sync: what is new for a client since its token; the client waits until there is something."""

import msgspec
from twisted.internet.defer import Deferred

from homeserver.core.filters import CompiledFilter
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.core.splice import object_of
from homeserver.core.tokens import SyncToken
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.sync.from_tail import Asking, FromTail, can_be_served
from homeserver.services.sync.key_counts import KeySections
from homeserver.services.sync.lazy_members import LazyMembers
from homeserver.services.sync.listening import Listening, Patience
from homeserver.services.sync.read import read_sync
from homeserver.services.sync.remembered import UserRooms
from homeserver.services.sync.request import SyncAnswer, SyncRequest
from homeserver.services.sync.to_device import DeviceMessages, Inboxes

MAX_TIMEOUT_MS = 5 * 60_000

_LOOKS = 3
"""At the memory for one answer, which goes on while messages to the device are being read."""


class Sync(msgspec.Struct, frozen=True):
    """Answers `/sync`. In memory is only what may be lost: who waits, and what has been told to whom."""

    database: Database
    clock: Clock
    listening: Listening
    from_tail: FromTail
    lazy_members: LazyMembers
    inboxes: Inboxes

    async def sync(
        self,
        requester: Requester,
        filter: CompiledFilter,
        *,
        since: SyncToken | None,
        timeout_ms: int,
        full_state: bool,
        use_state_after: bool,
        gone: Deferred[None],
        proves_receipt: bool = True,
    ) -> SyncAnswer:
        """The answer to one sync. `since` is the client's token; mostly it proves that the client has what led to it.

        `gone` fires if the client goes away: then nothing is waited for any more.
        Waits up to `timeout_ms` for something new, if the client has a token and asks for no full state.
        Spec: client-server API, "Syncing".
        """
        device_id = requester.device_id or ""
        if since is not None and proves_receipt:
            await self.inboxes.acknowledge(requester.user_id, device_id, upto=since.messages_upto)
        if since is None or full_state:
            position = None if since is None else since.position
            request = SyncRequest(
                requester.user_id,
                device_id,
                position,
                full_state,
                use_state_after,
                filter,
                self.lazy_members.sent(requester.user_id, device_id, None if full_state else position),
                self.clock.now_ts(),
                0 if since is None else since.messages_upto,
            )
            return await self._read(request)
        asking = _Poll(
            requester.user_id, device_id, filter, since.position, use_state_after, since.messages_upto
        )
        patience = self.listening.patience(min(timeout_ms, MAX_TIMEOUT_MS), gone)
        return await self._poll(asking, patience)

    async def _poll(self, poll: "_Poll", patience: Patience) -> SyncAnswer:
        """Answer as soon as there is something new, or when the time is up."""
        position = poll.since
        await self.listening.catch_up()
        # Who does not want to wait wants all there is now; the memory may be a moment behind. It may also be behind the
        # token, which another process gave; a token from before the database was restored leads back to what is there.
        # The token may say that messages to the device are waiting.
        asks_database = (
            position > self.from_tail.tail.position
            or poll.messages_after != position
            or (patience.is_over and not await self._knows_all())
        )
        while True:
            poll.keys = await self.listening.keys(poll.user_id, poll.device_id)
            rooms = await self.listening.rooms(poll.user_id)
            answer = None if asks_database else await self._from_memory(poll, rooms, position)
            asks_database = False
            if answer is None:
                answer = await self._read(self._request(poll))
                if not answer.is_empty:
                    return answer
                # Nothing up to there; what came while the database was asked stands in the tail.
                position = answer.upto
                if position < poll.since:
                    poll = msgspec.structs.replace(poll, since=position)
                poll.messages_after = position
                continue
            if not answer.is_empty:
                return answer
            if patience.is_over:
                return self._nothing(poll, position)
            # Nothing falls between looking and waiting: both happen without a pause.
            await patience.wait(poll.user_id, rooms.topics)

    async def _knows_all(self) -> bool:
        """Whether nothing has been published that the tail has not read."""
        return self.from_tail.tail.position >= await self.database.look_up(_position)

    async def _from_memory(self, poll: "_Poll", rooms: UserRooms, position: int) -> SyncAnswer | None:
        """The answer, empty if there is nothing new after `position`; `None` if the database must be asked.

        Nothing happens between the last look at the memory and the answer.
        """
        tail = self.from_tail.tail
        messages = DeviceMessages()
        read_upto = poll.messages_after
        for _ in range(_LOOKS):
            if position >= tail.position:
                return SyncAnswer(b"", position, is_empty=True)
            if not tail.holds(position) or rooms.position > tail.position:
                return None
            if not tail.messages.may_be_after(read_upto, poll.user_id, poll.device_id):
                poll.messages_after = poll.messages_after if messages else read_upto
                return self._shown(poll, rooms, position, messages)
            read_upto = tail.position
            messages = await self.inboxes.read(
                poll.user_id, poll.device_id, after=poll.messages_after, upto=read_upto
            )
        return None

    def _shown(
        self, poll: "_Poll", rooms: UserRooms, position: int, messages: DeviceMessages
    ) -> SyncAnswer | None:
        """As `_from_memory`, with these messages to the device."""
        tail = self.from_tail.tail
        entries = tail.after(position, rooms.topics, most=500)
        if entries is None:
            return None
        if not entries and not messages:
            return SyncAnswer(b"", position, is_empty=True)
        is_usual = can_be_served(poll.filter) and not poll.use_state_after
        # Of changed keys everybody is told in the same way.
        if not is_usual and any(entry.changed_keys_of is None for entry in entries):
            return None
        if rooms.ignored and any(entry.is_of(rooms.ignored) for entry in entries):
            return None
        asking = Asking(
            poll.user_id,
            poll.device_id,
            poll.since,
            poll.filter,
            self.lazy_members.sent(poll.user_id, poll.device_id, poll.since),
            poll.keys,
            self.clock.now_ts(),
        )
        body = self.from_tail.answer(asking, entries, messages)
        if body is None:
            return None
        self._carry(poll, tail.position)
        return SyncAnswer(body, tail.position, is_empty=False, messages=messages)

    def _nothing(self, poll: "_Poll", position: int) -> SyncAnswer:
        """The answer when the time is up: everything up to the tail's end has been looked through."""
        tail = self.from_tail.tail
        upto = max(position, tail.position) if tail.holds(position) else position
        self._carry(poll, upto)
        body = object_of({"next_batch": b'"s%d"' % upto, **poll.keys})
        return SyncAnswer(body, upto, is_empty=True)

    def _carry(self, poll: "_Poll", upto: int) -> None:
        """What the device has been sent, it has at its new token too."""
        if upto != poll.since:
            self.lazy_members.remember(poll.user_id, poll.device_id, poll.since, upto, {})

    def _request(self, poll: "_Poll") -> SyncRequest:
        return SyncRequest(
            poll.user_id,
            poll.device_id,
            poll.since,
            full_state=False,
            use_state_after=poll.use_state_after,
            filter=poll.filter,
            sent_members=self.lazy_members.sent(poll.user_id, poll.device_id, poll.since),
            now_ts=self.clock.now_ts(),
            messages_after=poll.messages_after,
            keys=poll.keys if poll.since <= self.from_tail.tail.position else None,
        )

    async def _read(self, request: SyncRequest) -> SyncAnswer:
        answer = await self.database.read(read_sync, request)
        since = None if request.full_state else request.since
        self.lazy_members.remember(
            request.user_id, request.device_id, since, answer.upto, answer.sent_members
        )
        self.listening.remember_keys(request.user_id, request.device_id, answer.upto, answer.keys)
        self.from_tail.remembered.remember_unread(request.user_id, answer.upto, answer.unread)
        return answer


class _Poll(msgspec.Struct, eq=False):
    """An incremental sync that may wait. Up to `messages_after` the device has been given what there is for it."""

    user_id: UserID
    device_id: str
    filter: CompiledFilter
    since: int
    use_state_after: bool
    messages_after: int
    keys: KeySections = msgspec.field(default_factory=dict)


def _position(tx: ReadTransaction) -> int:
    return tx.stream_row().position
