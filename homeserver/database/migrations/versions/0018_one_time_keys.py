"""One-time keys in the order of upload, and when keys and signatures have last changed."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Reshape two tables that nothing has been written to, add others, and an index of who has come and gone."""
    op.drop_table("user_signatures")
    op.drop_table("one_time_keys")
    op.create_table(
        "user_signatures",
        sa.Column("signer_user_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "signer_user_id", "user_id", "public_key", "key_id", name=op.f("pk_user_signatures")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_user_signatures_user_id", "user_signatures", ["user_id"])
    op.create_index("ix_user_signatures_position", "user_signatures", ["position"])
    op.create_table(
        "one_time_keys",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", "algorithm", "key_id", name=op.f("pk_one_time_keys")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_one_time_keys_position", "one_time_keys", ["user_id", "device_id", "algorithm", "position"]
    )
    op.create_table(
        "claimed_keys",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", "algorithm", "key_id", name=op.f("pk_claimed_keys")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_claimed_keys_position", "claimed_keys", ["user_id", "device_id", "position"])
    op.create_table(
        "one_time_key_changes",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", name=op.f("pk_one_time_key_changes")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_one_time_key_changes_position", "one_time_key_changes", ["position"])
    op.create_index("ix_memberships_room_nid_since", "memberships", ["room_nid", "since_position"])
