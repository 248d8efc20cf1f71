"""What clients need for end-to-end encryption."""

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.services.cross_signing import CrossSigning
from homeserver.services.key_changes import KeyChanges
from homeserver.services.key_claims import KeyClaims
from homeserver.services.key_queries import KeyQueries
from homeserver.services.key_uploads import KeyUploads
from homeserver.services.remote_keys import RemoteKeys


class Encryption(msgspec.Struct, frozen=True, eq=False):
    """The services about keys of devices and users."""

    uploads: KeyUploads
    queries: KeyQueries
    claims: KeyClaims
    changes: KeyChanges
    cross_signing: CrossSigning


def make_encryption(database: Database, server_name: ServerName, remote_keys: RemoteKeys) -> Encryption:
    """Wire them together."""
    return Encryption(
        KeyUploads(database),
        KeyQueries(database, server_name, remote_keys),
        KeyClaims(database, server_name, remote_keys),
        KeyChanges(database),
        CrossSigning(database, server_name, remote_keys),
    )
