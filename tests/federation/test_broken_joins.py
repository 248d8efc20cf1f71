"""Joins that are broken off when half of the room has been stored: nobody sees it, and nothing is left of it."""

from typing import Any, cast

import pytest
from sqlalchemy import func, select

from homeserver.core.identifiers import RoomID
from homeserver.database.statements import statement
from homeserver.database.tables.events import auth_edges, events
from homeserver.database.tables.federation import pending_joins
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.tables.state import state_nodes
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.join_remote import LEFT_OVER_MS
from homeserver.runtime.clock import SystemClock
from homeserver.services import remote_joins
from tests.api.server import Client, path_of, room_path
from tests.federation.harness import FederatedServer, Servers
from tests.federation.meetings import state_of
from tests.federation.partial_rooms import PartialRoom, check_consistent, until_whole
from tests.federation.peer import Peer

TABLES = (rooms, events, auth_edges, memberships, state_nodes, pending_joins)
COUNTS = {table.name: statement(select(func.count()).select_from(table)) for table in TABLES}


class AheadClock(SystemClock):
    """The system's clock, and what the test adds."""

    ahead_ms = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms


@pytest.fixture
def clock() -> AheadClock:
    return AheadClock()


@pytest.fixture
async def server(servers: Servers, clock: AheadClock) -> FederatedServer:
    return await servers.start(clock=clock)


async def rows(server: FederatedServer) -> dict[str, int]:
    """How many rows there are."""

    def count(tx: ReadTransaction) -> dict[str, int]:
        return {name: cast("int", tx.value(query)) for name, query in COUNTS.items()}

    return await server.running.server.database.read(count)


async def break_off(alice: Client, partial: PartialRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """Join until all but the last step has been done."""

    def stop(*_: Any, **__: Any) -> bool:
        raise RuntimeError("broken off by the test")

    with monkeypatch.context() as patched:
        patched.setattr(remote_joins, "enter", stop)
        via = [partial.room.peer.server_name]
        assert (await alice.post(path_of("join", partial.room_id), via=via)).status == 500


async def test_what_is_left_is_removed(
    server: FederatedServer, clock: AheadClock, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await server.user("alice")
    before = await rows(server)
    partial = PartialRoom.create(peer)
    partial.gate.open()
    await break_off(alice, partial, monkeypatch)
    left = await rows(server)
    assert left["events"] > before["events"]
    # None of it is to be seen.
    assert partial.room_id not in (await alice.get(path_of("joined_rooms"))).ok()["joined_rooms"]
    assert "rooms" not in await alice.sync()
    (await alice.get(room_path(partial.room_id, "state"))).error(403, "M_FORBIDDEN")
    pdu = partial.room.message("hello")
    answered = (await peer.send(server.server_name, [pdu])).ok()["pdus"]
    assert "error" in answered[partial.room.id_of(pdu)]

    purge = server.running.server.services.room_purge
    await purge.work()
    assert await rows(server) == left
    clock.ahead_ms += LEFT_OVER_MS
    await purge.work()
    assert await rows(server) == before


async def test_it_is_tried_again(
    server: FederatedServer, clock: AheadClock, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room that is there in the end is not taken for what is left of the first attempt."""
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    partial.gate.open()
    await break_off(alice, partial, monkeypatch)
    await partial.join(alice)
    clock.ahead_ms += LEFT_OVER_MS
    await server.running.server.services.room_purge.work()
    await until_whole(server, partial.room_id)
    await check_consistent(server, partial, partial.room.extremities[0])
    assert await state_of(alice, partial.room_id) == partial.room.state
    assert RoomID(partial.room_id) in (await alice.get(path_of("joined_rooms"))).ok()["joined_rooms"]


async def test_a_process_that_died_is_forgotten(
    server: FederatedServer, clock: AheadClock, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn has ended by itself; then the row of it goes, too."""
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    pending = server.running.server.services.handshakes.pending_joins

    async def die(*_: Any) -> None:
        """The end is never noted."""

    with monkeypatch.context() as patched:
        patched.setattr(type(pending), "_end", die)
        await break_off(alice, partial, monkeypatch)
    assert (await rows(server))["pending_joins"] == 1
    await pending.prune()
    assert (await rows(server))["pending_joins"] == 1
    clock.ahead_ms += LEFT_OVER_MS
    await pending.prune()
    assert (await rows(server))["pending_joins"] == 0
