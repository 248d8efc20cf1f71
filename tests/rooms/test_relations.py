"""Whatever the order in which events come: what is noted of their relations is what the events say."""

import random
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, UserID
from homeserver.core.json import decode_object
from homeserver.core.relations import relation_of
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import history, outliers
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.storage import backward_extremities, events, history_gaps, relations, rooms, threads
from homeserver.storage.redactions import NOTICE
from tests.rooms.holding import enter, receive
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, SignedRoom
from tests.storage.store import Store, sqlite_store

FAR = 2**62
REL_TYPES = ["m.replace", "m.thread", "m.reference", "m.annotation", "org.example.any"]


def converse(room: SignedRoom, draw: random.Random, size: int) -> list[Event]:
    """Events side by side, which may arrive in any order, and relate to each other and to what was before."""
    base, before = room.last, list(room.events.values())
    made: list[Event] = []
    for _ in range(size):
        sender: UserID = draw.choice([ALICE, BOB, CAROL])
        target = draw.choice(made or before)
        kind = draw.randrange(8)
        if kind == 0 and made:
            made.append(room.send("m.room.redaction", sender, {}, prev=[base], redacts=target.event_id))
            continue
        content: dict[str, Any] = {"body": "x"}
        if kind > 2:
            content["m.relates_to"] = {
                "rel_type": draw.choice(REL_TYPES),
                "event_id": target.event_id,
                "key": "k",
            }
            content["m.new_content"] = {"body": "y"}
        made.append(room.send("m.room.message", sender, content, prev=[base]))
    return made


def prepend(tx: WriteTransaction, pdu: CheckedPdu) -> None:
    room = rooms.of(tx, pdu.event.room_id)
    assert room is not None
    first = history_gaps.first_position(tx, room.room_nid)
    assert first is not None
    backward_extremities.add(tx, room.room_nid, tx.new_nid(), [pdu.event.event_id], position=first, places=0)
    assert history.fill(tx, pdu.event.room_id, first, [pdu], {}, now_ts=0)
    assert not events.placed(tx, [pdu.event.event_id])[pdu.event.event_id].is_outlier


def keep_as_outlier(tx: WriteTransaction, pdu: CheckedPdu) -> None:
    room = rooms.lock(tx, pdu.event.room_id)
    assert room is not None
    outliers.store(tx, room.room_nid, [pdu], rejected=[])


def deliver(store: Store, room: SignedRoom, draw: random.Random, made: list[Event]) -> None:
    for pdu in room.checked_at_once(*draw.sample(made, len(made))):
        if draw.random() < 0.2:
            store.write(keep_as_outlier, pdu)
        if draw.random() < 0.3:
            store.write(prepend, pdu)
        else:
            store.write(receive, pdu)


def check(tx: ReadTransaction, room: SignedRoom) -> None:
    """Every row stands for an event that is shown, every such event has its row, and threads are their sums."""
    row = rooms.of(tx, room.room_id)
    assert row is not None
    stored = events.of_ids(tx, room.events)
    expected: dict[EventID, set[tuple[EventID, str, int]]] = defaultdict(set)
    in_threads: dict[EventID, list[int]] = defaultdict(list)
    for event in stored.values():
        content: Any = decode_object(event.pdu)["content"]
        relation = relation_of(content)
        if relation is None or event.status != events.ACCEPTED or event.position is None:
            continue
        assert event.redacted_by is None
        expected[relation.event_id].add((event.event_id, relation.rel_type, event.position))
        if relation.rel_type == "m.thread":
            in_threads[relation.event_id].append(event.position)
    for event_id, event in stored.items():
        found = relations.page(
            tx, row.room_nid, event_id, after=-FAR, newest=FAR, most=1_000, order="oldest first"
        )
        assert {(each.event_id, each.rel_type, each.position) for each in found} == expected[event_id]
        bits = {relations.BITS.get(rel_type, 0) for _, rel_type, _ in expected[event_id]}
        assert event.aggregates & sum(bits) == sum(bits)
    known = threads.page(tx, row.room_nid, ALICE, newest=FAR, most=1_000)
    assert {
        thread.root_id: (thread.replies, thread.first_position, thread.last_position) for thread in known
    } == {root: (len(places), min(places), max(places)) for root, places in in_threads.items()}
    redacted = [event for event in stored.values() if event.redacted_by is not None]
    assert not any(event.notify & NOTICE for event in redacted)
    assert all(
        events.position_of(tx, event.event_id) == (event.room_nid, event.position, None) for event in redacted
    )
    ids = {event.position: event.event_id for event in stored.values()}
    senders = Counter(
        (root, stored[ids[place]].sender) for root, places in in_threads.items() for place in places
    )
    for thread in known:
        assert (thread.first_id, thread.last_id) == (ids[thread.first_position], ids[thread.last_position])
        assert thread.has_user is bool(senders[thread.root_id, ALICE])


def started(version: str) -> SignedRoom:
    room = SignedRoom.new(version)
    room.join(BOB)
    room.join(CAROL)
    room.send("m.room.power_levels", ALICE, {"users": {ALICE: 100, BOB: 50}}, "")
    room.say(BOB, "the first message")
    return room


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**9), size=st.integers(1, 25), version=st.sampled_from(["1", "10", "11"]))
def test_in_any_order(seed: int, size: int, version: str) -> None:
    draw = random.Random(seed)
    room = started(version)
    base = list(room.events.values())
    made = converse(room, draw, size)
    with sqlite_store() as store:
        store.write(enter, room, base)
        deliver(store, room, draw, made)
        store.read(check, room)


@pytest.mark.parametrize("seed", range(5))
def test_in_any_order_on_both_databases(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    room = started("10")
    base = list(room.events.values())
    made = converse(room, draw, 40)
    store.write(enter, room, base)
    deliver(store, room, draw, made)
    store.read(check, room)
