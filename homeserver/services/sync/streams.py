"""Sync as a stream: one answer after the other, each from where the last one ended, as long as the client takes them.

An answer is made when the client has taken the one before, so that a slow client costs no more than a fast one. Before
each answer it is asked anew whether the client may still have it; who loses the right to is told at once.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Self, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from homeserver.core.errors import LimitExceeded, Unknown
from homeserver.core.filters import CompiledFilter
from homeserver.core.identifiers import UserID
from homeserver.core.presence import PresenceState
from homeserver.core.requester import Requester
from homeserver.core.tokens import SyncToken
from homeserver.core.topics import users_of_sessions
from homeserver.database.errors import StorageUnavailable
from homeserver.services.presence import Presence
from homeserver.services.sync.request import SyncAnswer
from homeserver.services.sync.service import Sync

T = TypeVar("T")

HEARTBEAT_MS: Final = 25_000
"""Something is said at least so often: proxies end what is silent for half a minute or a minute."""

MOST_STREAMS: Final = 16
"""Of one user, in one process; a further one ends the oldest, which most likely nobody reads any more."""

REPLACED_RETRY_MS: Final = 60_000

MOST_UNACKNOWLEDGED: Final = 500
"""Messages to the device. What was sent is not received for that, so they are kept until the client says so: by a
token that it connects with, or over a WebSocket. Who has been sent so many is to connect anew."""


class Wanted(msgspec.Struct, frozen=True):
    """What a client wants to be sent, as by the parameters of `/sync`; `since` is its token."""

    filter: CompiledFilter
    since: SyncToken | None
    full_state: bool = False
    use_state_after: bool = False
    set_presence: PresenceState = "online"


@attrs.frozen(eq=False)
class Streams:
    """The open streams of this process."""

    sync: Sync
    presence: Presence
    reactor: IReactorTime
    _open: dict[UserID, list["Stream"]] = attrs.field(factory=dict, init=False)

    @property
    def is_closing(self) -> bool:
        """Whether the server is shutting down."""
        return self.sync.listening.waiters.closing

    def admit(self, stream: "Stream") -> None:
        """The stream begins."""
        others = self._open.setdefault(stream.requester.user_id, [])
        others.append(stream)
        if len(others) > MOST_STREAMS:
            others.pop(0).replace()

    def forget(self, stream: "Stream") -> None:
        """The stream is closed."""
        others = self._open.get(stream.requester.user_id, [])
        if stream in others:
            others.remove(stream)
            if not others:
                del self._open[stream.requester.user_id]

    def hint(self, topics: Collection[str]) -> None:
        """Something was told to these topics: whose sessions have changed may have to stop reading."""
        for user_id in users_of_sessions(topics):
            for stream in self._open.get(user_id, ()):
                stream.interrupt()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))


@attrs.define(eq=False)
class Stream:
    """One client's stream, open while it is entered. `authenticate` raises if the client may not read on.

    `since` is the token up to which the client has been given everything. `is_silent` tells of the last answer that
    it only came because nothing else had for `HEARTBEAT_MS`.
    """

    streams: Streams
    requester: Requester
    authenticate: Callable[[], Awaitable[object]]
    wanted: Wanted
    since: SyncToken | None = attrs.field(init=False)
    is_silent: bool = attrs.field(default=False, init=False)
    _waiting: Deferred[None] | None = attrs.field(default=None, init=False)
    _is_replaced: bool = attrs.field(default=False, init=False)
    _is_interrupted: bool = attrs.field(default=False, init=False)
    _received: SyncToken | None = attrs.field(default=None, init=False)
    _unacknowledged: deque[tuple[int, int]] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self.since = self._received = self.wanted.since

    def __enter__(self) -> Self:
        self.streams.admit(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.streams.forget(self)

    async def next(self) -> SyncAnswer | None:
        """What is new; empty after `HEARTBEAT_MS` without anything, or when interrupted. None: the client is to go.

        It may come back at once, unless the server stops.
        Errors: UnknownToken, UserLocked and the like if the client may not read on; LimitExceeded if it has opened
        too many streams after this one; Unknown (503) if the database cannot be reached.
        """
        if self.streams.is_closing or self._is_overdue:
            return None
        return await or_unavailable(self._next())

    async def _next(self) -> SyncAnswer:
        wanted = self.wanted
        if self._received is not None:
            received, self._received = self._received, None
            await self.streams.sync.inboxes.acknowledge(
                self.requester.user_id, self.requester.device_id or "", upto=received.messages_upto
            )
        await self.streams.presence.touch(self.requester, wanted.set_presence, wait_ms=HEARTBEAT_MS)
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        answer = await self.streams.sync.sync(
            self.requester,
            wanted.filter,
            since=self.since,
            timeout_ms=0 if self._is_interrupted else HEARTBEAT_MS,
            full_state=wanted.full_state,
            use_state_after=wanted.use_state_after,
            gone=waiting,
            proves_receipt=False,
        )
        self._waiting = None
        was_woken = self._is_interrupted or self.streams.is_closing
        self.is_silent = answer.is_empty and not was_woken
        self._is_interrupted = False
        if self._is_replaced:
            raise LimitExceeded("Too many streams have been opened", retry_after_ms=REPLACED_RETRY_MS)
        await self.authenticate()
        if wanted.full_state:
            self.wanted = msgspec.structs.replace(self.wanted, full_state=False)
        self.since = answer.token
        if answer.messages.events:
            self._unacknowledged.append((answer.token.messages_upto, len(answer.messages.events)))
        return answer

    def acknowledge(self, token: SyncToken) -> None:
        """The client says that it has what led to this token; one that it has not been given means nothing."""
        if self.since is None or token.messages_upto > self.since.messages_upto:
            return
        self._received = token
        while self._unacknowledged and self._unacknowledged[0][0] <= token.messages_upto:
            self._unacknowledged.popleft()

    @property
    def _is_overdue(self) -> bool:
        """Whether the client has been sent too much that it has not said to have."""
        return sum(number for _, number in self._unacknowledged) >= MOST_UNACKNOWLEDGED

    def interrupt(self) -> None:
        """Have `next` return soon."""
        self._is_interrupted = True
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)

    def replace(self) -> None:
        """End the stream in favour of another."""
        self._is_replaced = True
        self.interrupt()


async def or_unavailable(work: Awaitable[T]) -> T:
    """What comes of `work`. Errors: its own; Unknown (503) if the database cannot be reached."""
    try:
        return await work
    except StorageUnavailable as error:
        raise Unknown("the server cannot do this at the moment", status=503) from error
