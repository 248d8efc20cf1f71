"""Spaces and rooms that other servers tell of. Spec: server-server API, "Spaces"."""

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomID, ServerName, parse_room_id
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.space_children import SPACE, SPACE_CHILD, SpaceChild, in_order
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork
from homeserver.services.summary_access import Terms

_log = structlog.get_logger(__name__)

PATIENCE_MS: Final = 10_000
MOST_BYTES: Final = 2 * 1024 * 1024

FRESH_MS: Final = 300_000
"""How long an answer is used again."""

FRESH_FAILURE_MS: Final = 60_000
"""How long a server that knew no such room is not asked for it again."""

MOST_CHILDREN: Final = 1_000
"""Of the rooms that an answer lists as children."""

MOST_SERVERS: Final = 3
"""Servers that are asked for one room, one after the other."""


class _Told(msgspec.Struct, omit_defaults=True):
    """A `RoomSummary`; what other servers add to it is left out."""

    room_id: RoomID
    name: str | None = None
    topic: str | None = None
    canonical_alias: str | None = None
    avatar_url: str | None = None
    room_type: str | None = None
    join_rule: str | None = None
    encryption: str | None = None
    room_version: str | None = None
    allowed_room_ids: list[str] | None = None


class _Always(msgspec.Struct):
    """What every summary has."""

    num_joined_members: int = 0
    world_readable: bool = False
    guest_can_join: bool = False


class RemoteRoom(msgspec.Struct, frozen=True):
    """What another server says of a room."""

    room_id: RoomID
    summary: JsonObject
    terms: Terms

    @property
    def is_space(self) -> bool:
        """Whether the room is a space."""
        return self.summary.get("room_type") == SPACE

    @classmethod
    def of(cls, told: JsonValue) -> "RemoteRoom | None":
        """Read a `RoomSummary`; None if it is none."""
        try:
            room, always = msgspec.convert(told, _Told), msgspec.convert(told, _Always)
            parse_room_id(room.room_id)
        except (msgspec.ValidationError, InvalidParam):
            return None
        if always.num_joined_members < 0:
            return None
        terms = Terms(
            # "When not present, the room is assumed to be public."
            room.join_rule or "public",
            always.world_readable,
            tuple(room.allowed_room_ids or ()),
            room.room_version,
        )
        return cls(room.room_id, {**msgspec.to_builtins(room), **msgspec.to_builtins(always)}, terms)


class RemoteSpace(msgspec.Struct, frozen=True):
    """A room as another server tells of it, with its children if it is a space, and what it says of those.

    `inaccessible` are children of which it tells this server nothing.
    """

    room: RemoteRoom
    children: tuple[SpaceChild, ...]
    told: Mapping[RoomID, RemoteRoom]
    inaccessible: frozenset[str]


class Question(msgspec.Struct, frozen=True):
    """A room that other servers are to be asked for, and which of them.

    With `is_invited` a user has been invited there, so that a refusal of before does not count any more.
    """

    room_id: RoomID
    servers: tuple[ServerName, ...]
    is_invited: bool

    @classmethod
    def of(
        cls, room_id: RoomID, servers: tuple[ServerName, ...], own: ServerName, membership: str | None
    ) -> "Question":
        """Of the servers the first few, without this one, `own`; the membership is that of the user who asks."""
        others = [server for server in dict.fromkeys(servers) if server != own]
        return cls(room_id, tuple(others[:MOST_SERVERS]), membership == "invite")


@attrs.frozen
class RemoteSpaces:
    """Asks other servers, and remembers what each has said: what one says of a room counts for nobody but it."""

    client: FederationClient
    clock: Clock
    _asking: SharedWork[tuple[ServerName, RoomID, bool], RemoteSpace | None] = attrs.field(
        factory=SharedWork, init=False
    )
    _known: Cache[tuple[ServerName, RoomID, bool], tuple[int, RemoteSpace | None]] = attrs.field(
        factory=lambda: Cache(1_000), init=False
    )

    @property
    def busy(self) -> int:
        """How many requests are under way."""
        return len(self._asking)

    async def find(self, question: Question, *, suggested_only: bool) -> RemoteSpace | None:
        """The room and its children, by the first of the servers that knows it; None if none of them tells."""
        for server in question.servers:
            key = (server, question.room_id, suggested_only)
            known = self._known.get(key)
            if (
                known is not None
                and self._is_fresh(*known)
                and not (known[1] is None and question.is_invited)
            ):
                found = known[1]
            else:
                found = await self._asking.get(key, lambda key=key: self._ask(*key))  # type: ignore[misc]  # mypy knows no default of a lambda
            if found is not None:
                return found
        return None

    def _is_fresh(self, since_ms: int, found: RemoteSpace | None) -> bool:
        return self.clock.monotonic_ms() - since_ms < (FRESH_FAILURE_MS if found is None else FRESH_MS)

    async def _ask(self, server: ServerName, room_id: RoomID, suggested_only: bool) -> RemoteSpace | None:
        try:
            answer = await self.client.get(
                server,
                federation_path("v1", "hierarchy", room_id),
                {"suggested_only": "true"} if suggested_only else None,
                patience_ms=PATIENCE_MS,
                most_bytes=MOST_BYTES,
            )
        except RemoteError as error:
            _log.debug("a server does not tell of a room", room=room_id, server=server, reason=str(error))
            if not error.transient:
                self._known.put((server, room_id, suggested_only), (self.clock.monotonic_ms(), None))
            return None
        found = _space(answer, room_id)
        self._known.put((server, room_id, suggested_only), (self.clock.monotonic_ms(), found))
        return found


def _space(answer: JsonObject, room_id: RoomID) -> RemoteSpace | None:
    """What was asked for, in an answer; None if it is not there."""
    document = answer.get("room")
    room = RemoteRoom.of(document)
    if room is None or room.room_id != room_id or not isinstance(document, dict):
        return None
    stripped = (
        each
        for each in _listed(document.get("children_state"))
        if isinstance(each, dict) and each.get("type") == SPACE_CHILD and isinstance(each.get("sender"), str)
    )
    children = (SpaceChild.of(each) for each in stripped) if room.is_space else ()
    told = (RemoteRoom.of(each) for each in _listed(answer.get("children")))
    inaccessible = _listed(answer.get("inaccessible_children"))
    return RemoteSpace(
        room,
        tuple(in_order(child for child in children if child is not None)),
        {each.room_id: each for each in told if each is not None},
        frozenset(each for each in inaccessible if isinstance(each, str)),
    )


def _listed(value: JsonValue) -> list[JsonValue]:
    return value[:MOST_CHILDREN] if isinstance(value, list) else []
