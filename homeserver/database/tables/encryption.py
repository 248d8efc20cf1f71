"""Keys of devices and of users, of this server and, as far as they are followed, of others."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata

device_keys = Table(
    "device_keys",
    metadata,
    # Of users of this server, and of those of other servers whose devices are followed.
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    # Canonical JSON: the signed object, with the signatures of the user's own keys, without `unsigned`.
    Column("keys", LargeBinary, nullable=False),
    # Only of other servers' devices: those of this server have it in `devices`.
    Column("display_name", Text),
    sqlite_with_rowid=False,
)

cross_signing_keys = Table(
    "cross_signing_keys",
    metadata,
    # As in device_keys.
    Column("user_id", Text, primary_key=True),
    # master, self_signing or user_signing
    Column("usage", Text, primary_key=True),
    # Canonical JSON: the signed object, with the signatures of the user's own keys and devices.
    Column("keys", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

user_signatures = Table(
    "user_signatures",
    metadata,
    # What users here have signed of the master keys of others: for the signer's eyes only.
    Column("signer_user_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    # The master key that was signed, unpadded base64.
    Column("public_key", Text, primary_key=True),
    # `ed25519:<key>`: what it was signed with.
    Column("key_id", Text, primary_key=True),
    Column("signature", Text, nullable=False),
    # When: the signer's devices are told.
    Column("position", BigInteger, nullable=False),
    Index("ix_user_signatures_user_id", "user_id"),
    Index("ix_user_signatures_position", "position"),
    sqlite_with_rowid=False,
)

one_time_keys = Table(
    "one_time_keys",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    # The two parts of `<algorithm>:<key_id>`.
    Column("algorithm", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    # JSON.
    Column("key", LargeBinary, nullable=False),
    # Where in the stream it was uploaded: keys are handed out in that order.
    Column("position", BigInteger, nullable=False),
    Index("ix_one_time_keys_position", "user_id", "device_id", "algorithm", "position"),
    sqlite_with_rowid=False,
)

claimed_keys = Table(
    "claimed_keys",
    metadata,
    # One-time keys that have been handed out, the newest of each device: if they are uploaded again they stay gone.
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("algorithm", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    # SHA-256 of the JSON: tells a repeated upload from another key under the same name.
    Column("key_hash", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("ix_claimed_keys_position", "user_id", "device_id", "position"),
    sqlite_with_rowid=False,
)

one_time_key_changes = Table(
    "one_time_key_changes",
    metadata,
    # When what a device has of one-time and fallback keys last changed, of which it is told.
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Index("ix_one_time_key_changes_position", "position"),
    sqlite_with_rowid=False,
)

fallback_keys = Table(
    "fallback_keys",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("algorithm", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    # JSON.
    Column("key", LargeBinary, nullable=False),
    # Whether it has been handed out.
    Column("is_used", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)

device_lists = Table(
    "device_lists",
    metadata,
    # One row a user, of this server or another, whose devices or keys have ever changed: when they last did.
    Column("user_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Index("ix_device_lists_position", "position"),
    sqlite_with_rowid=False,
)
