"""The content of membership events."""

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import profiles


def member_content(tx: ReadTransaction, user_id: UserID, membership: str) -> JsonObject:
    """A membership with the display name and the avatar that the user has on this server."""
    profile = profiles.names_of(tx, [user_id]).get(user_id)
    return {"membership": membership, **({} if profile is None else profile.to_content())}
