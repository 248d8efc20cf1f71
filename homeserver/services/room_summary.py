"""What a room is, for somebody who thinks of joining it. Spec: client-server API, `GET /room_summary`."""

from collections.abc import Sequence
from typing import Final

import msgspec

from homeserver.core.errors import LimitExceeded, NotFound
from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, UserID, parse_room_alias, server_of
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.aliases import Aliases
from homeserver.services.remote_spaces import Question, RemoteRoom, RemoteSpaces
from homeserver.services.room_summaries import summarise
from homeserver.services.summary_access import Terms, membership_in
from homeserver.storage import memberships, room_servers, rooms

MOST_FOR_STRANGERS: Final = 10
"""Requests to other servers under way, from which on those without an account are to come again later."""


class Elsewhere(msgspec.Struct, frozen=True):
    """Servers that may know a room, and the membership there of the user who asks."""

    servers: tuple[ServerName, ...]
    membership: str | None


class RoomSummaries(msgspec.Struct, frozen=True):
    """Tells what a room is."""

    database: Database
    server_name: ServerName
    aliases: Aliases
    remote: RemoteSpaces

    async def of(
        self, requester: Requester | None, room: RoomID | RoomAlias, via: Sequence[ServerName]
    ) -> JsonObject:
        """The `RoomSummary`, with the requester's `membership`; other servers are asked for rooms that are not here.

        Errors: NotFound, also for what the requester may not know of; InvalidParam for a malformed alias; Unknown
        (502) if the server of an alias cannot be asked; LimitExceeded for those without an account.
        """
        user_id = None if requester is None else requester.user_id
        servers = tuple(via)
        if room.startswith("#"):
            if requester is None:
                self._check_calm()
            resolved = await self.aliases.resolve(parse_room_alias(room))
            room_id, servers = resolved.room_id, (*servers, *resolved.servers)
        else:
            room_id = RoomID(room)
        found = await self.database.read(find_here, self.server_name, user_id, room_id)
        if isinstance(found, dict):
            return found
        if requester is None:
            self._check_calm()
        question = Question.of(room_id, (*servers, *found.servers), self.server_name, found.membership)
        answer = await self.remote.find(question, suggested_only=True)
        if answer is None:
            raise NotFound("Room not found")
        return await self.database.read(find_elsewhere, user_id, answer.room)

    def _check_calm(self) -> None:
        """Errors: LimitExceeded."""
        if self.remote.busy >= MOST_FOR_STRANGERS:
            raise LimitExceeded("Too many rooms are being looked for", retry_after_ms=1_000)


def find_here(
    tx: ReadTransaction, server_name: ServerName, user_id: UserID | None, room_id: RoomID
) -> JsonObject | Elsewhere:
    """The summary of a room of this server, `server_name`, or where else it may be known.

    Errors: NotFound if the user may not know of it.
    """
    room = rooms.of(tx, room_id)
    membership = membership_in(tx, user_id, room_id)
    if room is None or not room.is_held or not room_servers.joined(tx, room.room_nid, server_name):
        mine = None if user_id is None else memberships.room_of(tx, user_id, room_id)
        named = (None if mine is None else server_of(mine.sender), server_of(room_id))
        return Elsewhere(tuple(server for server in named if server is not None), membership)
    found = summarise(tx, room)
    if not Terms.of(found).admit(tx, user_id, membership):
        raise NotFound("Room not found")
    return _with_membership(found.to_json(), user_id, membership)


def find_elsewhere(tx: ReadTransaction, user_id: UserID | None, room: RemoteRoom) -> JsonObject:
    """The summary that another server gives. Errors: NotFound if the user may not know of the room."""
    membership = membership_in(tx, user_id, room.room_id)
    if not room.terms.admit(tx, user_id, membership):
        raise NotFound("Room not found")
    return _with_membership(room.summary, user_id, membership)


def _with_membership(summary: JsonObject, user_id: UserID | None, membership: str | None) -> JsonObject:
    """Who has never been in the room has left it, as it were: the member is there for everybody with an account."""
    return summary if user_id is None else summary | {"membership": membership or "leave"}
