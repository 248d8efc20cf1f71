"""What users report to the administrators."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from homeserver.database.tables.metadata import Nid, metadata

reports = Table(
    "reports",
    metadata,
    Column("report_nid", Nid, primary_key=True, autoincrement=False),
    Column("received_ts", BigInteger, nullable=False),
    Column("reporter", Text, nullable=False),
    # NULL: a user is reported.
    Column("room_id", Text),
    # NULL: a room or a user is reported.
    Column("event_id", Text),
    # Who is reported, or has sent the event; NULL: a room is reported.
    Column("user_id", Text),
    Column("reason", Text, nullable=False),
    Index("ix_reports_received_ts", "received_ts"),
)
