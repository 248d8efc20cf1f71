"""Which threads users are subscribed to."""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata

thread_subscriptions = Table(
    "thread_subscriptions",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    # The event that the thread begins with.
    Column("root_id", Text, primary_key=True),
    # 0: has been subscribed, and is no more.
    Column("subscribed", SmallInteger, nullable=False),
    # 1: by a client on its own, because of an event.
    Column("automatic", SmallInteger, nullable=False),
    # The stream's position when the user unsubscribed: events up to there subscribe to the thread no more. NULL: never.
    Column("unsubscribed_position", BigInteger),
    Column("position", BigInteger, nullable=False),
    Index("ix_thread_subscriptions_user_id_position", "user_id", "position"),
    Index("ix_thread_subscriptions_position", "position"),
    Index("ix_thread_subscriptions_room_nid", "room_nid"),
    sqlite_with_rowid=False,
)
