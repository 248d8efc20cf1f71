"""Client-server API, `report_content.yaml`: telling the administrators what is wrong."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.reports import Reports


class ReportRequest(msgspec.Struct):
    """Why a room or a user is reported; it may be blank."""

    reason: str


class ReportEventRequest(msgspec.Struct):
    """Why an event is reported."""

    reason: str | None = None


class ReportContent(msgspec.Struct, frozen=True):
    """Telling the administrators what is wrong."""

    reports: Reports

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/report/{event_id}",
        auth=Auth.USER,
        limit=Limit.REPORTS,
    )
    async def report_event(
        self, requester: Requester, room_id: RoomID, event_id: EventID, body: ReportEventRequest
    ) -> JsonObject:
        """Report an event."""
        await self.reports.report_event(requester, room_id, event_id, body.reason or "")
        return {}

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/report", auth=Auth.USER, limit=Limit.REPORTS)
    async def report_room(self, requester: Requester, room_id: RoomID, body: ReportRequest) -> JsonObject:
        """Report a room."""
        await self.reports.report_room(requester, room_id, body.reason)
        return {}

    @endpoint("POST", "/_matrix/client/v3/users/{user_id}/report", auth=Auth.USER, limit=Limit.REPORTS)
    async def report_user(self, requester: Requester, user_id: UserID, body: ReportRequest) -> JsonObject:
        """Report a user."""
        await self.reports.report_user(requester, user_id, body.reason)
        return {}
