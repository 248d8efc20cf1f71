"""Receiving an event of a room that this server is in: from its checks to its place in the room.

Spec: server-server API, "Checks performed on receipt of a PDU", 4 to 7.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
import structlog

from homeserver.core.errors import NotFound
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.policy_servers import PolicyServer
from homeserver.core.room_versions import get_room_version
from homeserver.core.sticky_events import expiry_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import outliers
from homeserver.rooms.judge import Judgement, Lacking, NotAtOnce, RoomView, Verdict, judge
from homeserver.rooms.missing import AwaitsState, Having, Incomplete, MissingEvents, Place
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.persist import is_settled, look_ahead, persist
from homeserver.rooms.room_changes import RoomChanges
from homeserver.rooms.sticky_events import await_release
from homeserver.runtime.clock import Clock
from homeserver.storage import events, room_servers, rooms

ATTEMPTS: Final = 5
"""How often an event is judged anew because the room has changed meanwhile; after that, in the write itself."""

MOST_SERVERS: Final = 3
"""Servers that are asked for one thing, one after the other."""

MOST_STATES: Final = 20
"""States that are fetched for one event and its ancestors."""

PATIENCE_MS: Final = 180_000
"""For how long an event may keep the others of its room waiting."""


_log = structlog.get_logger(__name__)

_REFUSED: Final = Verdict(events.SOFT_FAILED, "The room's policy server recommends the event")


class PolicyServers(Protocol):
    """Asks the policy servers of rooms."""

    async def recommends(self, policy_server: PolicyServer, event: Event) -> bool:
        """Whether an event of another server is recommended for inclusion."""
        ...


class _Room(msgspec.Struct, frozen=True):
    """What is asked about a room before anything is fetched for it."""

    place: Place
    has: Having
    is_partial: bool


class _Patience(msgspec.Struct):
    """What may still be done for one event."""

    deadline_ms: int
    states: int = MOST_STATES


class _Prepared(msgspec.Struct, frozen=True):
    """An event judged in a read, and the room as it was there."""

    judgement: Judgement
    extremities: tuple[tuple[EventID, int], ...]
    state_root: int
    assumed: Mapping[EventID, int]
    policy_server: PolicyServer | None
    is_partial: bool
    is_refused: bool = False
    """By the room's policy server."""


class Receiver(msgspec.Struct, frozen=True):
    """Takes events into the rooms that this server, `server_name`, is in."""

    database: Database
    clock: Clock
    server_name: ServerName
    missing: MissingEvents
    policy_servers: PolicyServers

    async def receive(
        self, room_id: RoomID, pdu: CheckedPdu, *, origin: ServerName, is_outbound: bool = False
    ) -> Verdict:
        """Judge an event, with what must be fetched for that, and store it with its place in the room.

        `origin` is the server that has sent it, and is asked first. With `is_outbound` this server sends it on, if it
        is accepted. What is known already gets the verdict that it got then.
        Errors: NotFound if this server is not in the room; Incomplete, AwaitsState among it.
        """
        patience = _Patience(self.clock.monotonic_ms() + PATIENCE_MS)
        found = await self._take(room_id, pdu, {}, is_outbound=is_outbound)
        if isinstance(found, Verdict):
            return found
        room = await self.database.read(read_room, room_id, origin, self.server_name)
        if self._is_from_before(room, pdu, found):
            return await self._take_from_before(room, pdu, found)
        if found.prev_events and pdu.event.depth > room.has.min_depth:
            ancestors = await self.missing.ancestors(
                room.place,
                pdu,
                room.has,
                lambda: self.clock.monotonic_ms() >= patience.deadline_ms,
            )
            for ancestor in ancestors:
                try:
                    await self._complete(room, ancestor, patience, is_outbound=False)
                except Incomplete as error:
                    # What comes after it can do with the state at it.
                    _log.info(
                        "an event is left out",
                        event_id=ancestor.event.event_id,
                        room=room_id,
                        reason=str(error),
                    )
        return await self._complete(room, pdu, patience, is_outbound=is_outbound)

    def _is_from_before(self, room: _Room, pdu: CheckedPdu, lacking: Lacking) -> bool:
        """Whether it sticks, and is from before this server came into the room: servers send such to who comes in."""
        return (
            bool(lacking.prev_events)
            and not room.is_partial
            and pdu.event.depth <= room.has.min_depth
            and expiry_of(pdu.event.pdu, received_ts=self.clock.now_ts()) is not None
        )

    async def _take_from_before(self, room: _Room, pdu: CheckedPdu, lacking: Lacking) -> Verdict:
        """Take an event without a place in the history: the events that it cites and the current state allow it.

        To fetch the state before each such event, and to resolve it, would be much work at every join of a large room.
        Errors: Incomplete.
        """
        room_id = room.place.room_id
        if lacking.auth_events:
            await self.missing.auth_chain(room.place, pdu.event.event_id)
            found = await self._take(room_id, pdu, {}, is_outbound=False)
            if isinstance(found, Verdict):
                return found
            if found.auth_events:
                raise Incomplete(f"it cites events that cannot be had, such as {min(found.auth_events)}")
        policy_server = await self.database.read(policy_server_for, pdu)
        if policy_server is not None and not await self.policy_servers.recommends(policy_server, pdu.event):
            return _REFUSED
        return await self.database.write(store_from_before, pdu, now_ts=self.clock.now_ts())

    async def receive_at_once(self, room_id: RoomID, pdu: CheckedPdu) -> Verdict | None:
        """As `receive`, with what this server holds already; None, and nothing is done, if that is not enough."""
        try:
            found = await self._take(room_id, pdu, {}, is_outbound=False)
        except AwaitsState:
            return None
        return found if isinstance(found, Verdict) else None

    async def _complete(
        self, room: _Room, pdu: CheckedPdu, patience: _Patience, *, is_outbound: bool
    ) -> Verdict:
        """Take an event, with the states after those parents that cannot be had. Errors: Incomplete."""
        assumed: dict[EventID, int] = {}
        has_asked = False
        while True:
            found = await self._take(room.place.room_id, pdu, assumed, is_outbound=is_outbound)
            if isinstance(found, Verdict):
                return found
            if self.clock.monotonic_ms() >= patience.deadline_ms:
                raise Incomplete("it takes too long")
            if found.auth_events:
                if has_asked:
                    raise Incomplete(f"it cites events that cannot be had, such as {min(found.auth_events)}")
                has_asked = True
                await self.missing.auth_chain(room.place, pdu.event.event_id)
                continue
            if room.is_partial:
                raise AwaitsState("what precedes it is missing, and so are members of the room")
            for event_id in sorted(found.prev_events):
                patience.states -= 1
                if patience.states < 0:
                    raise Incomplete("too many states would have to be fetched")
                assumed[event_id] = await self.missing.state_after(room.place, event_id)

    async def _take(
        self,
        room_id: RoomID,
        pdu: CheckedPdu,
        assumed: Mapping[EventID, int],
        *,
        is_outbound: bool,
    ) -> Verdict | Lacking:
        """Judge an event in a read, and store it if the room is still the same in the write. Errors: AwaitsState."""
        try:
            return await self._judge_and_store(room_id, pdu, assumed, is_outbound=is_outbound)
        except NotAtOnce:
            raise AwaitsState("it cannot be judged before all members of the room are known") from None

    async def _judge_and_store(
        self,
        room_id: RoomID,
        pdu: CheckedPdu,
        assumed: Mapping[EventID, int],
        *,
        is_outbound: bool,
    ) -> Verdict | Lacking:
        """Errors: NotAtOnce."""
        is_refused: bool | None = None
        for attempt in range(ATTEMPTS + 1):
            prepared = await self.database.read(prepare, room_id, pdu, assumed, self.server_name)
            if not isinstance(prepared, _Prepared):
                return prepared
            if prepared.policy_server is not None and is_refused is None:
                is_refused = not await self.policy_servers.recommends(prepared.policy_server, pdu.event)
            if is_refused and prepared.is_partial:
                raise NotAtOnce
            prepared = msgspec.structs.replace(prepared, is_refused=is_refused or False)
            verdict = await self.database.write(
                store,
                pdu,
                prepared,
                self.server_name,
                is_outbound=is_outbound,
                anyway=attempt == ATTEMPTS,
                now_ts=self.clock.now_ts(),
            )
            if verdict is not None:
                return verdict
        raise Incomplete("the room does not hold still")


def read_room(tx: ReadTransaction, room_id: RoomID, origin: ServerName, own: ServerName) -> _Room:
    """Errors: NotFound."""
    room = _held(rooms.of(tx, room_id))
    members = room_servers.of_room(tx, room.room_nid)
    others = sorted((each for each in members if each not in (origin, own)), key=lambda each: -members[each])
    servers = [origin, *others][:MOST_SERVERS] if origin != own else others[:MOST_SERVERS]
    place = Place(room_id, get_room_version(room.version), servers)
    extremities = tuple(event_id for event_id, _ in room.extremities)
    has = Having(extremities, events.first_depth(tx, room.room_nid))
    return _Room(place, has, room.is_partial)


def prepare(
    tx: ReadTransaction,
    room_id: RoomID,
    pdu: CheckedPdu,
    assumed: Mapping[EventID, int],
    server_name: ServerName,
) -> _Prepared | Lacking | Verdict:
    """Judge an event. Errors: NotFound, NotAtOnce."""
    room = _held(rooms.of(tx, room_id))
    if not room_servers.joined(tx, room.room_nid, server_name):
        raise NotFound("This server is not in that room")
    view = RoomView.of(tx, room)
    judgement = judge(view, pdu, assumed)
    if not isinstance(judgement, Judgement):
        return judgement
    policy_server = None
    if judgement.verdict.is_accepted:
        policy_server = view.policy_server_for(pdu.event)
        if room.is_partial and not is_settled(view, pdu, judgement, server_name):
            raise NotAtOnce
        look_ahead(view, pdu, judgement)
    return _Prepared(judgement, room.extremities, room.state_root, assumed, policy_server, room.is_partial)


def store(
    tx: WriteTransaction,
    pdu: CheckedPdu,
    prepared: _Prepared,
    server_name: ServerName,
    *,
    is_outbound: bool,
    anyway: bool,
    now_ts: int,
) -> Verdict | None:
    """Store a judged event; None, and nothing is done, if the room has changed since.

    With `anyway` it is judged once more instead. Errors: NotFound, NotAtOnce.
    """
    room = _held(rooms.lock(tx, pdu.event.room_id))
    judgement: Judgement | Lacking | Verdict = prepared.judgement
    if room.state_root != prepared.state_root or room.extremities != prepared.extremities:
        if not anyway:
            return None
        view = RoomView.of(tx, room)
        judgement = judge(view, pdu, prepared.assumed)
        if (
            room.is_partial
            and isinstance(judgement, Judgement)
            and not is_settled(view, pdu, judgement, server_name)
        ):
            raise NotAtOnce
    known = events.placed(tx, [pdu.event.event_id]).get(pdu.event.event_id)
    if known is not None and not known.is_outlier:
        return Verdict(known.status)
    if not isinstance(judgement, Judgement):
        return None
    if known is not None:
        # It may have been stored as a part of some state meanwhile.
        arrived = msgspec.structs.replace(judgement.arrived, is_stored=True)
        judgement = msgspec.structs.replace(judgement, arrived=arrived, event_nid=known.event_nid)
    received_ts: int | None = now_ts
    if prepared.is_refused and judgement.verdict.is_accepted:
        judgement = msgspec.structs.replace(judgement, verdict=_REFUSED)
        # Spec: MSC4354, "in which case the stickiness of the event is prevented".
        received_ts = None
    changes = RoomChanges(tx, room, server_name)
    verdict = persist(changes, pdu, judgement, is_outbound=is_outbound, received_ts=received_ts)
    changes.publish()
    return verdict


def policy_server_for(tx: ReadTransaction, pdu: CheckedPdu) -> PolicyServer | None:
    """The policy server that is to be asked about the event. Errors: NotFound."""
    room = _held(rooms.of(tx, pdu.event.room_id))
    return RoomView.of(tx, room).policy_server_for(pdu.event)


def store_from_before(tx: WriteTransaction, pdu: CheckedPdu, *, now_ts: int) -> Verdict:
    """Store an event without a place, to stick as soon as the current state is found to allow it. Errors: NotFound."""
    room = _held(rooms.lock(tx, pdu.event.room_id))
    event_nid = outliers.store(tx, room.room_nid, [pdu], rejected=()).get(pdu.event.event_id)
    if event_nid is None:
        return Verdict(events.REJECTED, "another room has an event of this ID")
    await_release(tx, pdu.event, event_nid, room.room_nid, received_ts=now_ts)
    return Verdict(events.OUTLIER)


def _held(room: rooms.Room | None) -> rooms.Room:
    if room is None or not room.is_held:
        raise NotFound("This server is not in that room")
    return room
