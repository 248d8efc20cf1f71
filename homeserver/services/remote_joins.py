"""Joining rooms that this server is not in. Spec: server-server API, "Joining Rooms"."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
from twisted.internet.defer import Deferred

from homeserver.clients.errors import RemoteError
from homeserver.core.errors import InvalidParam, MatrixError, Unknown
from homeserver.core.identifiers import EventID, RoomID, ServerName, parse_server_name, server_of
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.rooms.arrivals import Arrival, Given, weigh
from homeserver.rooms.join_remote import begin, enter, store_members, store_part, store_state
from homeserver.rooms.membership_events import Wanted
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks
from homeserver.rooms.receive import Receiver
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.admissions import admit
from homeserver.services.pending_joins import PendingJoins
from homeserver.services.remote_handshakes import Made, RemoteHandshakes

T = TypeVar("T")

PATIENCE_MS: Final = 120_000
"""How long the answer to the join may take: it holds the whole state of the room."""

MOST_BYTES: Final = 100 * 1024 * 1024
"""Of that answer; a member takes about a kilobyte."""

EVENTS_AT_ONCE: Final = 250
"""Events that are stored in one transaction, during which others wait."""

MEMBERS_AT_ONCE: Final = 1_000

MOST_SERVERS: Final = 10_000
"""Servers that a room without its members may have."""

WHOLE_MS: Final = 400
"""For so long the answer to the client waits for the members, should they have been left out: of most rooms they come
at once, and then nobody has to do without."""

FEW_SERVERS: Final = 20
"""A room of more servers has so many members that one would wait in vain."""

_OMITTING: Final = {"omit_members": "true"}

_VITAL: Final = frozenset({"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.server_acl"})

_log = structlog.get_logger(__name__)


class Completing(Protocol):
    """What fetches the members that were left out."""

    def wake(self) -> None:
        """There is a room without its members."""
        ...

    async def wait(self, room_id: RoomID, *, most_ms: int) -> bool:
        """Wait until the room's members are there; whether they are."""
        ...


class RemoteJoins(msgspec.Struct, frozen=True, eq=False):
    """Enters rooms by way of servers that are in them; users who join the same room wait for each other."""

    database: Database
    handshakes: RemoteHandshakes
    checks: PduChecks
    receiver: Receiver
    workers: WorkerPool
    pending: PendingJoins
    completion: Completing

    async def join(self, room_id: RoomID, wanted: Wanted, servers: Iterable[ServerName]) -> bool:
        """Join by way of one of the servers; goes on if the client loses patience.

        False, and nothing is done, if this server is in the room meanwhile: then the user joins as in any other.
        Errors: Forbidden, NotFound, IncompatibleRoomVersion as the servers say; Unknown (502); BadJson,
        TooLarge for the content.
        """
        outcome: Deferred[bool] = Deferred()
        running = Deferred.fromCoroutine(self._join(room_id, wanted, [*servers]))
        running.addCallbacks(outcome.callback, outcome.errback)
        return await _undisturbed(outcome)

    async def _join(self, room_id: RoomID, wanted: Wanted, servers: Sequence[ServerName]) -> bool:
        without_members: Sequence[ServerName] | None = None

        async def attempt(server_name: ServerName) -> Arrival:
            made = await self.handshakes.make(server_name, room_id, wanted)
            await self.pending.expect(room_id, made.event.room_version)
            answer = await self.handshakes.send(
                made, _OMITTING, most_bytes=MOST_BYTES, patience_ms=PATIENCE_MS
            )
            return await self._arrival(made, answer)

        async def enter_it() -> bool:
            nonlocal without_members
            arrival = await self.handshakes.try_each(servers, attempt)
            without_members = arrival.servers
            return await self._store(arrival)

        is_entered = await self.pending.alone(room_id, enter_it)
        if without_members is not None:
            self.completion.wake()
            if len(without_members) <= FEW_SERVERS:
                await self.completion.wait(room_id, most_ms=WHOLE_MS)
        return is_entered

    async def join_beside(self, room_id: RoomID, wanted: Wanted, servers: Iterable[ServerName]) -> None:
        """Join a room that this server is in, but none of whose users here can vouch for the one who joins.

        Errors: as `join`; Forbidden if the room does not admit the user after all.
        """

        async def attempt(server_name: ServerName) -> tuple[Made, JsonObject]:
            made = await self.handshakes.make(server_name, room_id, wanted)
            answer = await self.handshakes.send(
                made, _OMITTING, most_bytes=MOST_BYTES, patience_ms=PATIENCE_MS
            )
            return made, answer

        made, answer = await self.handshakes.try_each(servers, attempt)
        join = _signed_join(made, answer.get("event"))
        (checked,) = await self.checks.check([join], made.event.room_version)
        if not isinstance(checked, CheckedPdu):
            raise Unknown("The other server has not signed the join properly", status=502)
        await admit(self.receiver, checked, origin=made.through, is_outbound=False)

    async def _arrival(self, made: Made, answer: JsonObject) -> Arrival:
        """The room, as far as what the server gave can be relied on. Errors: RemoteError."""
        state, chain = _pdus(answer.get("state")), _pdus(answer.get("auth_chain"))
        join = _signed_join(made, answer.get("event"))
        version = made.event.room_version
        # What is wrong counts as not given: whether the room stands without it is seen then.
        checked = await self.checks.check([join, *state, *chain], version)
        passed = [each if isinstance(each, CheckedPdu) else None for each in checked]
        if (own := passed[0]) is None:
            raise RemoteError(made.through, "the join came back without its signatures", transient=False)
        _check_vital(made, state, passed[1:])
        given = Given(
            made.event.room_id,
            own,
            [pdu for pdu in passed[1 : len(state) + 1] if pdu is not None],
            [pdu for pdu in passed[len(state) + 1 :] if pdu is not None],
            _servers_without_members(made, answer),
        )
        try:
            return await self.workers.run(weigh, given)
        except MatrixError as error:
            message = f"a room that cannot be entered: {error.message}"
            raise RemoteError(made.through, message, transient=False) from error

    async def _store(self, arrival: Arrival) -> bool:
        own, now_ts = self.handshakes.signer.server_name, self.handshakes.clock.now_ts()
        database = self.database
        place = await database.write(begin, arrival, own, now_ts=now_ts)
        if place is None:
            return False
        room_nid, position = place
        numbers: dict[EventID, int] = {}
        for pdus in _parts(arrival.pdus, EVENTS_AT_ONCE):
            numbers |= await database.write(store_part, arrival.room_id, room_nid, pdus, arrival.rejected)
        root = await database.write(store_state, room_nid, arrival, numbers)
        remote = [event for user_id, event in arrival.members().items() if server_of(user_id) != own]
        for members in _parts(remote, MEMBERS_AT_ONCE):
            await database.write(store_members, place, members, numbers, own)
        return await database.write(enter, arrival, root, numbers, own, position=position, now_ts=now_ts)


def _check_vital(made: Made, state: Sequence[JsonObject], passed: Sequence[CheckedPdu | None]) -> None:
    """A room is not entered without what decides who may do what, only because some server's key cannot be had.

    Errors: RemoteError.
    """
    for pdu, checked in zip(state, passed, strict=False):
        if checked is None and pdu.get("type") in _VITAL and pdu.get("state_key") == "":
            message = f"the room's {pdu['type']} cannot be verified"
            raise RemoteError(made.through, message, transient=True)


def _servers_without_members(made: Made, answer: JsonObject) -> tuple[ServerName, ...] | None:
    """The servers in the room, first the one that answered; None if it has left out nobody. Errors: RemoteError."""
    if answer.get("members_omitted") is not True:
        return None
    listed = answer.get("servers_in_room")
    if not isinstance(listed, list) or len(listed) > MOST_SERVERS:
        message = "a room without its members, and no word of who is in it"
        raise RemoteError(made.through, message, transient=False)
    own = server_of(made.event.sender)
    names: list[ServerName] = [made.through]
    for name in listed:
        try:
            names.append(parse_server_name(str(name)))
        except InvalidParam:
            continue
    return tuple(name for name in dict.fromkeys(names) if name != own)


def _pdus(listed: JsonValue) -> list[JsonObject]:
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _signed_join(made: Made, answer: JsonValue) -> JsonObject:
    """Our event with the other server's signature, of whose copy nothing else is used."""
    signatures = answer.get("signatures") if isinstance(answer, dict) else None
    theirs = signatures.get(made.through) if isinstance(signatures, dict) else None
    own = made.event.pdu["signatures"]
    if not isinstance(theirs, dict) or not isinstance(own, dict):
        return made.event.pdu
    return {**made.event.pdu, "signatures": {**own, made.through: theirs}}


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


async def _undisturbed(outcome: Deferred[T]) -> T:
    return await outcome
