"""The OAuth 2.0 API."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the tables and the columns, empty."""
    op.create_table(
        "oauth_clients",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("metadata", sa.LargeBinary(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_oauth_clients")),
    )
    op.create_index("ix_oauth_clients_expires_ts", "oauth_clients", ["expires_ts"])
    op.create_table(
        "oauth_codes",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("code_challenge", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.Column("family_hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_oauth_codes")),
    )
    op.create_index("ix_oauth_codes_expires_ts", "oauth_codes", ["expires_ts"])
    op.create_index("ix_oauth_codes_user_id", "oauth_codes", ["user_id"])
    op.create_table(
        "oauth_device_codes",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_code", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.Column("polled_ts", sa.BigInteger(), nullable=True),
        sa.Column("interval_ms", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("is_denied", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_oauth_device_codes")),
    )
    op.create_index("ix_oauth_device_codes_user_code", "oauth_device_codes", ["user_code"], unique=True)
    op.create_index("ix_oauth_device_codes_expires_ts", "oauth_device_codes", ["expires_ts"])
    op.create_index("ix_oauth_device_codes_user_id", "oauth_device_codes", ["user_id"])
    op.create_table(
        "browser_sessions",
        sa.Column("session_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("pk_browser_sessions")),
    )
    op.create_index("ix_browser_sessions_user_id", "browser_sessions", ["user_id"])
    op.create_index("ix_browser_sessions_expires_ts", "browser_sessions", ["expires_ts"])
    op.add_column("access_tokens", sa.Column("oauth_client_id", sa.Text(), nullable=True))
    op.add_column("refresh_tokens", sa.Column("oauth_client_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_refresh_tokens_oauth_client_id",
        "refresh_tokens",
        ["oauth_client_id"],
        sqlite_where=sa.text("oauth_client_id IS NOT NULL"),
        postgresql_where=sa.text("oauth_client_id IS NOT NULL"),
    )
