"""Events that are to be sent later. Spec: MSC4140."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from homeserver.database.tables.metadata import metadata, partial_index

delayed_events = Table(
    "delayed_events",
    metadata,
    Column("delay_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("room_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    # NULL: a message event.
    Column("state_key", Text),
    # JSON object.
    Column("content", LargeBinary, nullable=False),
    Column("delay_ms", BigInteger, nullable=False),
    # When the delay has begun, last.
    Column("since_ts", BigInteger, nullable=False),
    # When it is to be sent. NULL: that is over.
    Column("due_ts", BigInteger),
    # While a process is at it, no other one takes over before.
    Column("leased_until_ts", BigInteger, nullable=False),
    # When it was sent, cancelled or given up.
    Column("finalised_ts", BigInteger),
    # What it was sent as.
    Column("event_id", Text),
    # JSON object: why it could not be sent.
    Column("error", LargeBinary),
    # For how long it will stick, see tables.sticky_events. NULL: not at all.
    Column("sticky_duration_ms", BigInteger),
    partial_index("ix_delayed_events_due_ts", "due_ts", where="due_ts IS NOT NULL"),
    Index("ix_delayed_events_user_id_due_ts", "user_id", "due_ts"),
    partial_index("ix_delayed_events_finalised_ts", "finalised_ts", where="finalised_ts IS NOT NULL"),
    partial_index(
        "ix_delayed_events_user_id_finalised_ts",
        "user_id",
        "finalised_ts",
        where="finalised_ts IS NOT NULL",
    ),
)
