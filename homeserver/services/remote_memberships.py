"""Memberships of users here that need other servers: those of a room that this server is not in, or of their users."""

from collections.abc import Iterable, Sequence

import msgspec

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomID, ServerName, UserID, parse_server_name, server_of
from homeserver.core.json import JsonObject, decode
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.membership_changes import check_account, content_of
from homeserver.rooms.membership_events import Wanted
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.remote_joins import RemoteJoins
from homeserver.services.remote_knocks import RemoteKnocks
from homeserver.services.remote_leaves import RemoteLeaves
from homeserver.storage import memberships, room_servers, rooms, stripped_states


class RemoteMemberships(msgspec.Struct, frozen=True):
    """Changes memberships with the help of other servers.

    `via` are servers that may be in the room, in the order in which they are to be tried.
    """

    database: Database
    joins: RemoteJoins
    knocks: RemoteKnocks
    leaves: RemoteLeaves
    invites: RemoteInvites

    async def join(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> bool:
        """Join a room that this server is not in; False if it is in the room meanwhile.

        Errors: NotFound for guests; UserSuspended; see `RemoteJoins.join`.
        """
        wanted, servers = await self._prepared(requester, room_id, "join", extra, via)
        return await self.joins.join(room_id, wanted, servers)

    async def join_beside(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> None:
        """Join a room that this server is in, by the word of a member elsewhere.

        Errors: as `join`; see `RemoteJoins.join_beside`.
        """
        wanted, servers = await self._prepared(requester, room_id, "join", extra, via)
        await self.joins.join_beside(room_id, wanted, servers)

    async def knock(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> None:
        """Knock on a room that this server is not in. Errors: UserSuspended; see `RemoteKnocks.knock`."""
        wanted, servers = await self._prepared(requester, room_id, "knock", extra, via)
        await self.knocks.knock(room_id, wanted, servers)

    async def leave(self, user_id: UserID, room_id: RoomID, extra: JsonObject) -> None:
        """Reject an invitation to a room that this server is not in, or take back a knock there.

        Errors: Forbidden if there is nothing to leave.
        """
        content = {**extra, "membership": "leave"}
        servers = await self.database.read(likely_servers, room_id, user_id)
        await self.leaves.leave(room_id, Wanted(user_id, user_id, content), servers)

    async def invite(self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject) -> str:
        """Invite a user of another server; gives the event's ID. Errors: see `RemoteInvites.invite`."""
        return await self.invites.invite(requester, room_id, user_id, extra)

    async def _prepared(
        self, requester: Requester, room_id: RoomID, membership: str, extra: JsonObject, via: Iterable[str]
    ) -> tuple[Wanted, list[ServerName]]:
        if requester.is_guest:
            # What no guest can be shown to have joined need not be looked for.
            raise NotFound("This server is not in that room, and guests can only join rooms that it is in")
        content, likely = await self.database.read(prepare, requester, room_id, membership, extra)
        wanted = Wanted(requester.user_id, requester.user_id, content)
        return wanted, [*_server_names(via), *likely]


def prepare(
    tx: ReadTransaction, requester: Requester, room_id: RoomID, membership: str, extra: JsonObject
) -> tuple[JsonObject, list[ServerName]]:
    """The content of the membership event, and servers that are likely to be in the room.

    Errors: UserSuspended; InvalidParam, BadJson for `extra`.
    """
    check_account(tx, requester, requester.user_id, membership)
    content = content_of(tx, requester, requester.user_id, membership, extra)
    return content, likely_servers(tx, room_id, requester.user_id)


def likely_servers(tx: ReadTransaction, room_id: RoomID, user_id: UserID) -> list[ServerName]:
    """Servers that may be in the room, the likeliest first: the inviter's, those that are known to be or to have been.

    The server that the room ID names has made the room, and may be there still.
    """
    named: list[str | None] = []
    room_nid = rooms.nid_of(tx, room_id)
    if room_nid is not None:
        mine = memberships.of(tx, room_nid, user_id)
        if mine is not None and mine.membership == "invite":
            named.append(server_of(mine.sender))
        counts = room_servers.of_room(tx, room_nid)
        named += [name for name, _ in sorted(counts.items(), key=lambda pair: -pair[1])]
        named += _senders(stripped_states.of(tx, room_nid, user_id))
    named.append(server_of(room_id))
    return list(dict.fromkeys(_server_names(name for name in named if name is not None)))


def _senders(told: bytes | None) -> list[str]:
    """The servers of those who set the state that the user has been told of."""
    listed = decode(told) if told is not None else []
    senders = (
        [each.get("sender") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    return [sender.partition(":")[2] for sender in senders if isinstance(sender, str)]


def _server_names(names: Iterable[str]) -> list[ServerName]:
    """Those that are server names."""
    found = []
    for name in names:
        try:
            found.append(parse_server_name(name))
        except InvalidParam:
            continue
    return found
