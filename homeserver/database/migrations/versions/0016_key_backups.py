"""Backups of room keys, and dehydrated devices."""

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Nothing yet."""
