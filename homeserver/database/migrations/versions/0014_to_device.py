"""Nothing: what this was kept free for has come later."""

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Nothing."""
