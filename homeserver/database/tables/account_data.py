"""What users keep about themselves: account data, push rules, filters."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from homeserver.database.tables.metadata import metadata

account_data = Table(
    "account_data",
    metadata,
    Column("user_id", Text, primary_key=True),
    # Empty: global account data.
    Column("room_id", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("ix_account_data_user_id_position", "user_id", "position"),
    Index("ix_account_data_position", "position"),
)

push_rules = Table(
    "push_rules",
    metadata,
    # A row only for users that changed something.
    Column("user_id", Text, primary_key=True),
    # JSON of the user's own rules and of the changes to the predefined ones.
    Column("rules", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("ix_push_rules_position", "position"),
)

filters = Table(
    "filters",
    metadata,
    Column("user_id", Text, primary_key=True),
    # Made from the filter's content, so the same filter gets the same id.
    Column("filter_id", Text, primary_key=True),
    Column("filter", LargeBinary, nullable=False),
)
