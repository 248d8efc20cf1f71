"""Who may see which events of a room's history.

Spec: client-server API, "Room History Visibility", "Server behaviour".
"""

from typing import Final

WORLD_READABLE: Final = "world_readable"
SHARED: Final = "shared"
INVITED: Final = "invited"
JOINED: Final = "joined"

_VISIBILITIES: Final = frozenset({WORLD_READABLE, SHARED, INVITED, JOINED})


def history_visibility_of(value: object) -> str:
    """The visibility that `content.history_visibility` sets; `shared` if it is absent or not understood."""
    return value if isinstance(value, str) and value in _VISIBILITIES else SHARED


def may_see(
    *,
    visibility_before: str | None,
    visibility_after: str | None,
    membership_before: str | None,
    membership_after: str | None,
    joined_later: bool,
) -> bool:
    """Whether a user may see an event, judged by the state at that event.

    `visibility_*` are the room's `history_visibility`, and `membership_*` the user's membership, in the state
    before the event and in the state after it; None where the state has no such event. The two differ only if
    the event itself changes them, being the room's `m.room.history_visibility` or the user's own
    `m.room.member`: then it is enough that one of the two states lets the user see the event.

    `joined_later` tells whether the user has been joined at any point after the event; being invited or
    knocking, and whatever followed from that, is not joining.

    For another server's view, give the most that its users have: `join` if any of them is joined, else
    `invite` if any is invited, and `joined_later` if any of them has been.
    """
    return _lets_see(visibility_before, membership_before, joined_later) or _lets_see(
        visibility_after, membership_after, joined_later
    )


def _lets_see(visibility: str | None, membership: str | None, joined_later: bool) -> bool:
    # What is not set, or not understood, is `shared`.
    visibility = history_visibility_of(visibility)
    # If the history was world readable, allow.
    if visibility == WORLD_READABLE:
        return True
    # If the user was joined, allow.
    if membership == "join":
        return True
    # If the history was shared, and the user joined at any point after the event, allow.
    if visibility == SHARED and joined_later:
        return True
    # If the user was invited, and the history was visible to the invited, allow.
    # Otherwise, deny.
    return visibility == INVITED and membership == "invite"
