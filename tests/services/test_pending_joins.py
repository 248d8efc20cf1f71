"""Whose turn it is to enter a room, on both databases."""

import pytest

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.database.transactions import WriteTransaction
from homeserver.services.pending_joins import LEASE_MS, _Turn, claim, end, expect
from homeserver.storage import incoming_pdus, pending_joins
from homeserver.storage.incoming_pdus import IncomingPdu
from tests.rooms.holding import US, enter
from tests.rooms.signed_rooms import ALICE, SignedRoom
from tests.storage.conftest import store
from tests.storage.store import Store

__all__ = ["store"]

ROOM = RoomID("!room:b.example")
B = ServerName("b.example")


def ask(tx: WriteTransaction, holder: str, now_ts: int, room_id: RoomID = ROOM) -> _Turn:
    return claim(tx, room_id, holder, US, now_ts=now_ts, until_ts=now_ts + LEASE_MS)


def wait(tx: WriteTransaction, event_id: str = "$early") -> None:
    """Have an event wait."""
    pdu = IncomingPdu(tx.new_nid(), ROOM, EventID(event_id), B, 1, 0, frozenset([B]), b"{}")
    incoming_pdus.add(tx, pdu, due_ts=10_000_000)


def test_one_is_at_it_until_it_ends(store: Store) -> None:
    assert store.write(ask, "one", 1) is _Turn.OURS
    assert store.write(ask, "two", LEASE_MS) is _Turn.OTHERS
    store.write(pending_joins.keep, [ROOM], "one", until_ts=3 * LEASE_MS)
    assert store.write(ask, "two", 2 * LEASE_MS) is _Turn.OTHERS
    # What another says about it does not count.
    store.write(end, ROOM, "two", US)
    assert store.write(ask, "two", 2 * LEASE_MS) is _Turn.OTHERS
    store.write(end, ROOM, "one", US)
    assert store.write(ask, "two", 2 * LEASE_MS) is _Turn.OURS


def test_who_falls_silent_loses_it_and_what_waits(store: Store) -> None:
    assert store.write(ask, "one", 1) is _Turn.OURS
    assert store.write(expect, ROOM, "one", "11")
    store.write(wait)
    assert store.write(ask, "two", 1 + LEASE_MS) is _Turn.OURS
    assert store.read(incoming_pdus.count_all, ROOM) == 0
    assert store.read(pending_joins.versions, [ROOM], now_ts=1 + LEASE_MS) == {}
    assert not store.write(expect, ROOM, "one", "11")
    store.write(end, ROOM, "one", US)
    assert store.write(ask, "three", 2 + LEASE_MS) is _Turn.OTHERS


def test_a_version_holds_until_another_is_told(store: Store) -> None:
    """In old versions events choose their IDs: one that was checked as such a one must not pass for another."""
    store.write(ask, "one", 1)
    assert store.read(pending_joins.versions, [ROOM], now_ts=1) == {}
    assert store.write(expect, ROOM, "one", "2")
    assert store.read(pending_joins.versions, [ROOM], now_ts=1) == {ROOM: "2"}
    assert store.read(pending_joins.versions, [ROOM], now_ts=1 + LEASE_MS) == {}
    store.write(wait)
    assert store.write(expect, ROOM, "one", "2")
    assert store.read(incoming_pdus.count_all, ROOM) == 1
    assert store.write(expect, ROOM, "one", "11")
    assert store.read(incoming_pdus.count_all, ROOM) == 0


def test_nothing_waits_when_it_has_failed(store: Store) -> None:
    store.write(ask, "one", 1)
    store.write(expect, ROOM, "one", "11")
    store.write(wait)
    store.write(end, ROOM, "one", US)
    assert store.read(incoming_pdus.count_all, ROOM) == 0
    assert store.write(incoming_pdus.claim, now_ts=20_000_000, until_ts=30_000_000) is None


@pytest.mark.parametrize("version", ["1", "11"])
def test_a_room_that_this_server_is_in_is_not_entered(store: Store, version: str) -> None:
    room = SignedRoom.new(version, creator=ALICE)
    store.write(enter, room, room.events.values())
    assert store.write(ask, "one", 1, room.room_id) is _Turn.ENTERED
