"""Search finds events by their edits: what there is is looked at once more."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Have the index begin anew; what it has stays."""
    op.execute("DELETE FROM search_progress")
