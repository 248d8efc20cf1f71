"""Rooms, their aliases and who is in them."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import Nid, metadata, partial_index

rooms = Table(
    "rooms",
    metadata,
    Column("room_nid", Nid, primary_key=True, autoincrement=False),
    Column("room_id", Text, nullable=False, unique=True),
    Column("version", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    # Root of the current state: the resolved state after the forward extremities.
    Column("state_root", BigInteger, nullable=False),
    # JSON array of [event_id, depth] pairs.
    Column("forward_extremities", LargeBinary, nullable=False),
    # Position of the newest event.
    Column("last_position", BigInteger, nullable=False),
    # Position of the newest event that counts as activity (see core.room_activity); 0: there has been none yet.
    Column("bump_position", BigInteger, nullable=False, server_default="0"),
    Column("joined_members", BigInteger, nullable=False),
    Column("invited_members", BigInteger, nullable=False),
    # Those of the joined members that are users of other servers.
    Column("remote_members", BigInteger, nullable=False, server_default="0"),
    # Position of the newest event that changed the memberships or anything else of the state.
    Column("state_position", BigInteger, nullable=False),
    # 1: listed in the public room directory.
    Column("is_public", SmallInteger, nullable=False),
    # 1: the state lacks most members, see `partial_joins`.
    Column("is_partial", SmallInteger, nullable=False, server_default="0"),
    Index("ix_rooms_is_public", "is_public"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Text, primary_key=True),
    Column("membership", Text, nullable=False),
    Column("event_nid", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("sender", Text, nullable=False),
    # Position of the newest membership event, and of the first one with this membership in a row.
    Column("position", BigInteger, nullable=False),
    Column("since_position", BigInteger, nullable=False),
    # The user has been joined at some time.
    Column("was_joined", SmallInteger, nullable=False),
    Column("forgotten", SmallInteger, nullable=False),
    Column("is_local", SmallInteger, nullable=False),
    Index("ix_memberships_user_id", "user_id", "membership"),
    Index("ix_memberships_room_nid_membership", "room_nid", "membership"),
    # Who has come and gone lately, whatever the size of the room.
    Index("ix_memberships_room_nid_since", "room_nid", "since_position"),
    # The users of this server in a room: few, whatever the size of the room.
    partial_index(
        "ix_memberships_is_local", "room_nid", "since_position", where="is_local = 1 AND membership = 'join'"
    ),
    sqlite_with_rowid=False,
)

room_servers = Table(
    "room_servers",
    metadata,
    # How many joined members each server has in each room, this one included; no row without any.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("server_name", Text, primary_key=True),
    Column("joined_members", BigInteger, nullable=False),
    Index("ix_room_servers_server_name", "server_name"),
    sqlite_with_rowid=False,
)

partial_joins = Table(
    "partial_joins",
    metadata,
    # A room that was entered with a state that lacks most members: by which event, and who may be asked for the rest.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("join_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("room_id", Text, nullable=False),
    Column("join_id", Text, nullable=False),
    # A position before that of the join: where the memberships of the others count as set.
    Column("position", BigInteger, nullable=False),
    # JSON array of servers in the room, best first.
    Column("servers", LargeBinary, nullable=False),
    Column("begun_ts", BigInteger, nullable=False),
    # When to try (again); while a process is at it, no other one takes over before. NULL: that is over.
    Column("due_ts", BigInteger),
    Column("failures", BigInteger, nullable=False),
    # Where the state became complete; NULL: it never was.
    Column("completed_position", BigInteger),
    # Where the room was entered anew without its having been complete.
    Column("ended_position", BigInteger),
    Index("ix_partial_joins_due_ts", "due_ts"),
    Index("ix_partial_joins_join_nid", "join_nid"),
    Index("ix_partial_joins_completed_position", "completed_position"),
)

stripped_states = Table(
    "stripped_states",
    metadata,
    # What came with an invitation to, or a knock on, a room that this server is not in: a JSON array of events.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Text, primary_key=True),
    Column("events", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Index("ix_aliases_room_id", "room_id"),
)

room_purges = Table(
    "room_purges",
    metadata,
    # A room that no user of this server remembers: until it is all gone, also when `rooms` lacks it already.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("room_id", Text, nullable=False),
    # Nobody begins before; and while a process is at it, no other one takes over before.
    Column("due_ts", BigInteger, nullable=False),
    Index("ix_room_purges_due_ts", "due_ts"),
)
