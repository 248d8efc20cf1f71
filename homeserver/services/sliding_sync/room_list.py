"""The rooms of a user, those with the latest activity first, and which of them a request is about.

Nothing here reads a timeline. Spec: MSC4186, "Lists and subscriptions".
"""

from collections.abc import Collection, Mapping

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.sliding_sync.requests import SlidingRequest
from homeserver.core.sliding_sync.told import LEFT, RoomRecord
from homeserver.core.sliding_sync.windows import Match, window
from homeserver.database.transactions import ReadTransaction
from homeserver.services.sliding_sync.room_facts import RoomFactFinder
from homeserver.services.unwanted_invites import unwanted
from homeserver.storage import memberships
from homeserver.storage.memberships import RoomOfUser


class UserRooms(msgspec.Struct, frozen=True):
    """The rooms that lists are made of, in their order; by ID those that can be subscribed to; and all."""

    listed: list[RoomOfUser]
    by_id: Mapping[RoomID, RoomOfUser]
    all: list[RoomOfUser]


class Matched(msgspec.Struct, frozen=True):
    """How many rooms pass the filter of each list, and the rooms that are wanted, with the reasons.

    `passing` are, list by list, those that pass its filter, in its windows or not.
    """

    counts: dict[str, int]
    rooms: list[tuple[RoomOfUser, Match]]
    passing: list[list[RoomOfUser]]


def rooms_of_user(
    tx: ReadTransaction, user_id: UserID, *, ignored: Collection[str], told: Mapping[int, RoomRecord]
) -> UserRooms:
    """All rooms that the user may know of; `told` is what the client has been told of some, by number."""
    listed: list[RoomOfUser] = []
    by_id: dict[RoomID, RoomOfUser] = {}
    rooms = memberships.rooms_of(tx, user_id)
    hidden = unwanted(tx, user_id, rooms, ignored)
    for room in rooms:
        record = told.get(room.room_nid)
        if room.forgotten and (record is None or record.is_(LEFT)):
            continue
        # One that was forgotten by another device is told as left first, or the client would have it for good.
        is_listed = _is_listed(room, user_id, hidden, is_told=record is not None)
        if is_listed:
            listed.append(room)
        if is_listed or (room.was_joined and room.membership != "invite"):
            by_id[room.room_id] = room
    listed.sort(key=activity, reverse=True)
    return UserRooms(listed, by_id, rooms)


def activity(room: RoomOfUser) -> int:
    """By what lists are sorted: the newest event of the room; for outsiders, of their membership."""
    return room.last_position if room.membership == "join" else room.position


def _is_listed(room: RoomOfUser, user_id: UserID, hidden: Collection[int], *, is_told: bool) -> bool:
    if room.membership == "join":
        return True
    if room.membership == "invite":
        return room.room_nid not in hidden
    if room.membership == "leave":
        # Who has left knows that; who was kicked may not.
        return is_told or (room.was_joined and room.sender != user_id)
    if room.membership == "ban":
        return is_told or room.was_joined
    return True


def match_rooms(request: SlidingRequest, rooms: UserRooms, facts: RoomFactFinder) -> Matched:
    """Find the rooms in the windows of the lists, and those that are subscribed to."""
    counts: dict[str, int] = {}
    matches: dict[RoomID, Match] = {}
    passing_of_lists: list[list[RoomOfUser]] = []
    for wanted in request.lists:
        passing = rooms.listed
        if not wanted.filter.is_open:
            passing = [room for room in passing if wanted.filter.admits(facts.of(room, wanted.filter.spaces))]
        counts[wanted.name] = len(passing)
        passing_of_lists.append(passing)
        for room in window(passing, wanted.ranges):
            match = matches.setdefault(room.room_id, Match())
            match.configs.append(wanted.config)
            match.lists += (wanted.name,)
    for subscription in request.subscriptions:
        if subscription.room_id in rooms.by_id:
            match = matches.setdefault(subscription.room_id, Match())
            match.configs.append(subscription.config)
            match.is_subscribed = True
    found = [(rooms.by_id[room_id], match) for room_id, match in matches.items()]
    return Matched(counts, found, passing_of_lists)
