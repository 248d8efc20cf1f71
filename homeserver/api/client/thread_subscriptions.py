"""Subscribing to threads, as clients try it out before it is in the specification. Spec: MSC4306 and MSC4308."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import EventID, RoomID, parse_event_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.splice import object_of
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.thread_subscriptions import MAX_LIMIT
from homeserver.services.thread_subscriptions import ThreadSubscriptions as ThreadSubscriptionService

_SUBSCRIPTION = "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription"


class SubscribeBody(msgspec.Struct):
    """The event because of which a client subscribes on its own; without it, the user does."""

    automatic: str | None = None


class SubscriptionResponse(msgspec.Struct):
    """Whether a client has subscribed on its own."""

    automatic: bool


class ChangesQuery(msgspec.Struct):
    """Which changes: backwards from a token, to another one."""

    direction: Literal["b"] = msgspec.field(name="dir", default="b")
    start: str | None = msgspec.field(name="from", default=None)
    stop: str | None = msgspec.field(name="to", default=None)
    limit: Annotated[int, msgspec.Meta(ge=1)] = MAX_LIMIT


class ThreadSubscriptions(msgspec.Struct, frozen=True):
    """The endpoints for thread subscriptions."""

    subscriptions: ThreadSubscriptionService

    @endpoint("GET", _SUBSCRIPTION, auth=Auth.USER)
    async def get_thread_subscription(
        self, requester: Requester, room_id: RoomID, event_id: EventID
    ) -> SubscriptionResponse:
        """The requester's subscription to the thread."""
        return SubscriptionResponse(await self.subscriptions.find(requester, room_id, event_id))

    @endpoint("PUT", _SUBSCRIPTION, auth=Auth.USER, limit=Limit.UPDATES)
    async def subscribe_to_thread(
        self, requester: Requester, room_id: RoomID, event_id: EventID, body: SubscribeBody
    ) -> JsonObject:
        """Subscribe to the thread."""
        cause_id = None if body.automatic is None else parse_event_id(body.automatic)
        await self.subscriptions.subscribe(requester, room_id, event_id, cause_id)
        return {}

    @endpoint("DELETE", _SUBSCRIPTION, auth=Auth.USER, limit=Limit.UPDATES)
    async def unsubscribe_from_thread(
        self, requester: Requester, room_id: RoomID, event_id: EventID
    ) -> JsonObject:
        """Subscribe to the thread no more."""
        await self.subscriptions.unsubscribe(requester, room_id, event_id)
        return {}

    @endpoint("GET", "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions", auth=Auth.USER)
    async def get_thread_subscriptions(self, requester: Requester, query: ChangesQuery) -> RawJson:
        """The changes that a sliding sync had no room for."""
        body = await self.subscriptions.changes(
            requester,
            newest=parse_stream_token(query.start) if query.start else None,
            after=parse_stream_token(query.stop) if query.stop else None,
            limit=query.limit,
        )
        return RawJson(object_of(body))
