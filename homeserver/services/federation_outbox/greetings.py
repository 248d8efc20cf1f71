"""Presence for those who meet: it is told when it changes, which may have been long before they shared a room."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import outbound_edus, outbound_events
from homeserver.storage.outbound_edus import OutboundPresence

MOST: Final = 500
"""Users of whom is told in one reading of the stream, and users here who may come into rooms in it."""

LARGEST_ROOM: Final = 2_000
"""Members of a room whose users here are told of to a server that comes into it: looking for them takes its time."""


class Greeting(msgspec.Struct, frozen=True):
    """What others see of a user here, for the servers that the user has met at that position."""

    position: int
    presence: OutboundPresence
    servers: Sequence[ServerName]


def greetings(
    tx: ReadTransaction,
    arrivals: Mapping[tuple[int, ServerName], int],
    *,
    after: int,
    upto: int,
) -> list[Greeting]:
    """Who has met whom with `after < position <= upto`, as far as the users here are not offline.

    `arrivals` are the servers that have come into rooms: room number and name to the position.
    """
    own = outbound_events.local_newcomers(tx, after=after, upto=upto, most=MOST)
    room_nids = {room_nid for room_nid, _ in arrivals} | {each.room_nid for each in own}
    if not room_nids:
        return []
    counts = outbound_events.servers_of(tx, room_nids)
    small = {nid for nid, _ in arrivals if sum(counts.get(nid, {}).values()) <= LARGEST_ROOM}
    present = outbound_edus.present_in(tx, small, most=MOST) if small else []
    found = [
        Greeting(position, presence, [name])
        for room_nid, presence in present
        for (arrived_in, name), position in arrivals.items()
        if arrived_in == room_nid
    ]
    shown = outbound_edus.presence_of(tx, {each.user_id for each in own}) if own else {}
    found += [
        Greeting(each.since_position, shown[each.user_id], [*counts.get(each.room_nid, {})])
        for each in own
        if each.user_id in shown
    ]
    return found
