"""The directory of this server's public rooms. Spec: client-server API, "Published room directory"."""

import re
from collections.abc import Iterator
from typing import Final, Protocol, Self

import attrs
import msgspec

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.globs import fold
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.requester import Requester
from homeserver.core.room_summaries import KEYS, RoomSummary
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_changes import check_not_suspended
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.services.aliases import may_choose_canonical_alias
from homeserver.services.client_events import content_of
from homeserver.storage import events, public_rooms, rooms, state
from homeserver.storage.public_rooms import PublicRoom

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500

AT_ONCE: Final = 100
"""Rooms that are looked through with one query."""

FRESH_MS: Final = 30_000
"""How long the summary of a state is used again: a redaction changes what it says, not which state it is."""

_TOKEN = re.compile(r"([np])([0-9]{1,18})-([0-9]{1,18})")
_MAX_INT64: Final = 2**63 - 1

Summaries = Cache[int, tuple[int, RoomSummary]]
"""By the root of the state that they were made from, with the time at which they were."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the directory; `None` for what is not said.

    `None` among `room_types` stands for rooms that have no type.
    """

    limit: int | None = None
    since: str | None = None
    term: str | None = None
    room_types: frozenset[str | None] | None = None

    def matches(self, summary: RoomSummary) -> bool:
        """Whether a room is among those that are looked for."""
        if self.room_types is not None and summary.room_type not in self.room_types:
            return False
        if not self.term:
            return True
        term = fold(self.term)
        return any(
            term in fold(text) for text in (summary.name, summary.topic, summary.canonical_alias) if text
        )


class RoomPage(msgspec.Struct, frozen=True):
    """A part of a directory; `total` counts all of its rooms, whatever was searched for, if that is known."""

    chunk: list[JsonObject]
    next_batch: str | None
    prev_batch: str | None
    total: int | None


class OtherDirectories(Protocol):
    """Asks other servers."""

    async def page(self, search: Search, server_name: ServerName) -> RoomPage:
        """A part of the directory of a server."""
        ...


class _Place(msgspec.Struct, frozen=True):
    """Between two rooms of the directory: behind (or before) the one that is named."""

    backwards: bool
    members: int
    room_nid: int

    @classmethod
    def parse(cls, token: str | None) -> Self:
        """The inverse of `to_token`; without a token, the beginning. Errors: InvalidParam."""
        if token is None:
            return cls(backwards=False, members=_MAX_INT64, room_nid=0)
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise InvalidParam("since is not a token of this directory")
        return cls(match[1] == "p", int(match[2]), int(match[3]))

    def to_token(self) -> str:
        return f"{'p' if self.backwards else 'n'}{self.members}-{self.room_nid}"

    def rooms(self, tx: ReadTransaction) -> Iterator[list[PublicRoom]]:
        """All rooms from here on, nearest first, some at a time."""
        read = public_rooms.before if self.backwards else public_rooms.after
        found = read(tx, self.members, self.room_nid, most=AT_ONCE)
        while found:
            yield found
            found = read(tx, found[-1].joined_members, found[-1].room_nid, most=AT_ONCE)


@attrs.frozen
class PublicRooms:
    """Keeps the directory."""

    database: Database
    clock: Clock
    signer: Signer
    others: OtherDirectories
    _summaries: Summaries = attrs.field(factory=lambda: Summaries(5_000), init=False)

    async def page(self, search: Search, server: ServerName | None = None) -> RoomPage:
        """A part of the directory of `server` (`None`: this one), largest rooms first.

        Errors: InvalidParam; Forbidden, or Unknown (502), if another server does not tell.
        """
        if server is not None and server != self.signer.server_name:
            return await self.others.page(search, server)
        return await self.database.read(find_page, search, self._summaries, now_ts=self.clock.now_ts())

    async def is_public(self, room_id: RoomID) -> bool:
        """Whether a room is in the directory. Errors: NotFound."""
        return await self.database.read(is_public, room_id)

    async def set_public(self, requester: Requester, room_id: RoomID, *, public: bool) -> None:
        """Put a room in the directory, or take it out.

        Errors: NotFound; Forbidden unless the requester has the power to choose the room's canonical alias,
        or is an administrator of this server.
        """
        await self.database.write(
            set_public, self.signer, requester, room_id, public=public, now_ts=self.clock.now_ts()
        )


def find_page(tx: ReadTransaction, search: Search, summaries: Summaries, *, now_ts: int) -> RoomPage:
    """A part of the directory. Errors: InvalidParam."""
    limit = DEFAULT_LIMIT if search.limit is None else min(search.limit, MAX_LIMIT)
    if limit < 1:
        raise InvalidParam("limit is less than 1")
    place = _Place.parse(search.since)
    found: list[tuple[PublicRoom, RoomSummary]] = []
    for some in place.rooms(tx):
        found += (pair for pair in _summarise(tx, some, summaries, now_ts) if search.matches(pair[1]))
        if len(found) > limit:
            break
    is_more = len(found) > limit
    shown = found[:limit]
    if place.backwards:
        shown.reverse()
    return RoomPage(
        [_entry(room, summary) for room, summary in shown],
        _token(shown, -1, backwards=False) if is_more or place.backwards else None,
        _token(shown, 0, backwards=True)
        if (is_more if place.backwards else search.since is not None)
        else None,
        public_rooms.count(tx),
    )


def is_public(tx: ReadTransaction, room_id: RoomID) -> bool:
    """Whether the room is in the directory. Errors: NotFound."""
    room = rooms.of(tx, room_id)
    if room is None:
        raise NotFound("Room not found")
    return room.is_public


def set_public(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    *,
    public: bool,
    now_ts: int,
) -> None:
    """Put the room in the directory, or take it out. Errors: see `PublicRooms.set_public`."""
    check_not_suspended(tx, requester.user_id)
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    if not (requester.is_admin or may_choose_canonical_alias(appender, requester)):
        raise Forbidden("You do not have the power to list this room in the directory, or to take it out")
    rooms.set_public(tx, room_id, public=public)


def _summarise(
    tx: ReadTransaction, some: list[PublicRoom], summaries: Summaries, now_ts: int
) -> list[tuple[PublicRoom, RoomSummary]]:
    known: dict[int, RoomSummary] = {}
    missing: dict[int, dict[tuple[str, str], int]] = {}
    for room in some:
        cached = summaries.get(room.state_root)
        if cached is not None and 0 <= now_ts - cached[0] < FRESH_MS:
            known[room.state_root] = cached[1]
        else:
            missing[room.state_root] = state.get_many(tx, room.state_root, KEYS)
    stored = events.of_nids(tx, {nid for nids in missing.values() for nid in nids.values()})
    for root, nids in missing.items():
        contents = {key: decode_object(content_of(stored[nid])) for key, nid in nids.items()}
        known[root] = summary = RoomSummary.of(contents)
        summaries.put(root, (now_ts, summary))
    return [(room, known[room.state_root]) for room in some]


def _entry(room: PublicRoom, summary: RoomSummary) -> JsonObject:
    return {"room_id": room.room_id, "num_joined_members": room.joined_members, **summary.to_json()}


def _token(shown: list[tuple[PublicRoom, RoomSummary]], index: int, *, backwards: bool) -> str | None:
    """The place behind the last of these rooms, or before the first."""
    if not shown:
        return None
    room = shown[index][0]
    return _Place(backwards, room.joined_members, room.room_nid).to_token()
