"""The rooms in which this server tells its users something."""

from sqlalchemy import Column, Table, Text

from homeserver.database.tables.metadata import metadata

notice_rooms = Table(
    "notice_rooms",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
)
