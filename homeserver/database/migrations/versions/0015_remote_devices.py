"""What is followed of other servers' devices, and what they have been told of ours."""

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Nothing yet."""
