"""The PDUs of a transaction: they are checked, and what this server can judge at once is stored; the rest is staged.

Servers of a room that is just being entered may send its events before its state has been stored: those wait.

Spec: server-server API, "Transactions" and "PDUs".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import msgspec
import structlog

from homeserver.core.errors import MatrixError
from homeserver.core.hashes import event_id_of
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import DEFAULT_ROOM_VERSION, RoomVersion, get_room_version
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.judge import Verdict
from homeserver.rooms.pdu_checks import CheckedPdu, RefusedPdu
from homeserver.rooms.persist import take_at_once
from homeserver.rooms.room_changes import RoomChanges
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.services import server_acls
from homeserver.services.federation_withdrawals import Word, weigh_word, withdraw
from homeserver.services.timely_checks import TimelyChecks
from homeserver.storage import incoming_pdus, pending_joins, room_servers, rooms
from homeserver.storage.incoming_pdus import IncomingPdu
from homeserver.storage.pending_joins import PendingJoin

MOST_EARLY: Final = 1_000
"""PDUs of a room that may wait while the room is being entered, whoever sends them."""

MOST_DOUBTED: Final = 20
"""PDUs of a room that this server is not in that may wait to be looked into."""

EARLY_MS: Final = 3_600_000
"""What is left of a join that was broken off is removed after that."""

MOST_STAGED: Final = 5_000
"""PDUs of one room and server that may wait. More are refused, but not the rest of their transaction, which is about
other rooms; when the room is done with these, what is missing before its next event is asked for."""

_NOT_THERE: Final = "This server is not in that room"
_TOO_MANY: Final = "Too many events of that room wait already"

_log = structlog.get_logger(__name__)


class Transaction(msgspec.Struct, frozen=True):
    """Who has sent it, under which ID, and when it came."""

    origin: ServerName
    txn_id: str
    received_ts: int


class Taken(msgspec.Struct, frozen=True):
    """What became of the PDUs of a transaction, and how many are staged.

    `response` is set if it had been answered before.
    """

    results: Mapping[EventID, str | None]
    staged: int = 0
    response: bytes | None = None


@attrs.frozen(eq=False)
class PduIntake:
    """Checks the PDUs of transactions; `take_rooms` then takes them in.

    `wake` is called when late ones have been staged.
    """

    database: Database
    clock: Clock
    server_name: ServerName
    checks: TimelyChecks
    wake: Callable[[], None]
    _versions: Cache[RoomID, RoomVersion] = attrs.field(factory=lambda: Cache(10_000), init=False)

    async def check(
        self, transaction: Transaction, pdus: Sequence[JsonObject]
    ) -> tuple[list[CheckedPdu], dict[EventID, str | None]]:
        """Check the PDUs; gives the good ones in order, and what is wrong with the others, as far as they have IDs.

        Those whose keys come late are staged by themselves, after the answer. Errors: StorageUnavailable.
        """
        versions = await self._versions_of({str(pdu.get("room_id")) for pdu in pdus})
        known: list[tuple[JsonObject, RoomVersion]] = []
        results: dict[EventID, str | None] = {}
        for pdu in pdus:
            version = versions.get(str(pdu.get("room_id")))
            if version is not None:
                known.append((pdu, version))
            elif (event_id := _supposed_id(pdu)) is not None:
                results[event_id] = _NOT_THERE

        async def take_late(late: Sequence[CheckedPdu]) -> None:
            taken = await self.database.write(
                take_rooms, transaction, late, self.server_name, only_stage=True
            )
            if taken.staged:
                self.wake()

        found: list[CheckedPdu] = []
        for each in await self.checks.check(known, take_late):
            if isinstance(each, CheckedPdu):
                found.append(each)
            else:
                _note_refusal(each, results)
        return found, results

    async def _versions_of(self, room_ids: set[str]) -> dict[str, RoomVersion]:
        """The versions of those of the rooms that this server knows."""
        found: dict[str, RoomVersion] = {}
        unknown: list[RoomID] = []
        for room_id in map(RoomID, room_ids):
            version = self._versions.get(room_id)
            if version is None:
                unknown.append(room_id)
            else:
                found[room_id] = version
        if unknown:
            held, supposed = await self.database.read(known_versions, unknown, now_ts=self.clock.now_ts())
            for room_id, identifier in (supposed | held).items():
                found[room_id] = get_room_version(identifier)
                if room_id in held:
                    self._versions.put(room_id, found[room_id])
        return found


def known_versions(
    tx: ReadTransaction, room_ids: Sequence[RoomID], *, now_ts: int
) -> tuple[dict[RoomID, str], dict[RoomID, str]]:
    """The versions of rooms that this server has, or had, a part in, and those that others say of further rooms."""
    known = {room_id: room for room_id in room_ids if (room := rooms.of(tx, room_id)) is not None}
    held = {room_id: room.version for room_id, room in known.items() if room.is_held}
    # What is only known from an invitation need not be true; who lets this server in is believed rather.
    told = {room_id: room.version for room_id, room in known.items() if not room.is_held}
    return held, {**told, **pending_joins.versions(tx, room_ids, now_ts=now_ts)}


def take_rooms(
    tx: WriteTransaction,
    transaction: Transaction,
    checked: Sequence[CheckedPdu],
    server_name: ServerName,
    *,
    only_stage: bool,
) -> Taken:
    """Store or stage PDUs, whatever becomes of the transaction that they came with."""
    by_room: dict[RoomID, list[CheckedPdu]] = {}
    for pdu in checked:
        by_room.setdefault(pdu.event.room_id, []).append(pdu)
    found: dict[EventID, str | None] = {}
    staged = 0
    for room_id in sorted(by_room):
        taker = _RoomTaker(tx, transaction, server_name, only_stage)
        found |= taker.take(room_id, by_room[room_id])
        staged += taker.staged
    return Taken(found, staged)


class _RoomTaker(msgspec.Struct):
    """Takes PDUs of one room of a transaction."""

    tx: WriteTransaction
    transaction: Transaction
    server_name: ServerName
    only_stage: bool
    staged: int = 0

    def take(self, room_id: RoomID, pdus: Sequence[CheckedPdu]) -> dict[EventID, str | None]:
        """Take the PDUs in their order; gives what is wrong with each."""
        tx, origin = self.tx, self.transaction.origin
        room = rooms.lock(tx, room_id)
        if room is None or not self._is_in(room):
            room, pending = self._lock_outside(room_id, room)
            if room is None or not self._is_in(room):
                return self._take_outside(room_id, room, pending, pdus)
        if not server_acls.is_allowed(tx, room, origin):
            refusal = f"{origin} may not take part in that room"
            return {pdu.event.event_id: refusal for pdu in pdus}
        changes = RoomChanges(tx, room, self.server_name)
        waiting = incoming_pdus.are_waiting(tx, room_id, now_ts=self.transaction.received_ts)
        results: dict[EventID, str | None] = {pdu.event.event_id: None for pdu in pdus}
        for index, pdu in enumerate(pdus):
            waiting = waiting or self.only_stage or self._take_at_once(changes, pdu) is None
            if waiting:
                free = MOST_STAGED - incoming_pdus.count(tx, room_id, origin)
                staged = self._stage(room_id, pdus[index:], free=free)
                results |= {each.event.event_id: _TOO_MANY for each in pdus[index + staged :]}
                break
        changes.publish()
        return results

    def _take_at_once(self, changes: RoomChanges, pdu: CheckedPdu) -> Verdict | None:
        return take_at_once(changes, pdu, received_ts=self.transaction.received_ts)

    def _is_in(self, room: rooms.Room) -> bool:
        """Whether this server is in the room."""
        return room_servers.joined(self.tx, room.room_nid, self.server_name) > 0

    def _lock_outside(
        self, room_id: RoomID, room: rooms.Room | None
    ) -> tuple[rooms.Room | None, PendingJoin | None]:
        """The room, if it is known, and the join that is going on; this server has not been in the room."""
        pending = pending_joins.lock(self.tx, room_id)
        if room is None and pending is None:
            # It may have been entered between the two looks.
            return rooms.lock(self.tx, room_id), None
        if pending is not None and pending.until_ts <= self.transaction.received_ts:
            return room, None
        return room, pending

    def _take_outside(
        self,
        room_id: RoomID,
        room: rooms.Room | None,
        pending: PendingJoin | None,
        pdus: Sequence[CheckedPdu],
    ) -> dict[EventID, str | None]:
        """Take PDUs of a room that this server is not in: what may be said there, or waits for this server."""
        now_ts = self.transaction.received_ts
        results: dict[EventID, str | None] = {pdu.event.event_id: _NOT_THERE for pdu in pdus}
        early = [
            pdu
            for pdu in pdus
            if pending is not None and pending.version == pdu.event.room_version.identifier
        ]
        if early:
            free = MOST_EARLY - incoming_pdus.count_all(self.tx, room_id)
            staged = self._stage(room_id, early, free=free, due_ts=now_ts + EARLY_MS)
            results |= {pdu.event.event_id: _TOO_MANY for pdu in early[staged:]}
            results |= {pdu.event.event_id: None for pdu in early[:staged]}
        if room is None:
            return results
        for pdu in pdus:
            if self._take_word(room, pdu, is_early=pdu in early):
                results[pdu.event.event_id] = None
        return results

    def _take_word(self, room: rooms.Room, pdu: CheckedPdu, *, is_early: bool) -> bool:
        """Whether the event says something of a user of this server; what is doubted waits to be looked into."""
        tx, now_ts = self.tx, self.transaction.received_ts
        word = weigh_word(tx, room, pdu.event, self.server_name)
        if word is Word.BELIEVED:
            return withdraw(tx, pdu, self.server_name, now_ts=now_ts)
        if word is Word.DOUBTED and not is_early:
            free = MOST_DOUBTED - incoming_pdus.count_all(tx, room.room_id)
            return self._stage(room.room_id, [pdu], free=free) > 0
        return False

    def _stage(
        self, room_id: RoomID, pdus: Sequence[CheckedPdu], *, free: int, due_ts: int | None = None
    ) -> int:
        """Stage the first of the PDUs, as far as there is `free` place; gives how many."""
        tx, transaction = self.tx, self.transaction
        first = pdus[: max(0, free)]
        for pdu in first:
            incoming_pdus.add(
                tx,
                IncomingPdu(
                    tx.new_nid(),
                    room_id,
                    pdu.event.event_id,
                    transaction.origin,
                    transaction.received_ts,
                    0,
                    pdu.signed_by,
                    pdu.data,
                ),
                due_ts=due_ts,
            )
        self.staged += len(first)
        return len(first)


def _supposed_id(pdu: JsonObject) -> EventID | None:
    """The ID of an event of an unknown room, as it would be in most rooms; None if it has none."""
    try:
        issued = pdu.get("event_id")
        return EventID(issued) if isinstance(issued, str) else event_id_of(pdu, DEFAULT_ROOM_VERSION)
    except MatrixError:
        return None


def _note_refusal(refused: RefusedPdu, results: dict[EventID, str | None]) -> None:
    _log.info("a PDU was dropped", event_id=refused.event_id, reason=refused.error.message)
    if refused.event_id is not None:
        results[refused.event_id] = refused.error.message
