"""Client-server API, `search.yaml`: full-text search."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.filters import RoomEventMatcher, parse_room_event_filter
from homeserver.core.json import JsonObject, encode
from homeserver.core.requester import Requester
from homeserver.core.search_cursors import GroupKey
from homeserver.core.search_terms import KEYS, parse_query
from homeserver.core.splice import object_of
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services import search
from homeserver.services.search import Criteria
from homeserver.services.search_results import ContextLimits

MAX_CONTEXT = 20

Count = Annotated[int, msgspec.Meta(ge=0)]


class EventContext(msgspec.Struct):
    """What is wanted of the surroundings of each result."""

    before_limit: Count = 5
    after_limit: Count = 5
    include_profile: bool = False

    def limits(self) -> ContextLimits:
        """As the service takes it."""
        before, after = min(self.before_limit, MAX_CONTEXT), min(self.after_limit, MAX_CONTEXT)
        return ContextLimits(before, after, self.include_profile)


class Grouping(msgspec.Struct):
    """What results are to be grouped by."""

    key: GroupKey


class Groupings(msgspec.Struct):
    """The groups that are wanted."""

    group_by: list[Grouping] = []


class RoomEventsCriteria(msgspec.Struct):
    """What is looked for, and where."""

    search_term: str
    keys: list[Literal["content.body", "content.name", "content.topic"]] | None = None
    filter: JsonObject | None = None
    order_by: Literal["recent", "rank"] = "rank"
    event_context: EventContext | None = None
    include_state: bool = False
    groupings: Groupings | None = None

    def criteria(self) -> Criteria:
        """As the service takes it. Errors: BadJson, TooLarge for the filter."""
        context = self.event_context
        return Criteria(
            parse_query(self.search_term),
            frozenset(KEYS[key] for key in self.keys or KEYS),
            RoomEventMatcher.of(parse_room_event_filter(encode(self.filter or {}))),
            by_rank=self.order_by == "rank",
            context=context.limits() if context else None,
            with_state=self.include_state,
            group_by=[each.key for each in self.groupings.group_by] if self.groupings else [],
        )


class SearchCategories(msgspec.Struct):
    """What is to be searched; there is only one category."""

    room_events: RoomEventsCriteria | None = None


class SearchBody(msgspec.Struct):
    """What is to be searched."""

    search_categories: SearchCategories


class SearchQuery(msgspec.Struct):
    """Where to go on."""

    next_batch: str | None = None


class Search(msgspec.Struct, frozen=True):
    """The endpoint of search."""

    service: search.Search

    @endpoint("POST", "/_matrix/client/v3/search", auth=Auth.USER, limit=Limit.SEARCH)
    async def search(self, requester: Requester, query: SearchQuery, body: SearchBody) -> RawJson:
        """A page of results."""
        categories: dict[str, bytes] = {}
        if (wanted := body.search_categories.room_events) is not None:
            categories["room_events"] = await self.service.events(
                requester, wanted.criteria(), query.next_batch
            )
        return RawJson(object_of({"search_categories": object_of(categories)}))
