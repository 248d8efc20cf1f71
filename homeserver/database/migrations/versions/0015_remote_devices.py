"""Nothing: what this was kept free for has come later."""

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Nothing."""
