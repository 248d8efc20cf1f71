"""The rows of `memberships`."""

from homeserver.core.event import Event
from homeserver.core.identifiers import UserID
from homeserver.storage.events import SetMembership
from homeserver.storage.memberships import Membership


def member_row(room_nid: int, member: SetMembership, *, is_local: bool) -> dict[str, object]:
    """The parameters of `memberships.SET`, which takes a position besides."""
    return {
        "room_nid": room_nid,
        "user_id": member.user_id,
        "membership": member.membership,
        "event_nid": member.event_nid,
        "event_id": member.event_id,
        "sender": member.sender,
        "was_joined": int(member.membership == "join"),
        "forgotten": 0,
        "is_local": int(is_local),
    }


def set_by(event: Event, event_nid: int, user_id: UserID) -> SetMembership:
    """What a membership event makes of its user."""
    membership = str(event.content.get("membership"))
    return SetMembership(event_nid, event.event_id, user_id, event.sender, membership)


def left(before: Membership) -> SetMembership:
    """Somebody who is no longer what they were, though no event says so."""
    return SetMembership(before.event_nid, before.event_id, before.user_id, before.sender, "leave")
