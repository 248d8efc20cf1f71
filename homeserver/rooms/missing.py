"""Fetching what is missing to judge an event: its ancestors, the state where those cannot be had, auth chains.

What other servers give is checked like any event, and kept as far as it belongs to the room and passes the auth
rules. Everything is bounded: how many events are asked for, how often, and for how long.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import attrs
import msgspec
import structlog
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore, gatherResults
from twisted.internet.threads import deferToThread

from homeserver.core.auth_events import CREATE
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.state_ids import StateIds
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import fetched_states, outliers
from homeserver.rooms.auth_chains import AuthChain, check_auth_chain
from homeserver.rooms.event_source import EventSource
from homeserver.rooms.pdu_checks import FEW, CheckedPdu, PduChecks
from homeserver.storage import events, rooms, state

_log = structlog.get_logger(__name__)

ROUNDS: Final = 10
"""How often ancestors are asked for, each time from where the answer before has ended."""

AT_ONCE: Final = 50
"""Ancestors that are asked for at a time."""

MOST_EVENTS: Final = 100_000
"""Events of one state, with those of its auth chain."""

MOST_SINGLE: Final = 50
"""Events that are fetched one by one; if more are missing of a state, all of it is fetched."""

PARALLEL: Final = 10
"""Events that are being fetched at the same time."""

CHUNK: Final = 500
"""Events that are stored in one transaction."""

WHOLE_STATES: Final = 5
"""States and auth chains that are being fetched as a whole at the same time, each of another server: each may take much
memory, and a slow server is not to take the turns of others."""

T = TypeVar("T")


class Incomplete(Exception):  # noqa: N818 - a state of affairs: it may be better at another time
    """What is needed to judge an event cannot be had now; the message says what."""


class AwaitsState(Incomplete):
    """The members of the room must be known first; they are being fetched."""


class Place(msgspec.Struct, frozen=True):
    """Where something is missing: the room, and the servers that may be asked, best first."""

    room_id: RoomID
    version: RoomVersion
    servers: Sequence[ServerName]


class Having(msgspec.Struct, frozen=True):
    """What this server has of a room: its extremities, and nothing of what happened above `min_depth`.

    That is where the server entered the room. What precedes it is history, which is fetched when somebody reads it.
    """

    extremities: tuple[EventID, ...]
    min_depth: int


@attrs.frozen(eq=False)
class MissingEvents:
    """Fetches what is missing."""

    database: Database
    source: EventSource
    checks: PduChecks
    _whole_states: DeferredSemaphore = attrs.field(
        factory=lambda: DeferredSemaphore(WHOLE_STATES), init=False
    )
    _turns: dict[ServerName | None, DeferredLock] = attrs.field(factory=dict, init=False)

    async def ancestors(
        self,
        place: Place,
        pdu: CheckedPdu,
        has: Having,
        is_over: Callable[[], bool],
    ) -> list[CheckedPdu]:
        """Those of an event's ancestors that this server lacks, as far as they can be had; parents first.

        Only what the event leads to by its parents, and theirs, is given. Once `is_over`, no more is asked for.
        """
        bag: dict[EventID, CheckedPdu] = {pdu.event.event_id: pdu}
        latest = [pdu.event.event_id]
        for _ in range(ROUNDS):
            new = await self._before(place, latest, has)
            before = len(bag)
            bag |= {each.event.event_id: each for each in new if each.event.event_id not in bag}
            bag = connected(bag, pdu.event.event_id)
            if len(bag) == before:
                break
            latest = await self._on_the_edge(bag)
            if not latest or is_over():
                break
        del bag[pdu.event.event_id]
        return parents_first(bag)

    async def _before(self, place: Place, latest: Collection[EventID], has: Having) -> list[CheckedPdu]:
        """Some of the ancestors of these events."""
        given = await self._ask(
            place,
            lambda server: self.source.missing_events(
                server,
                place.room_id,
                earliest=has.extremities,
                latest=latest,
                limit=AT_ONCE,
                min_depth=has.min_depth,
            ),
        )
        checked = await self._check(place, (given or [])[:AT_ONCE])
        # Not every server heeds the depth that it is told.
        return [each for each in checked if each.event.depth >= has.min_depth]

    async def auth_chain(self, place: Place, event_id: EventID) -> None:
        """Store the auth chain of an event."""
        await self._in_turn(place, lambda: self._fetch_auth_chain(place, event_id))

    async def _fetch_auth_chain(self, place: Place, event_id: EventID) -> None:
        given = await self._ask(place, lambda server: self.source.event_auth(server, place.room_id, event_id))
        pdus = await self._check(place, (given or [])[:MOST_EVENTS])
        await self._store(place, pdus)

    async def state_after(self, place: Place, event_id: EventID) -> int:
        """The root of the state after an event that this server lacks, by what others say. Errors: Incomplete."""
        ids = await self._state_ids(place, event_id)
        await self._fetch(place, event_id, ids)
        root = await self.database.write(fetched_states.put, place.room_id, event_id, ids.state)
        if root is None:
            raise Incomplete(f"too much of the state at {event_id} cannot be had")
        return root

    async def state_before(self, place: Place, event_id: EventID) -> tuple[EventID, ...]:
        """The events of the state before an event, by what others say, stored as far as they can be had.

        Errors: Incomplete.
        """
        ids = await self._state_ids(place, event_id)
        await self._fetch(place, event_id, ids)
        return ids.state

    async def _state_ids(self, place: Place, event_id: EventID) -> StateIds:
        """Errors: Incomplete."""
        ids = await self._ask(place, lambda server: self.source.state_ids(server, place.room_id, event_id))
        if ids is None:
            raise Incomplete(f"nobody tells the state at {event_id}")
        if len(ids.state) + len(ids.auth_chain) > MOST_EVENTS:
            raise Incomplete(f"the state at {event_id} is too large")
        return ids

    async def _fetch(self, place: Place, event_id: EventID, ids: StateIds) -> None:
        """Store the event, and all of the state that is not stored yet."""
        wanted = {event_id, *ids.state, *ids.auth_chain}
        missing = wanted - await self.database.read(known_among, wanted)
        if len(missing) > MOST_SINGLE:
            await self._in_turn(place, lambda: self._fetch_whole(place, event_id, wanted))
            missing &= {event_id}
        await self._keep(place, await self._single(place, sorted(missing)), wanted)

    async def _fetch_whole(self, place: Place, event_id: EventID, wanted: Collection[EventID]) -> None:
        whole = await self._ask(place, lambda server: self.source.state(server, place.room_id, event_id))
        await self._keep(place, (whole or [])[:MOST_EVENTS], wanted)

    async def _keep(self, place: Place, given: Sequence[JsonObject], wanted: Collection[EventID]) -> None:
        pdus = await self._check(place, given)
        await self._store(place, [pdu for pdu in pdus if pdu.event.event_id in wanted])

    async def _in_turn(self, place: Place, work: Callable[[], Awaitable[T]]) -> T:
        """Do what may take much memory, once no more of that is going on than may be."""
        first = place.servers[0] if place.servers else None
        turn = self._turns.setdefault(first, DeferredLock())
        await turn.acquire()
        try:
            await self._whole_states.acquire()
            try:
                return await work()
            finally:
                self._whole_states.release()
        finally:
            turn.release()
            if not turn.locked:
                # Nobody was waiting.
                self._turns.pop(first, None)

    async def _single(self, place: Place, event_ids: Sequence[EventID]) -> list[JsonObject]:
        """Fetch events one by one, some at the same time."""
        found: list[JsonObject] = []
        for start in range(0, len(event_ids), PARALLEL):
            some = event_ids[start : start + PARALLEL]
            answers = await gatherResults(
                [Deferred.fromCoroutine(self._event(place, event_id)) for event_id in some],
                consumeErrors=True,
            )
            found += (answer for answer in answers if answer is not None)
        return found

    async def _event(self, place: Place, event_id: EventID) -> JsonObject | None:
        return await self._ask(place, lambda server: self.source.event(server, event_id))

    async def _ask(self, place: Place, question: Callable[[ServerName], Awaitable[T | None]]) -> T | None:
        """The first answer that there is."""
        for server_name in place.servers:
            answer = await question(server_name)
            if answer is not None:
                return answer
        return None

    async def _check(self, place: Place, given: Sequence[JsonObject]) -> list[CheckedPdu]:
        """Those that are events of the room, and signed."""
        checked = await self.checks.check(given, place.version)
        return [
            each for each in checked if isinstance(each, CheckedPdu) and each.event.room_id == place.room_id
        ]

    async def _on_the_edge(self, bag: Mapping[EventID, CheckedPdu]) -> list[EventID]:
        """The events of which a parent is missing."""
        parents = {prev for pdu in bag.values() for prev in pdu.event.prev_events} - bag.keys()
        missing = parents - await self.database.read(placed_among, parents)
        found = [event_id for event_id, pdu in bag.items() if missing.intersection(pdu.event.prev_events)]
        return found[:AT_ONCE]

    async def _store(self, place: Place, pdus: Sequence[CheckedPdu]) -> None:
        """Judge events by what they cite, and store them as outliers."""
        cited = {event_id for pdu in pdus for event_id in pdu.event.auth_events}
        known, create = await self.database.read(
            known_events, place.room_id, cited | {pdu.event.event_id for pdu in pdus}
        )
        if len(pdus) > FEW:
            chain: AuthChain = await deferToThread(
                check_auth_chain, place.room_id, pdus, known, create=create
            )
        else:
            chain = check_auth_chain(place.room_id, pdus, known, create=create)
        if chain.unusable:
            _log.info("some fetched events are of no use", room=place.room_id, count=len(chain.unusable))
        for start in range(0, len(chain.judged), CHUNK):
            await self.database.write(
                store_outliers, place.room_id, chain.judged[start : start + CHUNK], chain.rejected.keys()
            )


def connected(bag: Mapping[EventID, CheckedPdu], start: EventID) -> dict[EventID, CheckedPdu]:
    """The events of the bag that one of them leads to by its parents, and theirs; it is the first."""
    found: dict[EventID, CheckedPdu] = {}
    level = [start]
    while level:
        found |= {event_id: bag[event_id] for event_id in level}
        parents = dict.fromkeys(prev for event_id in level for prev in bag[event_id].event.prev_events)
        level = [prev for prev in parents if prev in bag and prev not in found]
    return found


def parents_first(bag: Mapping[EventID, CheckedPdu]) -> list[CheckedPdu]:
    """The events, each after its parents among them; those in circles are left out."""
    waiting = {
        event_id: {prev for prev in pdu.event.prev_events if prev in bag} for event_id, pdu in bag.items()
    }
    children: dict[EventID, list[EventID]] = {}
    for event_id, parents in waiting.items():
        for parent in parents:
            children.setdefault(parent, []).append(event_id)
    ready = [event_id for event_id, parents in waiting.items() if not parents]
    order: list[CheckedPdu] = []
    for event_id in ready:
        order.append(bag[event_id])
        for child in children.get(event_id, ()):
            waiting[child].discard(event_id)
            if not waiting[child]:
                ready.append(child)
    return order


def known_among(tx: ReadTransaction, event_ids: Collection[EventID]) -> set[EventID]:
    """Those of the events that are stored, if only as outliers."""
    return set(events.placed(tx, event_ids))


def placed_among(tx: ReadTransaction, event_ids: Collection[EventID]) -> set[EventID]:
    """Those of the events that have a place in the room's history."""
    return {event_id for event_id, each in events.placed(tx, event_ids).items() if not each.is_outlier}


def known_events(
    tx: ReadTransaction, room_id: RoomID, event_ids: Collection[EventID]
) -> tuple[dict[EventID, Event], Event | None]:
    """Those of the events that are stored of the room, and its create event."""
    room = rooms.of(tx, room_id)
    if room is None:
        return {}, None
    version = get_room_version(room.version)
    nids = {
        each.event_nid for each in events.placed(tx, event_ids).values() if each.room_nid == room.room_nid
    }
    found = {event.event_id: event for event in events.parsed(tx, list(nids), version).values()}
    create = state.get(tx, room.state_root, CREATE)
    return found, None if create is None else events.parsed(tx, [create], version)[create]


def store_outliers(
    tx: WriteTransaction, room_id: RoomID, pdus: Sequence[CheckedPdu], rejected: Collection[EventID]
) -> None:
    """Store events of a room that this server holds, without a place."""
    room = rooms.lock(tx, room_id)
    if room is not None:
        outliers.store(tx, room.room_nid, pdus, rejected=rejected)
