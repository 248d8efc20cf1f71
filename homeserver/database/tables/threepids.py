"""Third-party identifiers of accounts, how they are validated, and the policies that users have accepted."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from homeserver.database.tables.metadata import metadata

user_threepids = Table(
    "user_threepids",
    metadata,
    # An identifier belongs to one account.
    Column("medium", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("validated_ts", BigInteger, nullable=False),
    Column("added_ts", BigInteger, nullable=False),
    Index("ix_user_threepids_user_id", "user_id"),
)

threepid_bindings = Table(
    "threepid_bindings",
    metadata,
    # What was published on which identity server, so that it can be taken back.
    Column("user_id", Text, primary_key=True),
    Column("medium", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("id_server", Text, primary_key=True),
)

validation_sessions = Table(
    "validation_sessions",
    metadata,
    # SHA-256 of the session id, which follows from the client's secret, the purpose and the address.
    Column("session_hash", LargeBinary, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("medium", Text, nullable=False),
    Column("address", Text, nullable=False),
    # Whose account it is for; NULL: not said.
    Column("user_id", Text),
    # SHA-256 of the tokens that were sent, one after the other; empty if the mail said why there is none.
    Column("token_hashes", LargeBinary, nullable=False),
    # The client's number of the last mail that was sent.
    Column("send_attempt", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    # NULL: nobody has confirmed yet.
    Column("validated_ts", BigInteger),
    Column("next_link", Text),
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_validation_sessions_expires_ts", "expires_ts"),
    Index("ix_validation_sessions_user_id", "user_id"),
)

accepted_policies = Table(
    "accepted_policies",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("accepted_ts", BigInteger, nullable=False),
)
