"""Events, the state before each, and what a client's transaction id led to."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import Nid, metadata, partial_index

events = Table(
    "events",
    metadata,
    Column("event_nid", Nid, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("room_nid", BigInteger, nullable=False),
    # NULL: not part of the timeline. Negative: history that was fetched later.
    Column("position", BigInteger),
    Column("depth", BigInteger, nullable=False),
    Column("origin_server_ts", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("state_key", Text),
    Column("sender", Text, nullable=False),
    # `content.membership` of a membership event.
    Column("membership", Text),
    # Root of the state before the event.
    Column("state_root", BigInteger),
    # Root of the state after it, NULL where that is the same.
    Column("root_after", BigInteger),
    # How high it stands in the graph of auth events (see core.state_resolution.auth_graph), if it sets state.
    Column("generation", BigInteger),
    # 1: this server sends it to the other servers of the room.
    Column("is_outbound", SmallInteger, nullable=False, server_default="0"),
    # 0 accepted, 1 rejected, 2 soft-failed, 3 known only as part of a state or auth chain,
    # 4 accepted, but nothing to show to clients (yet).
    Column("status", SmallInteger, nullable=False),
    # What it means to a member with unmodified push rules: bit 0 notifies, bit 1 highlights; bit 2: see push_outcomes;
    # bit 3: the room's state changed with it in ways that it does not show.
    Column("notify", SmallInteger, nullable=False),
    # The root of the thread it belongs to, or belonged to before its redaction; NULL for the main timeline.
    Column("thread_id", Text),
    Column("redacted_by", Text),
    # The sending device and its transaction id, for `unsigned.transaction_id`; or no device, and the ID under which
    # the event was scheduled, for `unsigned.delay_id`.
    Column("device_id", Text),
    Column("txn_id", Text),
    # The event that this state event replaced.
    Column("replaces_nid", BigInteger),
    # How others relate to it, of what is shown with it: bit 0 m.replace, bit 1 m.thread, bit 2 m.reference.
    Column("aggregates", SmallInteger, nullable=False, server_default="0"),
    # Canonical JSON of the PDU, without `unsigned`.
    Column("pdu", LargeBinary, nullable=False),
    Index("ix_events_room_nid_position", "room_nid", "position"),
    Index("ix_events_position", "position"),
    # A user's membership history, for those who have left.
    partial_index(
        "ix_events_membership", "room_nid", "state_key", "position", where="membership IS NOT NULL"
    ),
    Index("ix_events_room_nid_origin_server_ts", "room_nid", "origin_server_ts"),
    partial_index("ix_events_is_outbound", "position", where="is_outbound = 1"),
    # What users of this server have sent in the main timeline: they have read what was there before.
    partial_index(
        "ix_events_sent",
        "room_nid",
        "sender",
        "position",
        where="thread_id IS NULL AND device_id IS NOT NULL",
    ),
    # What is unread in threads.
    partial_index("ix_events_threaded", "room_nid", "position", where="thread_id IS NOT NULL"),
)

auth_edges = Table(
    "auth_edges",
    metadata,
    # Which state events cite an event in their `auth_events`.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("auth_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("event_nid", BigInteger, primary_key=True, autoincrement=False),
    # What an event cites: auth chains without reading events.
    Index("ix_auth_edges_event_nid", "event_nid", "auth_nid"),
    sqlite_with_rowid=False,
)

backward_extremities = Table(
    "backward_extremities",
    metadata,
    # Events that this server lacks, and the events of the room's history that name them in `prev_events`.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, primary_key=True),
    Column("child_nid", BigInteger, primary_key=True, autoincrement=False),
    # The gap that they belong to lies right before the event at this position. NULL: there is no place for them.
    Column("position", BigInteger),
    # How many positions there are free; 0 for the gap before all that is here, which ends nowhere.
    Column("places", BigInteger, nullable=False),
    Index("ix_backward_extremities_position", "room_nid", "position"),
    sqlite_with_rowid=False,
)

pending_redactions = Table(
    "pending_redactions",
    metadata,
    # Redactions that have been accepted, by the event to be redacted, which this server lacks.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, primary_key=True),
    Column("redaction_nid", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

client_transactions = Table(
    "client_transactions",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    # Method and path (with the transaction id), as the specification scopes it.
    Column("request", Text, primary_key=True),
    # What the request led to: an event id.
    Column("result", Text, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Index("ix_client_transactions_created_ts", "created_ts"),
    sqlite_with_rowid=False,
)
