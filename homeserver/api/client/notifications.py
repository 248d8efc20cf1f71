"""Client-server API, `notifications.yaml`: what has notified the user."""

import msgspec

from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services import notifications


class NotificationsQuery(msgspec.Struct):
    """Where to begin, how much to give, and which; of `only` just `highlight` means something."""

    start: str | None = msgspec.field(name="from", default=None)
    limit: int | None = None
    only: str | None = None


class Notifications(msgspec.Struct, frozen=True):
    """The endpoint of notifications."""

    notifications: notifications.Notifications

    @endpoint("GET", "/_matrix/client/v3/notifications", auth=Auth.USER)
    async def get_notifications(self, requester: Requester, query: NotificationsQuery) -> RawJson:
        """The notifications, newest first."""
        return RawJson(
            await self.notifications.page(
                requester,
                start=parse_stream_token(query.start) if query.start else None,
                limit=query.limit,
                only_highlights=query.only == "highlight",
            )
        )
