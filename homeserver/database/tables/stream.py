"""The stream's row, and the counters that numbers are leased from."""

from sqlalchemy import BigInteger, Column, SmallInteger, Table, Text

from homeserver.database.kinds import Kind
from homeserver.database.tables.metadata import metadata

stream = Table(
    "stream",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    # The position of the last row of each kind: readers skip kinds with nothing new.
    *(Column(kind.value, BigInteger, nullable=False, server_default="0") for kind in Kind),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next", BigInteger, nullable=False),
)
