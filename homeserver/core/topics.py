"""Topics: what readers of the stream subscribe to, to be woken when something new concerns them."""

from collections.abc import Collection
from typing import Final

from homeserver.core.identifiers import RoomID, UserID

OUTBOX: Final = "outbox"
"""For whoever sends to other servers: there is an event for them."""


def inbox_topic(user_id: UserID) -> str:
    """For the devices of a user: there is a message for one of them."""
    return f"inbox:{user_id}"


def keys_topic(user_id: UserID) -> str:
    """For the devices of a user: what one of them has of one-time keys has changed."""
    return f"keys:{user_id}"


def room_topic(room_id: RoomID) -> str:
    """For what all members of a room may see."""
    return f"room:{room_id}"


def session_topic(user_id: UserID) -> str:
    """For those who act in the user's name for long: what allows them to may be gone."""
    return f"session:{user_id}"


def users_of_sessions(topics: Collection[str]) -> list[UserID]:
    """Whose sessions some of these topics are about."""
    return [UserID(topic[len("session:") :]) for topic in topics if topic.startswith("session:")]


def user_topic(user_id: UserID) -> str:
    """For what only this user may see, on all devices."""
    return f"user:{user_id}"
