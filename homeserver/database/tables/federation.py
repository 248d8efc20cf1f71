"""What is kept about other servers: their keys, what they sent, and what is to be sent to them."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import Nid, metadata, partial_index

server_keys = Table(
    "server_keys",
    metadata,
    Column("server_name", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    # Unpadded Base64.
    Column("verify_key", Text, nullable=False),
    # Until when it may be taken for current; for an old key, when it expired.
    Column("valid_until_ts", BigInteger, nullable=False),
    # 1: among the server's `old_verify_keys`.
    Column("is_old", SmallInteger, nullable=False),
    # When it was last confirmed.
    Column("fetched_ts", BigInteger, nullable=False),
)

server_key_responses = Table(
    "server_key_responses",
    metadata,
    # The server's own words, as it signed them: what a notary hands on.
    Column("server_name", Text, primary_key=True),
    Column("response", LargeBinary, nullable=False),
    Column("valid_until_ts", BigInteger, nullable=False),
    Column("fetched_ts", BigInteger, nullable=False),
)

incoming_pdus = Table(
    "incoming_pdus",
    metadata,
    # Acknowledged, and not yet made part of their room.
    Column("pdu_nid", Nid, primary_key=True, autoincrement=False),
    Column("room_id", Text, nullable=False),
    Column("event_id", Text, nullable=False, unique=True),
    # The server that sent it.
    Column("origin", Text, nullable=False),
    Column("received_ts", BigInteger, nullable=False),
    # How often it could not be processed, and when to try (again).
    Column("failures", SmallInteger, nullable=False),
    Column("due_ts", BigInteger, nullable=False),
    # JSON array of the servers whose signatures have been verified.
    Column("signed_by", LargeBinary, nullable=False),
    # Canonical JSON, without `unsigned`; redacted already if its hash was wrong.
    Column("pdu", LargeBinary, nullable=False),
    Index("ix_incoming_pdus_room_id", "room_id", "received_ts", "pdu_nid"),
)

incoming_rooms = Table(
    "incoming_rooms",
    metadata,
    # A row for each room with incoming PDUs: when the first of them is due, and until when a process is at it.
    Column("room_id", Text, primary_key=True),
    Column("due_ts", BigInteger, nullable=False),
    Column("lease_until_ts", BigInteger, nullable=False),
    Index("ix_incoming_rooms_due_ts", "due_ts"),
)

pending_joins = Table(
    "pending_joins",
    metadata,
    # A row for each room that a process is entering by way of another server.
    Column("room_id", Text, primary_key=True),
    # What that server says; NULL: nothing yet.
    Column("version", Text),
    # The join, and until when it counts as going on: its process renews that.
    Column("holder", Text, nullable=False),
    Column("until_ts", BigInteger, nullable=False),
)

federation_transactions = Table(
    "federation_transactions",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("txn_id", Text, primary_key=True),
    # What it was answered with (JSON): a repeated one gets the same.
    Column("response", LargeBinary, nullable=False),
    Column("received_ts", BigInteger, nullable=False),
    Index("ix_federation_transactions_received_ts", "received_ts"),
    sqlite_with_rowid=False,
)

destinations = Table(
    "destinations",
    metadata,
    # A row for each server that is, or has been, hard to reach.
    Column("server_name", Text, primary_key=True),
    # In a row; 0: it answers.
    Column("failures", BigInteger, nullable=False),
    Column("failing_since_ts", BigInteger),
    # When to try again; 0: at once.
    Column("retry_ts", BigInteger, nullable=False),
    # Everything up to here has been sent; NULL: the shard's position counts.
    Column("behind_from", BigInteger),
    Column("last_success_ts", BigInteger),
    Column("last_error", Text),
    Index("ix_destinations_retry_ts", "retry_ts"),
    partial_index("ix_destinations_behind_from", "server_name", where="behind_from IS NOT NULL"),
)

outbox_shards = Table(
    "outbox_shards",
    metadata,
    # Destinations are divided among shards by a hash of their names.
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    # Everything up to here has been sent to all destinations that have no `behind_from`.
    Column("position", BigInteger, nullable=False),
    # The process that sends for it, until when; NULL: nobody.
    Column("holder", Text),
    Column("lease_until_ts", BigInteger, nullable=False),
)

outbox_processes = Table(
    "outbox_processes",
    metadata,
    # The processes that send, with shards or without: so that each knows its fair share.
    Column("holder", Text, primary_key=True),
    Column("alive_until_ts", BigInteger, nullable=False),
)
