"""Requests that wait for news: who is logged out is not kept waiting, and is told nothing more."""

from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserID
from homeserver.core.topics import users_of_sessions
from homeserver.database.errors import StorageUnavailable

T = TypeVar("T")


Authenticate: TypeAlias = Callable[[], Awaitable[object]]


class _Poll:
    """One request; `over` fires, once, when it is not to be waited for any more."""

    __slots__ = ("_authenticate", "_checks", "_refusal", "over")

    def __init__(self, authenticate: Authenticate) -> None:
        self.over: Deferred[None] = Deferred()
        self._authenticate = authenticate
        self._checks: list[Deferred[None]] = []
        self._refusal: MatrixError | StorageUnavailable | None = None

    def end(self, _: object = None) -> None:
        if not self.over.called:
            self.over.callback(None)

    def check(self) -> None:
        """See whether the client may be told anything still; if it may, it goes on waiting."""
        self._checks.append(Deferred.fromCoroutine(self._check()))

    async def _check(self) -> None:
        try:
            await self._authenticate()
        except (MatrixError, StorageUnavailable) as refusal:
            self._refusal = refusal
            self.end()

    async def settle(self) -> None:
        """Wait for what is being checked. Errors: why the client may be told nothing."""
        for check in self._checks:
            await check
        if self._refusal is not None:
            raise self._refusal


class OpenPolls:
    """The waiting requests of this process, by user."""

    def __init__(self) -> None:
        self._open: dict[UserID, set[_Poll]] = {}

    def hint(self, topics: Collection[str]) -> None:
        """Something was told to these topics: whose sessions have changed may have to go."""
        for user_id in users_of_sessions(topics):
            for poll in list(self._open.get(user_id, ())):
                poll.check()

    async def answer(
        self,
        user_id: UserID,
        gone: Deferred[None],
        authenticate: Authenticate,
        work: Callable[[Deferred[None]], Awaitable[T]],
    ) -> T:
        """What `work` gives, which is handed a Deferred that fires when there is nothing to wait for any more.

        That is when `gone` fires, as the client has gone away, or when `authenticate` raises, which is asked whenever a
        session of the user's has changed. `gone` is the caller's own, and is cancelled.
        Errors: those of `work`, and of `authenticate`.
        """
        poll = _Poll(authenticate)
        gone.addCallbacks(poll.end, _no_longer_of_interest)
        polls = self._open.setdefault(user_id, set())
        polls.add(poll)
        try:
            answer = await work(poll.over)
        except MatrixError:
            # A connection of sliding sync has ended with its device: that is not what the client should hear.
            await poll.settle()
            raise
        finally:
            polls.discard(poll)
            if not polls:
                self._open.pop(user_id, None)
            gone.cancel()
        await poll.settle()
        return answer

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))


def _no_longer_of_interest(_: Failure) -> None:
    """Nobody waits for the client to go away any more."""
