"""Which events of a room another server may see: history visibility applied to a whole server.

A server may see what any of its users may. Transaction functions. Spec: client-server API, "Room history
visibility".
"""

from collections.abc import Iterable, Mapping

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.history_visibility import SHARED, WORLD_READABLE, history_visibility_of, may_see
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.room_versions import RoomVersion
from homeserver.database.transactions import ReadTransaction
from homeserver.services.room_access import content_at
from homeserver.storage import partial_joins, server_members, state
from homeserver.storage.events import StoredEvent

VISIBILITY: StateKey = ("m.room.history_visibility", "")
MEMBER = "m.room.member"

_BEGINNING = -(2**62)
"""Before every position."""


class ServerReader(msgspec.Struct, frozen=True):
    """Another server as a reader of one room's history; `is_joined`: a user of it is in the room.

    In a room that `is_partial`, states may lack members: there the server counts as in the room if it does now.
    """

    server_name: ServerName
    room_nid: int
    version: RoomVersion
    is_joined: bool
    is_partial: bool = False


def visible(tx: ReadTransaction, reader: ServerReader, stored: Iterable[StoredEvent]) -> set[int]:
    """The numbers of those events that the server may see.

    It sees none whose state is not known: those that are known only as part of a state or auth chain.
    """
    judge = _Judge(tx, reader)
    # In the order of the timeline, what differs between one state and the next is little.
    ordered = sorted(stored, key=lambda event: event.position or 0)
    return {event.event_nid for event in ordered if judge.may_see(event)}


class _Judge:
    """Judges events one after the other."""

    def __init__(self, tx: ReadTransaction, reader: ServerReader) -> None:
        self._tx = tx
        self._reader = reader
        self._members = _Members(tx, reader)
        self._visibilities: dict[int, str] = {}
        self._last_join: int | None = None

    def may_see(self, event: StoredEvent) -> bool:
        """Whether the server may see the event."""
        if event.state_root is None:
            return False
        reader = self._reader
        may_be_unsure = reader.is_partial and reader.is_joined
        if may_be_unsure and partial_joins.is_unsure(self._tx, reader.room_nid, event.position):
            return True
        before = after = self._visibility_at(event.state_root)
        if (event.type, event.state_key) == VISIBILITY:
            after = history_visibility_of(_content(event).get("history_visibility"))
        if WORLD_READABLE in (before, after) or (self._reader.is_joined and SHARED in (before, after)):
            # Whoever is in the room now was in it then, or has joined later: the memberships say nothing new.
            return True
        membership_before, membership_after = self._memberships_at(event, event.state_root)
        return may_see(
            visibility_before=before,
            visibility_after=after,
            membership_before=membership_before,
            membership_after=membership_after,
            joined_later=self._joined_later(event),
        )

    def _visibility_at(self, root: int) -> str:
        known = self._visibilities.get(root)
        if known is None:
            content = content_at(self._tx, root, self._reader.version, VISIBILITY)
            known = self._visibilities[root] = history_visibility_of(content.get("history_visibility"))
        return known

    def _memberships_at(self, event: StoredEvent, root: int) -> tuple[str | None, str | None]:
        """The most that users of the server are, before the event and after it."""
        members = self._members.at(root)
        before = after = _most(members)
        user_id = event.state_key
        is_own = user_id is not None and server_of(UserID(user_id)) == self._reader.server_name
        if event.type == MEMBER and user_id is not None and is_own and event.membership is not None:
            after = _most({**members, UserID(user_id): event.membership})
        return before, after

    def _joined_later(self, event: StoredEvent) -> bool:
        reader = self._reader
        if reader.is_joined:
            return True
        if event.position is None:
            return False
        if self._last_join is None:
            users = server_members.users_of(self._tx, reader.room_nid, reader.server_name)
            position = server_members.last_join(self._tx, reader.room_nid, users)
            self._last_join = _BEGINNING if position is None else position
        return self._last_join > event.position


class _Members:
    """The memberships of the server's users in one state; going on to another costs what differs."""

    def __init__(self, tx: ReadTransaction, reader: ServerReader) -> None:
        self._tx = tx
        self._reader = reader
        self._root: int | None = None
        self._memberships: dict[UserID, str] = {}

    def at(self, root: int) -> Mapping[UserID, str]:
        """User to membership, in the state with this root."""
        if self._root is None:
            users = server_members.users_of(self._tx, self._reader.room_nid, self._reader.server_name)
            self._set(dict(state.members(self._tx, root, users)))
        elif root != self._root:
            self._set(
                {
                    key[1]: now
                    for key, (_, now) in state.difference(self._tx, self._root, root).items()
                    if key[0] == MEMBER and server_of(UserID(key[1])) == self._reader.server_name
                }
            )
        self._root = root
        return self._memberships

    def _set(self, changes: Mapping[str, int | None]) -> None:
        set_by = server_members.memberships_set_by(
            self._tx, {nid for nid in changes.values() if nid is not None}
        )
        for user_id, nid in changes.items():
            if nid is not None and nid in set_by:
                self._memberships[UserID(user_id)] = set_by[nid]
            else:
                self._memberships.pop(UserID(user_id), None)


def _most(memberships: Mapping[UserID, str]) -> str | None:
    found = set(memberships.values())
    return next((each for each in ("join", "invite") if each in found), None)


def _content(event: StoredEvent) -> JsonObject:
    content = decode_object(event.pdu).get("content")
    return content if isinstance(content, dict) else {}
