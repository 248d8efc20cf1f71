"""The filter of a sync: stored, or given in the request."""

import attrs

from homeserver.core.errors import InvalidParam
from homeserver.core.filters import CompiledFilter, Filter, parse_filter
from homeserver.core.identifiers import UserID
from homeserver.database.database import Database
from homeserver.runtime.caches import Cache
from homeserver.storage import filters

_UNFILTERED = CompiledFilter.of(Filter())


@attrs.frozen
class SyncFilters:
    """Finds and compiles filters; a filter's id is made from its content, so a compiled one stays right."""

    database: Database
    _compiled: Cache[tuple[UserID, str], CompiledFilter] = attrs.field(
        factory=lambda: Cache[tuple[UserID, str], CompiledFilter](5_000), init=False
    )

    async def of(self, user_id: UserID, text: str | None) -> CompiledFilter:
        """The filter that the parameter `filter` stands for: an id, or the JSON itself.

        Errors: InvalidParam for an unknown id; BadJson, NotJson.
        """
        if not text:
            return _UNFILTERED
        found = self._compiled.get((user_id, text))
        if found is None:
            found = CompiledFilter.of(parse_filter(await self._source(user_id, text)))
            self._compiled.put((user_id, text), found)
        return found

    async def _source(self, user_id: UserID, text: str) -> bytes:
        if text.startswith("{"):
            return text.encode()
        stored = await self.database.read(filters.of, user_id, text)
        if stored is None:
            raise InvalidParam("filter: there is no filter with this ID")
        return stored
