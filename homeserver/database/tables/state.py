"""Room state as a persistent trie; see docs/design.md, "Room state"."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from homeserver.database.tables.metadata import Nid, metadata

state_keys = Table(
    "state_keys",
    metadata,
    Column("key_nid", Nid, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("state_key", Text, nullable=False),
    Index("uq_state_keys_type_state_key", "type", "state_key", unique=True),
)

state_nodes = Table(
    "state_nodes",
    metadata,
    Column("node_nid", Nid, primary_key=True, autoincrement=False),
    Column("room_nid", BigInteger, nullable=False),
    # MessagePack, see core.state_trie.
    Column("node", LargeBinary, nullable=False),
    Index("ix_state_nodes_room_nid", "room_nid"),
)

room_states = Table(
    "room_states",
    metadata,
    # From `position` on, `state_root` is the room's current state.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("state_root", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
