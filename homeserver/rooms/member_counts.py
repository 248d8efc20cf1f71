"""Who is in a room, as rows and numbers: they follow what differs between the room's states."""

from collections.abc import Iterator, Mapping

import msgspec

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.statements import Statement
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.member_rows import member_row
from homeserver.storage import memberships, room_servers
from homeserver.storage.events import SetMembership

MEMBER = "m.room.member"

Difference = Mapping[StateKey, tuple[int | None, int | None]]
"""Entries of the state that changed: the numbers of their events before and after."""


class MemberCounts(msgspec.Struct):
    """How many members a room has; `remote` are those of the joined ones that are on other servers."""

    server_name: ServerName
    joined: int
    invited: int
    remote: int

    def follow(
        self, tx: WriteTransaction, room_nid: int, difference: Difference, events: Mapping[int, Event]
    ) -> Iterator[tuple[UserID, tuple[Statement, dict[str, object]]]]:
        """Count the members that changed; gives each with the statement that notes it, which takes a position.

        `events` has the events of the difference by their numbers.
        """
        for key, (old_nid, new_nid) in difference.items():
            if key[0] != MEMBER:
                continue
            user_id = UserID(key[1])
            old = None if old_nid is None else events[old_nid]
            new = None if new_nid is None else events[new_nid]
            # Where the state has lost all word of somebody, nobody is there.
            membership = "leave" if new is None else str(new.content.get("membership"))
            self._count(
                tx, room_nid, user_id, None if old is None else old.content.get("membership"), membership
            )
            latest_nid, latest = (old_nid, old) if new is None else (new_nid, new)
            if latest is None or latest_nid is None:
                continue
            noted = SetMembership(latest_nid, latest.event_id, user_id, latest.sender, membership)
            is_local = server_of(user_id) == self.server_name
            yield user_id, (memberships.SET, member_row(room_nid, noted, is_local=is_local))

    def _count(
        self, tx: WriteTransaction, room_nid: int, user_id: UserID, was: object, membership: str
    ) -> None:
        joined = (membership == "join") - (was == "join")
        self.joined += joined
        self.invited += (membership == "invite") - (was == "invite")
        server_name = server_of(user_id)
        if server_name is not None:
            room_servers.count(tx, room_nid, server_name, joined)
            if server_name != self.server_name:
                self.remote += joined
