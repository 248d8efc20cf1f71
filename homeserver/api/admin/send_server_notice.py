"""Synapse's admin API, "Server Notices": telling a user something.

https://element-hq.github.io/synapse/latest/admin_api/server_notices.html
"""

import msgspec

from homeserver.core.identifiers import EventID, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.server_notices import Notice, ServerNotices

PATH = "/_synapse/admin/v1/send_server_notice"


class SendServerNoticeBody(msgspec.Struct):
    """Who is to be told what."""

    user_id: str
    content: JsonObject
    type: str = "m.room.message"
    state_key: str | None = None

    def notice(self) -> Notice:
        """As the service takes it. Errors: InvalidParam."""
        return Notice(parse_user_id(self.user_id), self.type, self.content, self.state_key)


class SendServerNoticeResponse(msgspec.Struct):
    """The event that says it."""

    event_id: EventID


class SendServerNotice(msgspec.Struct, frozen=True):
    """Notices of administrators."""

    notices: ServerNotices

    @endpoint("POST", PATH, auth=Auth.USER, limit=Limit.UPDATES)
    async def send_server_notice(
        self, requester: Requester, body: SendServerNoticeBody
    ) -> SendServerNoticeResponse:
        """Tell a user something."""
        return SendServerNoticeResponse(await self.notices.send(requester, body.notice(), None))

    @endpoint("PUT", PATH + "/{txn_id}", auth=Auth.USER, limit=Limit.UPDATES)
    async def send_server_notice_once(
        self, requester: Requester, txn_id: str, body: SendServerNoticeBody
    ) -> SendServerNoticeResponse:
        """Tell a user something, once if this is repeated."""
        return SendServerNoticeResponse(await self.notices.send(requester, body.notice(), txn_id))
