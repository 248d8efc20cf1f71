"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # noqa: PLR0915 - a statement for each table and index
    """Create all tables, and the rows that must always be there."""
    op.create_table(
        "access_tokens",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=True),
        sa.Column("refresh_hash", sa.LargeBinary(), nullable=True),
        sa.Column("replaces_hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_access_tokens")),
    )
    op.create_index(
        "ix_access_tokens_user_id_device_id", "access_tokens", ["user_id", "device_id"], unique=False
    )
    op.create_table(
        "account_data",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "room_id", "type", name=op.f("pk_account_data")),
    )
    op.create_index("ix_account_data_position", "account_data", ["position"], unique=False)
    op.create_index("ix_account_data_user_id_position", "account_data", ["user_id", "position"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_aliases")),
    )
    op.create_index("ix_aliases_room_id", "aliases", ["room_id"], unique=False)
    op.create_table(
        "client_transactions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", "request", name=op.f("pk_client_transactions")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_client_transactions_created_ts", "client_transactions", ["created_ts"], unique=False)
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "device_presence",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("presence", sa.Text(), nullable=False),
        sa.Column("last_active_ts", sa.BigInteger(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.Column("changes_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", name=op.f("pk_device_presence")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_presence_changes_ts", "device_presence", ["changes_ts"], unique=False)
    op.create_table(
        "devices",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ts", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_ip", sa.Text(), nullable=True),
        sa.Column("last_seen_user_agent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", "device_id", name=op.f("pk_devices")),
    )
    op.create_table(
        "events",
        sa.Column(
            "event_nid",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("room_nid", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.Column("origin_server_ts", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state_key", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("membership", sa.Text(), nullable=True),
        sa.Column("state_root", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("notify", sa.SmallInteger(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("redacted_by", sa.Text(), nullable=True),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("txn_id", sa.Text(), nullable=True),
        sa.Column("replaces_nid", sa.BigInteger(), nullable=True),
        sa.Column("pdu", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_nid", name=op.f("pk_events")),
        sa.UniqueConstraint("event_id", name=op.f("uq_events_event_id")),
    )
    op.create_index(
        "ix_events_membership",
        "events",
        ["room_nid", "state_key", "position"],
        unique=False,
        sqlite_where=sa.text("membership IS NOT NULL"),
        postgresql_where=sa.text("membership IS NOT NULL"),
    )
    op.create_index("ix_events_position", "events", ["position"], unique=False)
    op.create_index(
        "ix_events_room_nid_origin_server_ts", "events", ["room_nid", "origin_server_ts"], unique=False
    )
    op.create_index("ix_events_room_nid_position", "events", ["room_nid", "position"], unique=False)
    op.create_table(
        "filters",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("filter_id", sa.Text(), nullable=False),
        sa.Column("filter", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "filter_id", name=op.f("pk_filters")),
    )
    op.create_table(
        "login_tokens",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_login_tokens")),
    )
    op.create_index("ix_login_tokens_expires_ts", "login_tokens", ["expires_ts"], unique=False)
    op.create_index("ix_login_tokens_user_id", "login_tokens", ["user_id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("membership", sa.Text(), nullable=False),
        sa.Column("event_nid", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("since_position", sa.BigInteger(), nullable=False),
        sa.Column("was_joined", sa.SmallInteger(), nullable=False),
        sa.Column("forgotten", sa.SmallInteger(), nullable=False),
        sa.Column("is_local", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "user_id", name=op.f("pk_memberships")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_memberships_room_nid_membership", "memberships", ["room_nid", "membership"], unique=False
    )
    op.create_index("ix_memberships_user_id", "memberships", ["user_id", "membership"], unique=False)
    op.create_table(
        "presence",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("presence", sa.Text(), nullable=False),
        sa.Column("status_msg", sa.Text(), nullable=True),
        sa.Column("last_active_ts", sa.BigInteger(), nullable=False),
        sa.Column("currently_active", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_presence")),
    )
    op.create_index("ix_presence_position", "presence", ["position"], unique=False)
    op.create_table(
        "profiles",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "field", name=op.f("pk_profiles")),
    )
    op.create_table(
        "push_outcomes",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("notify", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "room_nid", "position", name=op.f("pk_push_outcomes")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_push_outcomes_position", "push_outcomes", ["position"], unique=False)
    op.create_table(
        "push_rules",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("rules", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_push_rules")),
    )
    op.create_index("ix_push_rules_position", "push_rules", ["position"], unique=False)
    op.create_table(
        "receipts",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("receipt_type", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_position", sa.BigInteger(), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "user_id", "receipt_type", "thread_id", name=op.f("pk_receipts")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_receipts_position", "receipts", ["position"], unique=False)
    op.create_index("ix_receipts_room_nid_position", "receipts", ["room_nid", "position"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("family_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("replaces_hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_refresh_tokens")),
    )
    op.create_index("ix_refresh_tokens_family_hash", "refresh_tokens", ["family_hash"], unique=False)
    op.create_index(
        "ix_refresh_tokens_user_id_device_id", "refresh_tokens", ["user_id", "device_id"], unique=False
    )
    op.create_table(
        "registration_nonces",
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_registration_nonces")),
    )
    op.create_index("ix_registration_nonces_expires_ts", "registration_nonces", ["expires_ts"], unique=False)
    op.create_table(
        "registration_tokens",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("uses_allowed", sa.BigInteger(), nullable=True),
        sa.Column("completed", sa.BigInteger(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_registration_tokens")),
    )
    op.create_table(
        "room_purges",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("due_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", name=op.f("pk_room_purges")),
    )
    op.create_index("ix_room_purges_due_ts", "room_purges", ["due_ts"], unique=False)
    op.create_table(
        "room_states",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state_root", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "position", name=op.f("pk_room_states")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rooms",
        sa.Column(
            "room_nid",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("state_root", sa.BigInteger(), nullable=False),
        sa.Column("forward_extremities", sa.LargeBinary(), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.Column("joined_members", sa.BigInteger(), nullable=False),
        sa.Column("invited_members", sa.BigInteger(), nullable=False),
        sa.Column("state_position", sa.BigInteger(), nullable=False),
        sa.Column("is_public", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", name=op.f("pk_rooms")),
        sa.UniqueConstraint("room_id", name=op.f("uq_rooms_room_id")),
    )
    op.create_index("ix_rooms_is_public", "rooms", ["is_public"], unique=False)
    op.create_table(
        "state_keys",
        sa.Column(
            "key_nid",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key_nid", name=op.f("pk_state_keys")),
    )
    op.create_index("uq_state_keys_type_state_key", "state_keys", ["type", "state_key"], unique=True)
    op.create_table(
        "state_nodes",
        sa.Column(
            "node_nid",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("room_nid", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("node_nid", name=op.f("pk_state_nodes")),
    )
    op.create_index("ix_state_nodes_room_nid", "state_nodes", ["room_nid"], unique=False)
    op.create_table(
        "stream",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("receipts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("typing", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("presence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("account_data", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("memberships", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("device_lists", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("to_device", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stream")),
    )
    op.create_table(
        "typing",
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_nid", "user_id", name=op.f("pk_typing")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_typing_expires_ts", "typing", ["expires_ts"], unique=False)
    op.create_index("ix_typing_position", "typing", ["position"], unique=False)
    op.create_table(
        "uia_sessions",
        sa.Column("session_hash", sa.LargeBinary(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("request_mac", sa.LargeBinary(), nullable=False),
        sa.Column("completed", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.Column("remembered", sa.LargeBinary(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("registered_user_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("pk_uia_sessions")),
    )
    op.create_index("ix_uia_sessions_expires_ts", "uia_sessions", ["expires_ts"], unique=False)
    op.create_index("ix_uia_sessions_user_id", "uia_sessions", ["user_id"], unique=False)
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("is_admin", sa.SmallInteger(), nullable=False),
        sa.Column("is_guest", sa.SmallInteger(), nullable=False),
        sa.Column("is_deactivated", sa.SmallInteger(), nullable=False),
        sa.Column("is_erased", sa.SmallInteger(), nullable=False),
        sa.Column("is_locked", sa.SmallInteger(), nullable=False),
        sa.Column("is_suspended", sa.SmallInteger(), nullable=False),
        sa.Column("is_departing", sa.SmallInteger(), nullable=False),
        sa.Column("user_type", sa.Text(), nullable=True),
        sa.Column("appservice_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
    )
    op.create_index(
        "ix_users_is_departing",
        "users",
        ["is_departing"],
        unique=False,
        sqlite_where=sa.text("is_departing = 1"),
        postgresql_where=sa.text("is_departing = 1"),
    )
    op.execute("INSERT INTO stream (id, position) VALUES (1, 0)")
    op.execute("INSERT INTO counters (name, next) VALUES ('nid', 1)")
