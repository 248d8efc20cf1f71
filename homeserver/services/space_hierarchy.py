"""The rooms of a space, and of the spaces in it, page by page.

Spec: client-server API, "Discovering rooms within spaces".
"""

import base64
from collections.abc import Sequence
from typing import Final

import msgspec
from twisted.internet.defer import DeferredSemaphore, gatherResults

from homeserver.core.errors import Forbidden, InvalidParam
from homeserver.core.hashes import encode_base64_url_safe
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.space_children import SortKey
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.remote_spaces import Question, RemoteSpace, RemoteSpaces
from homeserver.services.space_walks import Asked, Path, walk

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_DEPTH: Final = 10
"""How many spaces deep a walk goes, which is also what a client gets that names no depth."""

AT_ONCE: Final = 10
"""Rooms for which other servers are asked at the same time, for one page."""

MOST_QUESTIONS: Final = 300
"""Rooms for which other servers are asked at most, for one page."""

PATIENCE_MS: Final = 25_000
"""After that long no further server is asked for a page: what is not known then is left out."""


class _Token(msgspec.Struct, array_like=True):
    """A place in a hierarchy, and how that was asked for."""

    room_id: str
    suggested_only: bool
    max_depth: int
    after: list[SortKey]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for; None for what it does not say."""

    suggested_only: bool | None = None
    max_depth: int | None = None
    limit: int | None = None
    place: str | None = None


class HierarchyPage(msgspec.Struct, frozen=True):
    """A part of a hierarchy; `next_batch` leads to the next one."""

    rooms: list[JsonObject]
    next_batch: str | None


class SpaceHierarchies(msgspec.Struct, frozen=True):
    """Shows users what is in a space."""

    database: Database
    clock: Clock
    server_name: ServerName
    remote: RemoteSpaces

    async def page(self, requester: Requester, room_id: RoomID, wish: Wish) -> HierarchyPage:
        """A part of the tree under a room, depth first, each room once.

        Errors: InvalidParam; Forbidden if the requester may not see the room itself.
        """
        asked = _asked(requester, room_id, wish)
        known: dict[Question, RemoteSpace | None] = {}
        deadline_ms = self.clock.monotonic_ms() + PATIENCE_MS
        found = await self.database.read(walk, self.server_name, asked, known)
        while found.wanted:
            known |= await self._ask(
                found.wanted, deadline_ms, MOST_QUESTIONS - len(known), suggested_only=asked.suggested_only
            )
            found = await self.database.read(walk, self.server_name, asked, known)
        if not found.is_admitted:
            raise Forbidden("You are not allowed to view this room")
        shown = found.found[: asked.limit]
        is_more = len(found.found) > len(shown)
        return HierarchyPage(
            [each.entry for each in shown], _to_token(asked, shown[-1].path) if is_more else None
        )

    async def _ask(
        self, wanted: Sequence[Question], deadline_ms: int, most: int, *, suggested_only: bool
    ) -> dict[Question, RemoteSpace | None]:
        """What other servers answer; None also for what there is no time to ask, and for more than `most`."""
        turns = DeferredSemaphore(AT_ONCE)

        async def find(question: Question) -> RemoteSpace | None:
            if self.clock.monotonic_ms() >= deadline_ms:
                return None
            return await self.remote.find(question, suggested_only=suggested_only)

        asking = [turns.run(find, question) for question in wanted[:most]]
        answers = await gatherResults(asking)
        return dict.fromkeys(wanted) | dict(zip(wanted, answers, strict=False))


def _asked(requester: Requester, room_id: RoomID, wish: Wish) -> Asked:
    """Errors: InvalidParam."""
    if wish.limit is not None and wish.limit < 1:
        raise InvalidParam("limit is less than 1")
    if wish.max_depth is not None and wish.max_depth < 0:
        raise InvalidParam("max_depth is less than 0")
    suggested_only, max_depth, after = wish.suggested_only, wish.max_depth, None
    if max_depth is not None:
        max_depth = min(max_depth, MAX_DEPTH)
    if wish.place is not None:
        token = _parse(wish.place, room_id)
        if suggested_only not in (None, token.suggested_only) or max_depth not in (None, token.max_depth):
            raise InvalidParam("suggested_only and max_depth cannot change on paginated requests")
        suggested_only, max_depth, after = token.suggested_only, token.max_depth, tuple(token.after)
    return Asked(
        user_id=requester.user_id,
        room_id=room_id,
        suggested_only=bool(suggested_only),
        max_depth=MAX_DEPTH if max_depth is None else max_depth,
        limit=DEFAULT_LIMIT if wish.limit is None else min(wish.limit, MAX_LIMIT),
        after=after,
    )


def _to_token(asked: Asked, path: Path) -> str:
    token = _Token(asked.room_id, asked.suggested_only, asked.max_depth, list(path))
    return encode_base64_url_safe(msgspec.json.encode(token))


def _parse(text: str, room_id: RoomID) -> _Token:
    """The inverse of `_to_token`. Errors: InvalidParam."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(data, type=_Token)
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidParam("from is not a token of this server") from error
    if token.room_id != room_id or not 0 <= token.max_depth <= MAX_DEPTH:
        raise InvalidParam("from is not a token of this hierarchy")
    return token
