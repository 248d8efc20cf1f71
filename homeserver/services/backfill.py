"""Fetching history of rooms that is missing here, when somebody wants to read it: before a join, or in a gap.

Spec: server-server API, "Backfilling and retrieving missing events".
"""

import enum
from collections.abc import Collection, Sequence
from typing import Final, Protocol

import attrs
import msgspec
import structlog
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.interfaces import IReactorTime

from homeserver.core.identifiers import EventID, RoomID, ServerName, server_of
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.history import fill
from homeserver.rooms.missing import (
    Incomplete,
    MissingEvents,
    Place,
    connected,
    known_among,
    parents_first,
    placed_among,
)
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.storage import history_gaps, room_servers, rooms

LIMIT: Final = 50
"""Events that are fetched, and stored, in one go."""

MOST_STARTS: Final = 20
"""Missing events that one request asks for."""

MOST_EDGES: Final = 10
"""Missing parents of what was fetched, after each of which the state has to be asked for."""

MOST_SERVERS: Final = 4
PATIENCE_S: Final = 5.0
"""How long a reader waits; the work goes on beyond, for the next one."""

MEMBERS_MS: Final = 120_000
"""How long it waits for the members of a room that was entered without them."""

MOST_GAPS: Final = 50
"""Gaps of a room that are looked at to find one that a time lies in; the last ones."""

MOST_ROUNDS: Final = 10
REACH_MS: Final = 15_000
"""How often, and how long, history is fetched to get to a certain event."""

RETRY_MS: Final = 30_000
"""How long nobody is asked again about a gap after all have failed."""

_log = structlog.get_logger(__name__)


class Progress(enum.Enum):
    """What has come of fetching history."""

    MORE = enum.auto()
    """There is more of it here now."""

    NONE = enum.auto()
    """There is no more, or it cannot be had now."""

    UNDERWAY = enum.auto()
    """It takes longer than a reader waits."""


class HistorySource(Protocol):
    """Other servers; an answer of None is none."""

    async def backfill(
        self, server_name: ServerName, room_id: RoomID, event_ids: Collection[EventID], limit: int
    ) -> list[JsonObject] | None:
        """These events, and those that precede them, up to `limit` in all."""
        ...

    async def nearest(
        self, server_name: ServerName, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int] | None:
        """The event sent at `ts` or nearest to it in that direction, and when."""
        ...


class Gap(msgspec.Struct, frozen=True):
    """The last events that are missing before a position of a room, and who may be asked for them, best first."""

    room_id: RoomID
    position: int
    version: RoomVersion
    event_ids: tuple[EventID, ...]
    servers: tuple[ServerName, ...]


@attrs.frozen
class Backfill:
    """Fetches history; several who want the same share the work. A gap is named by its position."""

    database: Database
    clock: Clock
    reactor: IReactorTime
    source: HistorySource
    missing: MissingEvents
    awaited: AwaitedMembers
    server_name: ServerName
    _running: SharedWork[tuple[RoomID, int], bool] = attrs.field(factory=SharedWork, init=False)
    _refused: Cache[tuple[RoomID, int], int] = attrs.field(factory=lambda: Cache(5_000), init=False)

    async def extend(self, room_id: RoomID, gap: int) -> Progress:
        """Fetch some of the history in a gap, that before its end. Waits some seconds at most."""
        refused_until_ms = self._refused.get((room_id, gap))
        if refused_until_ms is not None and self.clock.monotonic_ms() < refused_until_ms:
            return Progress.NONE
        waiting = self._running.get((room_id, gap), lambda: self._extend(room_id, gap))
        try:
            return Progress.MORE if await waiting.addTimeout(PATIENCE_S, self.reactor) else Progress.NONE
        except OutOfPatience:
            return Progress.UNDERWAY

    async def reach(self, room_id: RoomID, ts: int, *, forwards: bool) -> bool:
        """Fetch history down to the event that others know at `ts`, or nearest to it in that direction.

        Whether there is more of it now; some seconds are all there is for it.
        """
        until_ms = self.clock.monotonic_ms() + REACH_MS
        event_id: EventID | None = None
        has_more = False
        for _ in range(MOST_ROUNDS):
            position = await self.database.read(gap_around, room_id, ts)
            if position is None:
                break
            event_id = event_id or await self._find(room_id, position, ts, forwards=forwards)
            if event_id is None or self.clock.monotonic_ms() > until_ms:
                break
            if await self.extend(room_id, position) is not Progress.MORE:
                break
            has_more = True
            if await self.database.read(placed_among, [event_id]):
                break
        return has_more

    async def _find(self, room_id: RoomID, position: int, ts: int, *, forwards: bool) -> EventID | None:
        """The event that one of the other servers knows near a time."""
        gap = await self.database.read(read_gap, room_id, position, self.server_name)
        for server_name in gap.servers if gap is not None else ():
            found = await self.source.nearest(server_name, room_id, ts, forwards=forwards)
            if found is not None and (found[1] >= ts if forwards else found[1] <= ts):
                return found[0]
        return None

    async def _extend(self, room_id: RoomID, position: int) -> bool:
        # States before the beginning of the history differ little from the room's: with that, little is to be fetched.
        await self.awaited.wait(room_id, most_ms=MEMBERS_MS)
        gap = await self.database.read(read_gap, room_id, position, self.server_name)
        if gap is not None and not gap.event_ids:
            # Somebody has filled it meanwhile.
            return True
        if gap is None:
            return False
        for server_name in gap.servers:
            others = [each for each in gap.servers if each != server_name]
            place = Place(room_id, gap.version, [server_name, *others])
            try:
                if await self._fetch(gap, place):
                    return True
            except Incomplete as problem:
                _log.info("history cannot be judged", server=server_name, reason=str(problem))
            except KeyError:
                # Of what this server has of the room something is missing, which no fetched event may trip over.
                _log.exception("a room's events are not complete", room=room_id)
        self._refused.put((room_id, position), self.clock.monotonic_ms() + RETRY_MS)
        return False

    async def _fetch(self, gap: Gap, place: Place) -> bool:
        """Fetch from the first of the servers, and store; whether there is more now. Errors: Incomplete."""
        given = await self.source.backfill(place.servers[0], gap.room_id, gap.event_ids, LIMIT)
        if not given:
            return False
        checked = await self.missing.checks.check(given[:LIMIT], gap.version)
        bag = {
            each.event.event_id: each
            for each in checked
            if isinstance(each, CheckedPdu) and each.event.room_id == gap.room_id
        }
        # What this server has ends the gap: what is missing before that is missing elsewhere.
        for event_id in await self.database.read(placed_among, bag.keys()):
            del bag[event_id]
        wanted: dict[EventID, CheckedPdu] = {}
        for event_id in gap.event_ids:
            if event_id in bag and event_id not in wanted:
                wanted |= connected(bag, event_id)
        pdus = parents_first(wanted)
        if not pdus:
            return False
        assumed = await self._states_at_the_edge(place, pdus)
        await self._fetch_cited(place, pdus)
        return await self.database.write(
            fill, gap.room_id, gap.position, pdus, assumed, now_ts=self.clock.now_ts()
        )

    async def _states_at_the_edge(self, place: Place, pdus: Sequence[CheckedPdu]) -> dict[EventID, int]:
        """The roots of the states after those parents that remain missing. Errors: Incomplete."""
        parents = {prev for pdu in pdus for prev in pdu.event.prev_events}
        parents -= {pdu.event.event_id for pdu in pdus}
        edges = parents - await self.database.read(placed_among, parents)
        if len(edges) > MOST_EDGES:
            raise Incomplete(f"too many parents, {len(edges)}, are missing")
        return {event_id: await self.missing.state_after(place, event_id) for event_id in sorted(edges)}

    async def _fetch_cited(self, place: Place, pdus: Sequence[CheckedPdu]) -> None:
        """Fetch the auth chains of events that cite what is neither here nor among them."""
        own = {pdu.event.event_id for pdu in pdus}
        cited = {event_id for pdu in pdus for event_id in pdu.event.auth_events} - own
        lacking = cited - await self.database.read(known_among, cited)
        # Those of the newest hold, as a rule, those of the others.
        for pdu in [each for each in reversed(pdus) if lacking.intersection(each.event.auth_events)][
            :MOST_EDGES
        ]:
            if lacking.intersection(pdu.event.auth_events):
                await self.missing.auth_chain(place, pdu.event.event_id)
                lacking -= await self.database.read(known_among, lacking)


def read_gap(tx: ReadTransaction, room_id: RoomID, position: int, server_name: ServerName) -> Gap | None:
    """What is missing in a gap, without events if it is none any more; `None` if it cannot be filled.

    `server_name` is this server's own.
    """
    room = rooms.of(tx, room_id)
    if room is None or not room.is_held:
        return None
    room_nid, version = room.room_nid, get_room_version(room.version)
    starts = history_gaps.missing(tx, room_nid, position, most=MOST_STARTS)
    if not starts:
        return Gap(room_id, position, version, (), ())
    servers = room_servers.of_room(tx, room_nid)
    if server_name not in servers or len(servers) == 1:
        return None
    is_first = history_gaps.below(tx, room_nid, position) is None
    if not is_first and (history_gaps.places(tx, room_nid, position) or 0) < LIMIT:
        return None
    # The servers with the most members are the likeliest to have been there for long; the room's own more so.
    home = server_of(room_id)
    best = sorted(
        (each for each in servers if each != server_name),
        key=lambda each: (each != home, -servers[each], each),
    )
    return Gap(room_id, position, version, tuple(starts), tuple(best[:MOST_SERVERS]))


def gap_around(tx: ReadTransaction, room_id: RoomID, ts: int) -> int | None:
    """The gap in which a time (milliseconds) lies, by what is here before and after it."""
    room_nid = rooms.nid_of(tx, room_id)
    if room_nid is None:
        return None
    for position in history_gaps.listed(tx, room_nid, after=-(2**62), upto=2**62, most=MOST_GAPS):
        end_ts = history_gaps.sent_at(tx, room_nid, position)
        below = history_gaps.below(tx, room_nid, position)
        begin_ts = None if below is None else history_gaps.sent_at(tx, room_nid, below)
        if end_ts is not None and ts < end_ts and (begin_ts is None or begin_ts < ts):
            return position
    return None
