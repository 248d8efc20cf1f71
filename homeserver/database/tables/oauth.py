"""The OAuth 2.0 API: apps that have registered, what they have begun, and browsers in which somebody is logged in.

Which app a session is of stands with its tokens.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata

oauth_clients = Table(
    "oauth_clients",
    metadata,
    # Follows from the metadata: copies of an app share one row.
    Column("client_id", Text, primary_key=True),
    # JSON.
    Column("metadata", LargeBinary, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    # It is forgotten then, unless it has a session.
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_oauth_clients_expires_ts", "expires_ts"),
)

oauth_codes = Table(
    "oauth_codes",
    metadata,
    # SHA-256 of the authorisation code.
    Column("code_hash", LargeBinary, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("code_challenge", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    # The family of the refresh tokens that it was exchanged for: a code that comes twice ends that login.
    Column("family_hash", LargeBinary),
    Index("ix_oauth_codes_expires_ts", "expires_ts"),
    Index("ix_oauth_codes_user_id", "user_id"),
)

oauth_device_codes = Table(
    "oauth_device_codes",
    metadata,
    # SHA-256 of the device code.
    Column("code_hash", LargeBinary, primary_key=True),
    # What people type: too short for a hash to hide it, and of no use to who has no account.
    Column("user_code", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    # When the client last asked, and how long it is to wait until it asks again.
    Column("polled_ts", BigInteger),
    Column("interval_ms", BigInteger, nullable=False),
    # Who has let it in; NULL as long as nobody has.
    Column("user_id", Text),
    Column("is_denied", SmallInteger, nullable=False),
    Index("ix_oauth_device_codes_user_code", "user_code", unique=True),
    Index("ix_oauth_device_codes_expires_ts", "expires_ts"),
    Index("ix_oauth_device_codes_user_id", "user_id"),
)

browser_sessions = Table(
    "browser_sessions",
    metadata,
    # SHA-256 of the cookie.
    Column("session_hash", LargeBinary, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_browser_sessions_user_id", "user_id"),
    Index("ix_browser_sessions_expires_ts", "expires_ts"),
)

cross_signing_resets = Table(
    "cross_signing_resets",
    metadata,
    # Who has confirmed that their cross-signing keys may be replaced, and until when.
    Column("user_id", Text, primary_key=True),
    Column("until_ts", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
