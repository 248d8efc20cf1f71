"""The state section of a room in a sync: what the client must know beside the timeline.

The state is compared at three positions: at the client's token, right before the timeline, and at
its end. What the timeline
does not show of the difference between the first and the last goes into the section, so that a
client that applies the section
and then the timeline has the room's current state, whatever a filter or a fork left out.
"""

from collections.abc import Collection

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.identifiers import RoomID
from homeserver.database.transactions import ReadTransaction
from homeserver.services.sync.timeline import Timeline
from homeserver.storage import state
from homeserver.storage.memberships import RoomOfUser

MEMBER = "m.room.member"


class Roots(msgspec.Struct, frozen=True):
    """A room's state at the client's token (0 if the client has nothing), before the timeline, and at the end."""

    since: int
    start: int
    end: int


def roots_of(
    tx: ReadTransaction,
    room: RoomOfUser,
    timeline: Timeline,
    *,
    since: int | None,
    upto: int,
    is_current: bool,
) -> Roots:
    """The three states. `is_current`: the room's row is as of `upto`, which spares most of the look-ups."""
    end = room.state_root if is_current else state.root_at(tx, room.room_nid, upto)
    if is_current and since is not None and room.state_position <= since:
        return Roots(end, end, end)
    first = timeline.events[0][0].position if timeline.events else None
    if first is None or (is_current and room.state_position < first):
        start = end
    else:
        start = state.root_at(tx, room.room_nid, first - 1)
    return Roots(0 if since is None else state.root_at(tx, room.room_nid, since), start, end)


def state_nids(
    tx: ReadTransaction,
    roots: Roots,
    shown: Collection[int],
    *,
    after: bool,
    lazy: bool,
    needed_members: Collection[str],
    known_members: Collection[str],
) -> dict[StateKey, int]:
    """The events of the section. `shown` are the numbers of the timeline's events.

    With `after` (`use_state_after`) the section leads to the state after the timeline, and repeats
    what the timeline shows. With
    `lazy`, memberships are left out of a first state unless needed, and those that are needed and not known are added.
    """
    is_first = roots.since == 0
    if after:
        section = _changes(tx, roots.since, roots.end)
    else:
        section = _changes(tx, roots.since, roots.start)
        for key, nid in _changes(tx, roots.start, roots.end).items():
            if nid not in shown:
                section[key] = nid
    if not lazy:
        return section
    if is_first:
        section = {key: nid for key, nid in section.items() if key[0] != MEMBER or key[1] in needed_members}
    missing = [
        user_id
        for user_id in needed_members
        if user_id not in known_members and (MEMBER, user_id) not in section
    ]
    if missing and not is_first:
        base = roots.end if after else roots.start
        for user_id, nid in state.members(tx, base, missing).items():
            section[MEMBER, user_id] = nid
    return section


def members_in(section: Collection[StateKey]) -> frozenset[str]:
    """The users whose membership a section brings."""
    return frozenset(key[1] for key in section if key[0] == MEMBER)


def _changes(tx: ReadTransaction, old: int, new: int) -> dict[StateKey, int]:
    """What is new in `new`; keys that have gone cannot be told to a client, and do not go but by resolution."""
    if old == new:
        return {}
    return {key: pair[1] for key, pair in state.difference(tx, old, new).items() if pair[1] is not None}


__all__ = ["MEMBER", "RoomID", "Roots", "members_in", "roots_of", "state_nids"]
