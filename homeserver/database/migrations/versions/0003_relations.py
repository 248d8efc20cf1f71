"""Relations between events: edits, reactions, threads, references."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

AT_ONCE = 2_000
BITS = {"m.replace": 1, "m.thread": 2, "m.reference": 4}


def upgrade() -> None:
    """Add the tables, and fill them with what the events that are there say."""
    op.add_column("events", sa.Column("aggregates", sa.SmallInteger(), nullable=False, server_default="0"))
    op.create_table(
        "relations",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("rel_type", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("origin_server_ts", sa.BigInteger(), nullable=False),
        sa.Column("is_sound", sa.SmallInteger(), nullable=False),
        sa.Column("annotation_key", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("room_nid", "parent_id", "rel_type", "position", name=op.f("pk_relations")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "threads",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root_id", sa.Text(), nullable=False),
        sa.Column("replies", sa.BigInteger(), nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "root_id", name=op.f("pk_threads")),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    for rows in _events_with_relations(connection):
        relations = [relation for row in rows for relation in _relations(row)]
        if relations:
            connection.execute(INSERT, relations)
    op.create_index("ix_relations_position", "relations", ["room_nid", "parent_id", "position"])
    op.create_index(
        "ix_relations_sender",
        "relations",
        ["room_nid", "parent_id", "sender", "rel_type", "origin_server_ts"],
    )
    op.execute(
        "INSERT INTO threads (room_nid, root_id, replies, first_position, last_position) "
        "SELECT room_nid, parent_id, count(*), min(position), max(position) FROM relations "
        "WHERE rel_type = 'm.thread' GROUP BY room_nid, parent_id"
    )
    op.create_index("ix_threads_last_position", "threads", ["room_nid", "last_position"])
    for rel_type, bit in BITS.items():
        op.execute(
            f"UPDATE events SET aggregates = aggregates + {bit} "
            f"WHERE event_id IN (SELECT parent_id FROM relations WHERE rel_type = '{rel_type}') "
            "AND EXISTS (SELECT 1 FROM relations r WHERE r.room_nid = events.room_nid "
            f"AND r.parent_id = events.event_id AND r.rel_type = '{rel_type}')"
        )


INSERT = sa.text(
    "INSERT INTO relations (room_nid, parent_id, rel_type, position, event_id, type, sender, origin_server_ts, "
    "is_sound, annotation_key) VALUES (:room_nid, :parent_id, :rel_type, :position, :event_id, :type, :sender, "
    ":origin_server_ts, :is_sound, :annotation_key) ON CONFLICT DO NOTHING"
)


def _events_with_relations(connection: sa.Connection) -> Iterator[Sequence[sa.Row[Any]]]:
    """The events that clients see and that may have a relation, a part at a time."""
    if connection.dialect.name == "sqlite":
        has_relation = "instr(pdu, CAST('\"m.relates_to\"' AS BLOB)) > 0"
    else:
        has_relation = "position('\"m.relates_to\"'::bytea IN pdu) > 0"
    query = sa.text(
        "SELECT event_nid, event_id, room_nid, position, type, state_key, sender, origin_server_ts, pdu FROM events "
        f"WHERE event_nid > :after AND event_nid <= :upto AND position IS NOT NULL AND status = 0 AND {has_relation}"
    )
    next_nids = sa.text(
        "SELECT max(event_nid) FROM "
        "(SELECT event_nid FROM events WHERE event_nid > :after ORDER BY event_nid LIMIT :most) AS part"
    )
    after = -1
    while (upto := connection.execute(next_nids, {"after": after, "most": AT_ONCE}).scalar()) is not None:
        yield connection.execute(query, {"after": after, "upto": upto}).fetchall()
        after = upto


def _relations(row: sa.Row[Any]) -> Iterator[dict[str, object]]:
    """The row of the event's relation, if it has one."""
    content = json.loads(bytes(row.pdu))["content"]
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return
    rel_type, parent_id, key = (relates_to.get(name) for name in ("rel_type", "event_id", "key"))
    if not _is_storable(rel_type) or not _is_storable(parent_id) or not str(parent_id).startswith("$"):
        return
    sound = rel_type != "m.replace" or (
        row.state_key is None
        and (row.type == "m.room.encrypted" or isinstance(content.get("m.new_content"), dict))
    )
    yield {
        "room_nid": row.room_nid,
        "parent_id": parent_id,
        "rel_type": rel_type,
        "position": row.position,
        "event_id": row.event_id,
        "type": row.type,
        "sender": row.sender,
        "origin_server_ts": row.origin_server_ts,
        "is_sound": int(sound),
        "annotation_key": _digest(key) if rel_type == "m.annotation" and isinstance(key, str) else None,
    }


def _is_storable(text: object) -> bool:
    return isinstance(text, str) and len(text) <= 255 and "\0" not in text


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:16]
