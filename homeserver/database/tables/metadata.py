"""The one collection that all tables belong to; alembic compares it with the migrations."""

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Nid = BigInteger().with_variant(Integer(), "sqlite")
"""The type of a number that is a primary key by itself: in SQLite the row's own number, without an index."""
