"""Third-party identifiers, their validation, and accepted policies; what a UIA session's client was told."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the tables and the column."""
    op.create_table(
        "user_threepids",
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("validated_ts", sa.BigInteger(), nullable=False),
        sa.Column("added_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("medium", "address", name=op.f("pk_user_threepids")),
    )
    op.create_index("ix_user_threepids_user_id", "user_threepids", ["user_id"], unique=False)
    op.create_table(
        "threepid_bindings",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("id_server", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "user_id", "medium", "address", "id_server", name=op.f("pk_threepid_bindings")
        ),
    )
    op.create_table(
        "validation_sessions",
        sa.Column("session_hash", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("token_hashes", sa.LargeBinary(), nullable=False),
        sa.Column("send_attempt", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("validated_ts", sa.BigInteger(), nullable=True),
        sa.Column("next_link", sa.Text(), nullable=True),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("pk_validation_sessions")),
    )
    op.create_index("ix_validation_sessions_expires_ts", "validation_sessions", ["expires_ts"], unique=False)
    op.create_index("ix_validation_sessions_user_id", "validation_sessions", ["user_id"], unique=False)
    op.create_table(
        "accepted_policies",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("accepted_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "policy", "version", name=op.f("pk_accepted_policies")),
    )
    op.add_column("uia_sessions", sa.Column("challenge", sa.LargeBinary(), nullable=True))
