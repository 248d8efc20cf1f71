"""Client-server API, `refresh.yaml`: a new access token for an old one."""

import msgspec

from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.sessions import Sessions


class RefreshBody(msgspec.Struct):
    """The refresh token."""

    refresh_token: str


class RefreshResponse(msgspec.Struct, omit_defaults=True):
    """The new pair."""

    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class Refresh(msgspec.Struct, frozen=True):
    """Refreshing tokens."""

    sessions: Sessions

    # What is guessed here has 192 bits or more: to count guesses as those of passwords would only keep apps behind one
    # address from refreshing.
    @endpoint("POST", "/_matrix/client/v3/refresh", auth=Auth.NONE, limit=Limit.UPDATES)
    async def refresh(self, body: RefreshBody) -> RefreshResponse:
        """Exchange a refresh token for a new pair of tokens."""
        session = await self.sessions.refresh(body.refresh_token)
        return RefreshResponse(session.access_token, session.refresh_token, session.expires_in_ms)
