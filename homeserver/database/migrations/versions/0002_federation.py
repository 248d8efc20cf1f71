"""Other servers: their keys, what they send and are sent, and what they have to know of rooms."""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SHARDS = 8


def upgrade() -> None:
    """Add what federation needs, and fill it for the rooms that are there."""
    _extend_events()
    _create_room_tables()
    _create_server_tables()
    _extend_ephemeral()
    _number_state_keys()
    _fill_roots()
    _fill_room_servers()
    _fill_auth_graph()


def _extend_events() -> None:
    op.add_column("events", sa.Column("root_after", sa.BigInteger(), nullable=True))
    op.add_column("events", sa.Column("generation", sa.BigInteger(), nullable=True))
    op.add_column("events", sa.Column("is_outbound", sa.SmallInteger(), nullable=False, server_default="0"))
    op.create_index(
        "ix_events_is_outbound",
        "events",
        ["position"],
        unique=False,
        sqlite_where=sa.text("is_outbound = 1"),
        postgresql_where=sa.text("is_outbound = 1"),
    )
    op.create_table(
        "auth_edges",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("auth_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "auth_nid", "event_nid", name=op.f("pk_auth_edges")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_auth_edges_event_nid", "auth_edges", ["event_nid", "auth_nid"])
    op.create_table(
        "backward_extremities",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("child_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("places", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "event_id", "child_nid", name=op.f("pk_backward_extremities")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_backward_extremities_position", "backward_extremities", ["room_nid", "position"])


def _create_room_tables() -> None:
    op.add_column("rooms", sa.Column("remote_members", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "room_servers",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("joined_members", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "server_name", name=op.f("pk_room_servers")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_room_servers_server_name", "room_servers", ["server_name"], unique=False)
    op.add_column("rooms", sa.Column("is_partial", sa.SmallInteger(), nullable=False, server_default="0"))
    op.create_table(
        "partial_joins",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("join_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("join_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("servers", sa.LargeBinary(), nullable=False),
        sa.Column("begun_ts", sa.BigInteger(), nullable=False),
        sa.Column("due_ts", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("completed_position", sa.BigInteger(), nullable=True),
        sa.Column("ended_position", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("room_nid", "join_nid", name=op.f("pk_partial_joins")),
    )
    op.create_index("ix_partial_joins_due_ts", "partial_joins", ["due_ts"], unique=False)
    op.create_index("ix_partial_joins_join_nid", "partial_joins", ["join_nid"], unique=False)
    op.create_table(
        "pending_redactions",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("redaction_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "event_id", "redaction_nid", name=op.f("pk_pending_redactions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stripped_states",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "user_id", name=op.f("pk_stripped_states")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "openid_tokens",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_openid_tokens")),
    )
    op.create_index("ix_openid_tokens_expires_ts", "openid_tokens", ["expires_ts"], unique=False)


def _create_server_tables() -> None:
    op.create_table(
        "server_keys",
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("verify_key", sa.Text(), nullable=False),
        sa.Column("valid_until_ts", sa.BigInteger(), nullable=False),
        sa.Column("is_old", sa.SmallInteger(), nullable=False),
        sa.Column("fetched_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server_name", "key_id", name=op.f("pk_server_keys")),
    )
    op.create_table(
        "server_key_responses",
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("valid_until_ts", sa.BigInteger(), nullable=False),
        sa.Column("fetched_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server_name", name=op.f("pk_server_key_responses")),
    )
    op.create_table(
        "incoming_pdus",
        sa.Column(
            "pdu_nid",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("received_ts", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("due_ts", sa.BigInteger(), nullable=False),
        sa.Column("signed_by", sa.LargeBinary(), nullable=False),
        sa.Column("pdu", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pdu_nid", name=op.f("pk_incoming_pdus")),
        sa.UniqueConstraint("event_id", name=op.f("uq_incoming_pdus_event_id")),
    )
    op.create_index(
        "ix_incoming_pdus_room_id", "incoming_pdus", ["room_id", "received_ts", "pdu_nid"], unique=False
    )
    op.create_table(
        "incoming_rooms",
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("due_ts", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", name=op.f("pk_incoming_rooms")),
    )
    op.create_index("ix_incoming_rooms_due_ts", "incoming_rooms", ["due_ts"], unique=False)
    op.create_table(
        "pending_joins",
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", name=op.f("pk_pending_joins")),
    )
    op.create_table(
        "federation_transactions",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("txn_id", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("received_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin", "txn_id", name=op.f("pk_federation_transactions")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_federation_transactions_received_ts", "federation_transactions", ["received_ts"], unique=False
    )
    op.create_table(
        "destinations",
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("failing_since_ts", sa.BigInteger(), nullable=True),
        sa.Column("retry_ts", sa.BigInteger(), nullable=False),
        sa.Column("behind_from", sa.BigInteger(), nullable=True),
        sa.Column("last_success_ts", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("server_name", name=op.f("pk_destinations")),
    )
    op.create_index("ix_destinations_retry_ts", "destinations", ["retry_ts"], unique=False)
    op.create_index(
        "ix_destinations_behind_from",
        "destinations",
        ["server_name"],
        unique=False,
        sqlite_where=sa.text("behind_from IS NOT NULL"),
        postgresql_where=sa.text("behind_from IS NOT NULL"),
    )
    op.create_table(
        "outbox_shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("lease_until_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_outbox_shards")),
    )
    op.create_table(
        "outbox_processes",
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("alive_until_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder", name=op.f("pk_outbox_processes")),
    )
    for shard in range(SHARDS):
        # Nothing from before is anybody else's business.
        op.execute(
            "INSERT INTO outbox_shards (shard, position, holder, lease_until_ts) "
            f"SELECT {shard}, position, NULL, 0 FROM stream"
        )


def _extend_ephemeral() -> None:
    op.add_column("presence", sa.Column("expires_ts", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_presence_expires_ts",
        "presence",
        ["expires_ts"],
        unique=False,
        sqlite_where=sa.text("expires_ts IS NOT NULL"),
        postgresql_where=sa.text("expires_ts IS NOT NULL"),
    )
    op.create_table(
        "awaited_receipts",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("receipt_type", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("received_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "user_id", "thread_id", name=op.f("pk_awaited_receipts")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_awaited_receipts_origin", "awaited_receipts", ["origin", "received_ts"], unique=False)
    op.create_index("ix_awaited_receipts_received_ts", "awaited_receipts", ["received_ts"], unique=False)


def _number_state_keys() -> None:
    """Keys that are looked up for every event: the numbers of keys are remembered, but not that a key has none."""
    for event_type in ("m.room.policy", "m.room.server_acl"):
        op.execute(
            "INSERT INTO state_keys (key_nid, type, state_key) "
            f"SELECT next, '{event_type}', '' FROM counters WHERE name = 'nid' "
            "ON CONFLICT (type, state_key) DO NOTHING"
        )
        op.execute("UPDATE counters SET next = next + 1 WHERE name = 'nid'")


def _fill_roots() -> None:
    """The state after a state event is the room's from the event's position on: until now, rooms never forked."""
    op.execute(
        "UPDATE events SET root_after = (SELECT s.state_root FROM room_states s "
        "WHERE s.room_nid = events.room_nid AND s.position = events.position) WHERE state_key IS NOT NULL"
    )


def _fill_room_servers() -> None:
    colon = "instr(user_id, ':')" if op.get_bind().dialect.name == "sqlite" else "strpos(user_id, ':')"
    op.execute(
        "INSERT INTO room_servers (room_nid, server_name, joined_members) "
        f"SELECT room_nid, substr(user_id, {colon} + 1), count(*) FROM memberships "
        f"WHERE membership = 'join' GROUP BY room_nid, substr(user_id, {colon} + 1)"
    )


def _fill_auth_graph() -> None:
    """Who cites whom among the state events, and how high each stands; what is cited always came before."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            "SELECT event_nid, event_id, room_nid, pdu FROM events WHERE state_key IS NOT NULL "
            "ORDER BY room_nid, position"
        )
    )
    places: dict[str, tuple[int, int]] = {}
    current = None
    generations: list[dict[str, int]] = []
    edges: list[dict[str, int]] = []
    for event_nid, event_id, room_nid, pdu in rows.fetchall():
        if room_nid != current:
            current = room_nid
            places = {}
        cited = [places[auth_id] for auth_id in _auth_events(pdu) if auth_id in places]
        generation = 1 + max((place[1] for place in cited), default=-1)
        places[event_id] = event_nid, generation
        generations.append({"event_nid": event_nid, "generation": generation})
        edges += ({"room_nid": room_nid, "auth_nid": nid, "event_nid": event_nid} for nid, _ in cited)
    if generations:
        connection.execute(
            sa.text("UPDATE events SET generation = :generation WHERE event_nid = :event_nid"), generations
        )
    if edges:
        connection.execute(
            sa.text(
                "INSERT INTO auth_edges (room_nid, auth_nid, event_nid) "
                "VALUES (:room_nid, :auth_nid, :event_nid) ON CONFLICT DO NOTHING"
            ),
            edges,
        )


def _auth_events(pdu: bytes) -> Iterator[str]:
    for reference in json.loads(bytes(pdu))["auth_events"]:
        yield reference[0] if isinstance(reference, list) else reference
