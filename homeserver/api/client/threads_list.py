"""Client-server API, `threads_list.yaml`: the threads of a room."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.threads import DEFAULT_LIMIT, MAX_LIMIT, Threads, ThreadsRequest


class ThreadsQuery(msgspec.Struct):
    """Which threads, from where on, and how many."""

    include: Literal["all", "participated"] = "all"
    limit: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LIMIT
    start: str | None = msgspec.field(name="from", default=None)


class ThreadsList(msgspec.Struct, frozen=True):
    """The endpoint that lists threads."""

    threads: Threads

    @endpoint("GET", "/_matrix/client/v1/rooms/{room_id}/threads", auth=Auth.USER, limit=Limit.SEARCH)
    async def get_thread_roots(self, requester: Requester, room_id: RoomID, query: ThreadsQuery) -> RawJson:
        """The roots of the threads, that with the latest event first."""
        request = ThreadsRequest(
            room_id,
            query.include == "participated",
            min(query.limit, MAX_LIMIT),
            parse_stream_token(query.start) if query.start else None,
        )
        return RawJson(await self.threads.page(requester, request))
