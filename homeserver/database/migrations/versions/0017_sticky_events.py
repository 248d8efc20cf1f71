"""Nothing: what this was kept free for has come later."""

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Nothing."""
