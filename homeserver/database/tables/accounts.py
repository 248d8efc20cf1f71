"""Accounts, their devices, tokens and profiles."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata, partial_index

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    # NULL: no login by password.
    Column("password_hash", Text),
    Column("created_ts", BigInteger, nullable=False),
    Column("is_admin", SmallInteger, nullable=False),
    Column("is_guest", SmallInteger, nullable=False),
    Column("is_deactivated", SmallInteger, nullable=False),
    Column("is_erased", SmallInteger, nullable=False),
    Column("is_locked", SmallInteger, nullable=False),
    Column("is_suspended", SmallInteger, nullable=False),
    # Deactivated, but not yet out of all rooms.
    Column("is_departing", SmallInteger, nullable=False),
    # What operators file the account under: support, bot; NULL for people.
    Column("user_type", Text),
    Column("appservice_id", Text),
    partial_index("ix_users_is_departing", "is_departing", where="is_departing = 1"),
)

devices = Table(
    "devices",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("display_name", Text),
    Column("created_ts", BigInteger, nullable=False),
    Column("last_seen_ts", BigInteger),
    Column("last_seen_ip", Text),
    Column("last_seen_user_agent", Text),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    # SHA-256 of the token: the database does not hold what opens an account.
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    # NULL: does not expire.
    Column("expires_ts", BigInteger),
    # The refresh token that was given out with it.
    Column("refresh_hash", LargeBinary),
    # The refresh token that was exchanged for it, until its first use: that one lives as long.
    Column("replaces_hash", LargeBinary),
    # The app that it was given to; NULL: it does not come from the OAuth 2.0 API.
    Column("oauth_client_id", Text),
    Index("ix_access_tokens_user_id_device_id", "user_id", "device_id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    # SHA-256 of the part that all tokens of one login share: tells a spent token from an unknown one.
    Column("family_hash", LargeBinary, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    # As in access_tokens.
    Column("replaces_hash", LargeBinary),
    Column("oauth_client_id", Text),
    Index("ix_refresh_tokens_user_id_device_id", "user_id", "device_id"),
    Index("ix_refresh_tokens_family_hash", "family_hash"),
    partial_index(
        "ix_refresh_tokens_oauth_client_id", "oauth_client_id", where="oauth_client_id IS NOT NULL"
    ),
)

login_tokens = Table(
    "login_tokens",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_login_tokens_user_id", "user_id"),
    Index("ix_login_tokens_expires_ts", "expires_ts"),
)

openid_tokens = Table(
    "openid_tokens",
    metadata,
    # SHA-256 of the token.
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_openid_tokens_expires_ts", "expires_ts"),
)

uia_sessions = Table(
    "uia_sessions",
    metadata,
    # SHA-256 of the session id, which only the client knows.
    Column("session_hash", LargeBinary, primary_key=True),
    # The operation, user and request that it was begun for; it serves no other.
    Column("operation", Text, nullable=False),
    Column("user_id", Text),
    # HMAC of the request, keyed with the session id: without that, it tells nothing about the request.
    Column("request_mac", LargeBinary, nullable=False),
    # JSON: stages done, in order, and what each left for the operation (never a password).
    Column("completed", LargeBinary, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    # A registration's parameters (JSON) without secrets, and the password's hash: they may be sent once.
    Column("remembered", LargeBinary),
    Column("password_hash", Text),
    # Who was registered: a repeated request gets the same answer.
    Column("registered_user_id", Text),
    # JSON: the flows and parameters that the client was told, for who goes on in a browser.
    Column("challenge", LargeBinary),
    Index("ix_uia_sessions_expires_ts", "expires_ts"),
    Index("ix_uia_sessions_user_id", "user_id"),
)

registration_tokens = Table(
    "registration_tokens",
    metadata,
    Column("token", Text, primary_key=True),
    # NULL: any number of times, for ever.
    Column("uses_allowed", BigInteger),
    Column("completed", BigInteger, nullable=False),
    Column("expires_ts", BigInteger),
)

registration_nonces = Table(
    "registration_nonces",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_registration_nonces_expires_ts", "expires_ts"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("user_id", Text, primary_key=True),
    # displayname, avatar_url, or any other field.
    Column("field", Text, primary_key=True),
    # JSON.
    Column("value", LargeBinary, nullable=False),
)
