"""Relations: the latest edit, and that what is read does not grow with the number of children."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.core.identifiers import EventID, UserID
from homeserver.database.tables.events import events as table
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import events, relations, threads
from tests.storage.store import Store

ROOM, OTHER_ROOM = 1, 2
ALICE, BOB = UserID("@alice:x"), UserID("@bob:x")
MESSAGE, ENCRYPTED = "m.room.message", "m.room.encrypted"
ORIGINAL = EventID("$original")
FAR = 2**62

OF_SENDERS = {"edits", "latest edits", "annotated", "related", "related by sender", "thread", "threads"}
"""Questions about the children of one sender."""


def add_event(tx: WriteTransaction, event_id: str, nid: int, **options: Any) -> None:
    row: dict[str, Any] = dict.fromkeys(table.columns.keys())
    row |= {"event_nid": nid, "event_id": event_id, "room_nid": ROOM, "position": nid, "depth": 1}
    row |= {"origin_server_ts": 1, "type": MESSAGE, "sender": ALICE, "is_outbound": 0, "status": 0}
    row |= {"notify": 0, "aggregates": 0, "pdu": b"{}"}
    tx.execute(events.INSERT, **row | options)


def child(position: int, event_id: str, **options: Any) -> dict[str, Any]:
    row = {"room_nid": ROOM, "parent_id": ORIGINAL, "rel_type": "m.replace", "position": position}
    row |= {"event_id": event_id, "type": MESSAGE, "sender": ALICE, "origin_server_ts": position}
    return row | {"is_sound": 1, "annotation_key": None} | options


edits = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.text("AZaz09-_", min_size=1, max_size=3).map("${}".format),
            "origin_server_ts": st.integers(0, 3),
            "sender": st.sampled_from([ALICE, ALICE, ALICE, BOB]),
            "type": st.sampled_from([MESSAGE, MESSAGE, MESSAGE, ENCRYPTED]),
            "is_sound": st.sampled_from([1, 1, 1, 0]),
            "room_nid": st.sampled_from([ROOM, ROOM, ROOM, OTHER_ROOM]),
            "rel_type": st.sampled_from(["m.replace", "m.replace", "m.replace", "m.reference"]),
        }
    ),
    unique_by=lambda edit: edit["event_id"],
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits, st.integers(0, 12))
def test_the_latest_edit(store: Store, made: list[dict[str, Any]], newest: int) -> None:
    """By `origin_server_ts`, then by the event ID's bytes, whatever the order of arrival."""
    store.cursor.execute("BEGIN")
    try:
        tx = store.transaction()
        add_event(tx, ORIGINAL, 1)
        for position, edit in enumerate(made, 1):
            tx.execute(relations.INSERT, **child(position, **edit))
        valid = [
            (edit["origin_server_ts"], edit["event_id"].encode())
            for position, edit in enumerate(made, 1)
            if position <= newest
            and edit["sender"] == ALICE
            and edit["type"] == MESSAGE
            and edit["is_sound"]
            and edit["room_nid"] == ROOM
            and edit["rel_type"] == "m.replace"
        ]
        in_order = [event_id.decode() for _, event_id in sorted(valid, reverse=True)]
        latest = relations.latest_edits(tx, ROOM, [1], newest=newest)
        assert latest == ({ORIGINAL: in_order[0]} if in_order else {})
        found = relations.edits(tx, ROOM, ORIGINAL, sender=ALICE, type=MESSAGE, newest=newest, most=5)
        assert found == in_order[:5]
    finally:
        store.cursor.execute("ROLLBACK")


def test_what_is_there_before_its_parent(tx: WriteTransaction) -> None:
    rel_types = ["m.replace", "m.thread", "m.thread", "m.annotation", "org.example"]
    for position, rel_type in enumerate(rel_types, 1):
        tx.execute(relations.INSERT, **child(position, f"${position}", rel_type=rel_type))
    tx.execute(relations.INSERT, **child(9, "$9", rel_type="m.reference", room_nid=OTHER_ROOM))
    bits = relations.BITS["m.replace"] | relations.BITS["m.thread"]
    assert relations.bits_of(tx, ROOM, [ORIGINAL, "$unknown"]) == {ORIGINAL: bits}
    add_event(tx, ORIGINAL, 1)
    for _ in range(2):
        relations.set_bits(tx, ROOM, ORIGINAL, bits)
        stored = events.of(tx, ORIGINAL)
        assert stored is not None
        assert stored.aggregates == bits
    relations.set_bits(tx, OTHER_ROOM, ORIGINAL, relations.BITS["m.reference"])
    stored = events.of(tx, ORIGINAL)
    assert stored is not None
    assert stored.aggregates == bits


def test_children_are_read_by_an_index(store: Store) -> None:
    """Not by looking through all of them, nor by sorting them."""
    if store.backend != "sqlite":
        pytest.skip("PostgreSQL plans by statistics")
    queries = {
        "page": relations.PAGES["newest first", False, False],
        "of a relation type": relations.PAGES["newest first", True, False],
        "edits": relations.EDITS,
        "latest edits": relations.LATEST_EDITS,
        "annotated": relations.ANNOTATED,
        "related": relations.RELATED[True, True],
        "related by type": relations.RELATED[True, False],
        "related by sender": relations.RELATED[False, True],
        "thread": threads.OF,
        "threads": threads.PAGE,
    }
    names = (
        "room_nid",
        "parent_id",
        "rel_type",
        "after",
        "newest",
        "most",
        "sender",
        "type",
        "annotation_key",
    )
    params: dict[str, Any] = dict.fromkeys(names, 1)
    params |= {"user_id": 1, "root_ids": ["a"], "event_nids": [1], "rel_types": ["a"], "senders": ["a"]}
    for name, query in queries.items():
        compiled = query.compiled("sqlite")
        store.cursor.execute("EXPLAIN QUERY PLAN " + compiled.sql, compiled.parameters(params))
        plan = "\n".join(row[3] for row in store.cursor.fetchall())
        assert "SCAN relations" not in plan, (name, plan)
        assert "SCAN events" not in plan, (name, plan)
        assert "TEMP B-TREE FOR ORDER BY" not in plan, (name, plan)
        assert ("ix_relations_sender" in plan) is (name in OF_SENDERS), (name, plan)
