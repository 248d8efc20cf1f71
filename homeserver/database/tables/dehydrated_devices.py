"""Devices that wait, as data, for a client to make use of them. Spec: MSC3814."""

from sqlalchemy import Column, LargeBinary, Table, Text

from homeserver.database.tables.metadata import metadata

dehydrated_devices = Table(
    "dehydrated_devices",
    metadata,
    # One a user at most.
    Column("user_id", Text, primary_key=True),
    # It is in `devices`, too, and has keys and an inbox as any other.
    Column("device_id", Text, nullable=False),
    # JSON object, encrypted by the client.
    Column("device_data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
