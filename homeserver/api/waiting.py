"""Endpoints that clients wait at."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred

from homeserver.core.requester import Requester
from homeserver.http.application import access_token
from homeserver.http.request import Request
from homeserver.services.sync.open_polls import OpenPolls

T = TypeVar("T")


class Authenticator(Protocol):
    """Knows access tokens."""

    async def authenticate(self, access_token: str, request: Request) -> Requester:
        """Who the token belongs to. Errors: UnknownToken, UserLocked and the like."""
        ...


class WaitingRequests(msgspec.Struct, frozen=True):
    """Lets requests wait until there is news, the client goes away, or it is logged out."""

    open_polls: OpenPolls
    authenticator: Authenticator

    async def answer(
        self, requester: Requester, request: Request, work: Callable[[Deferred[None]], Awaitable[T]]
    ) -> T:
        """What `work` gives, which is handed a Deferred that fires when there is nothing to wait for any more.

        Errors: those of `work`; UnknownToken, UserLocked and the like for who is logged out meanwhile.
        """
        token = access_token(request) or ""
        return await self.open_polls.answer(
            requester.user_id,
            request.disconnected,
            lambda: self.authenticator.authenticate(token, request),
            work,
        )
