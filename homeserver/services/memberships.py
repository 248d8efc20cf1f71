"""Joining, inviting, leaving, kicking, banning. Spec: client-server API, "Room membership"."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from homeserver.core.endpoint_errors import UnableToAuthoriseJoin, UnableToGrantJoin
from homeserver.core.errors import BadJson, BadState, Forbidden, InvalidParam, MatrixError, NotFound, Unknown
from homeserver.core.identifiers import (
    EventID,
    RoomID,
    UserID,
    parse_room_alias,
    parse_room_id,
    parse_user_id,
    server_of,
)
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import invitations
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_changes import MembershipChanges
from homeserver.rooms.power import levels_in
from homeserver.runtime.clock import Clock
from homeserver.services.aliases import Aliases
from homeserver.services.forgotten_rooms import PURGE_DELAY_MS, depart, forget, forget_all_the_same
from homeserver.services.rooms_here import NotHereError, lock_here
from homeserver.storage import memberships
from homeserver.storage.memberships import RoomOfUser


class Elsewhere(Protocol):
    """Changes memberships with the help of other servers; `via` are servers that may be in the room."""

    async def join(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> bool:
        """Join a room that this server is not in; False if it is in the room meanwhile."""
        ...

    async def join_beside(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> None:
        """Join a room that this server is in, by the word of a member elsewhere."""
        ...

    async def knock(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> None:
        """Knock on a room that this server is not in."""
        ...

    async def leave(self, user_id: UserID, room_id: RoomID, extra: JsonObject) -> None:
        """Reject an invitation to a room that this server is not in, or take back a knock there."""
        ...

    async def invite(self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject) -> str:
        """Invite a user of another server; gives the event's ID."""
        ...


class Memberships(msgspec.Struct, frozen=True):
    """Changes who is in which room.

    `extra` is what else the client wants in the content of the membership event, such as `reason`; `via` are
    servers that may be in a room that this one is not in. What only other servers can do fails, beside the errors
    of each method, with what they answer: Forbidden, NotFound, IncompatibleRoomVersion, or Unknown
    (502).
    """

    database: Database
    clock: Clock
    signer: Signer
    aliases: Aliases
    elsewhere: Elsewhere

    async def join(
        self, requester: Requester, room_id_or_alias: str, extra: JsonObject, via: Sequence[str] = ()
    ) -> RoomID:
        """Join a room by its ID or by one of its aliases; nothing happens to who is joined already.

        Errors: Forbidden if the user may not; GuestAccessForbidden, UserSuspended.
        """
        room_id, via = await self.find(room_id_or_alias, via)
        try:
            await self._join_here(requester, room_id, extra)
        except NotHereError:
            if not await self.elsewhere.join(requester, room_id, extra, via):
                # Somebody else was faster.
                await self._join_after_others(requester, room_id, extra)
        except (UnableToAuthoriseJoin, UnableToGrantJoin) as error:
            try:
                await self.elsewhere.join_beside(requester, room_id, extra, via)
            except NotFound:
                raise Forbidden(error.message) from error
        return room_id

    async def _join_after_others(self, requester: Requester, room_id: RoomID, extra: JsonObject) -> None:
        try:
            await self._join_here(requester, room_id, extra)
        except NotHereError:
            raise Unknown("The room was left while it was being joined", status=502) from None

    async def _join_here(self, requester: Requester, room_id: RoomID, extra: JsonObject) -> None:
        await self.database.write(join, self.signer, requester, room_id, extra, now_ts=self.clock.now_ts())

    async def knock(
        self, requester: Requester, room_id_or_alias: str, extra: JsonObject, via: Sequence[str] = ()
    ) -> RoomID:
        """Ask to be invited to a room; nothing happens to who has asked already.

        Errors: Forbidden if one cannot knock there, or the user is in the room, invited or banned.
        """
        room_id, via = await self.find(room_id_or_alias, via)
        try:
            await self.database.write(
                knock, self.signer, requester, room_id, extra, now_ts=self.clock.now_ts()
            )
        except NotHereError:
            await self.elsewhere.knock(requester, room_id, extra, via)
        return room_id

    async def invite(self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject) -> None:
        """Invite a user; nothing happens to who is invited already.

        Errors: NotFound; Forbidden if the requester may not, or the user is joined or banned; InviteBlocked.
        """
        if server_of(user_id) != self.signer.server_name:
            await self.elsewhere.invite(requester, room_id, user_id, extra)
            return
        await self.database.write(
            invite, self.signer, requester, room_id, user_id, extra, now_ts=self.clock.now_ts()
        )

    async def leave(self, requester: Requester, room_id: RoomID, extra: JsonObject) -> None:
        """Leave a room, reject an invite, or take back a knock; nothing happens to who has left already.

        Errors: Forbidden for who has never been there, or is banned; CannotLeaveServerNoticeRoom for an invitation to
        the room of server notices.
        """
        try:
            await self.database.write(
                leave, self.signer, requester, room_id, extra, now_ts=self.clock.now_ts()
            )
        except NotHereError:
            await self.elsewhere.leave(requester.user_id, room_id, extra)

    async def set_member(
        self, requester: Requester, room_id: RoomID, state_key: str, content: JsonObject
    ) -> EventID:
        """Set a membership as a state event; gives the event's ID.

        Errors: NotFound; as for the endpoint of that membership.
        """
        user_id = parse_user_id(state_key)
        if content.get("membership") == "invite" and server_of(user_id) != self.signer.server_name:
            return EventID(await self.elsewhere.invite(requester, room_id, user_id, content))
        return await self.database.write(
            set_member, self.signer, requester, room_id, user_id, content, now_ts=self.clock.now_ts()
        )

    async def kick(self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject) -> None:
        """Remove a user, or turn down an invite or knock. Errors: Forbidden."""
        await self.database.write(
            kick, self.signer, requester, room_id, user_id, extra, now_ts=self.clock.now_ts()
        )

    async def ban(self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject) -> None:
        """Remove a user for good. Errors: Forbidden."""
        await self.database.write(
            ban, self.signer, requester, room_id, user_id, extra, now_ts=self.clock.now_ts()
        )

    async def unban(self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject) -> None:
        """Lift a ban. Errors: Forbidden; BadState if the user is not banned."""
        await self.database.write(
            unban, self.signer, requester, room_id, user_id, extra, now_ts=self.clock.now_ts()
        )

    async def forget(self, requester: Requester, room_id: RoomID) -> None:
        """Never see a room again that one has left; it is removed once all users of this server have done so.

        Errors: Unknown if the user has not left the room, or was never there.
        """
        due_ts = self.clock.now_ts() + PURGE_DELAY_MS
        await self.database.write(forget, requester.user_id, room_id, due_ts=due_ts)

    async def joined_rooms(self, requester: Requester) -> list[RoomID]:
        """The rooms that the requester is joined to."""
        return await self.database.read(memberships.joined_room_ids, requester.user_id)

    async def leave_all_rooms(self, user_id: UserID) -> None:
        """Leave and forget everything, for an account that is closed; if broken off, to be called again.

        Errors: that of the last room that did not let the user go, such as by its policy server, after all others.
        """
        refused: MatrixError | None = None
        for room in await self.database.read(memberships.rooms_of, user_id):
            if room.forgotten:
                continue
            now_ts = self.clock.now_ts()
            try:
                await self._depart(user_id, room, now_ts=now_ts, due_ts=now_ts + PURGE_DELAY_MS)
            except MatrixError as error:
                refused = error
        if refused is not None:
            raise refused

    async def _depart(self, user_id: UserID, room: RoomOfUser, *, now_ts: int, due_ts: int) -> None:
        try:
            await self.database.write(
                depart, self.signer, user_id, room.room_id, now_ts=now_ts, due_ts=due_ts
            )
        except NotHereError:
            if room.membership in ("invite", "knock"):
                await self.elsewhere.leave(user_id, room.room_id, {})
            await self.database.write(
                forget_all_the_same, user_id, room.room_nid, room.room_id, due_ts=due_ts
            )

    async def find(self, room_id_or_alias: str, via: Sequence[str] = ()) -> tuple[RoomID, Sequence[str]]:
        """The room's ID, and the servers that may be there. Errors: InvalidParam; NotFound for an alias."""
        if room_id_or_alias.startswith("!"):
            return parse_room_id(room_id_or_alias), via
        if room_id_or_alias.startswith("#"):
            found = await self.aliases.resolve(parse_room_alias(room_id_or_alias))
            return found.room_id, (*via, *found.servers)
        raise InvalidParam("a room ID starts with !, and a room alias with #")


def join(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Join, unless joined. Errors: NotHereError; see `Memberships.join`."""
    changes = lock_here(tx, signer, requester, room_id, now_ts=now_ts)
    if changes.current(requester.user_id) != "join":
        changes.set(requester.user_id, "join", extra)


def knock(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Knock, unless that has been done. Errors: NotHereError; see `Memberships.knock`."""
    changes = lock_here(tx, signer, requester, room_id, now_ts=now_ts)
    if changes.current(requester.user_id) != "knock":
        changes.set(requester.user_id, "knock", extra)


def invite(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    user_id: UserID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Invite, unless invited. Errors: see `Memberships.invite`."""
    changes = MembershipChanges.lock(tx, signer, requester, room_id, now_ts=now_ts)
    if changes.current(user_id) == "invite":
        # There is no event for the auth rules to judge.
        levels = levels_in(changes.appender)
        _check_joined(changes)
        if not levels.user_level(requester.user_id) >= levels.invite:
            raise Forbidden("You do not have the power to invite")
        invitations.check_accepts(tx, user_id)
        return
    changes.set(user_id, "invite", extra)


def leave(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Leave, unless that has been done. Errors: NotHereError; see `Memberships.leave`."""
    changes = lock_here(tx, signer, requester, room_id, now_ts=now_ts)
    if changes.current(requester.user_id) != "leave":
        changes.set(requester.user_id, "leave", extra)


def kick(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    user_id: UserID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Remove a user. Errors: Forbidden."""
    changes = MembershipChanges.lock(tx, signer, requester, room_id, now_ts=now_ts)
    _check_joined(changes)
    if changes.current(user_id) not in ("join", "invite", "knock"):
        raise Forbidden(f"{user_id} is not in the room")
    changes.set(user_id, "leave", extra)


def ban(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    user_id: UserID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Ban a user. Errors: Forbidden."""
    MembershipChanges.lock(tx, signer, requester, room_id, now_ts=now_ts).set(user_id, "ban", extra)


def unban(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    user_id: UserID,
    extra: JsonObject,
    *,
    now_ts: int,
) -> None:
    """Lift a ban. Errors: Forbidden, BadState."""
    changes = MembershipChanges.lock(tx, signer, requester, room_id, now_ts=now_ts)
    _check_joined(changes)
    if changes.current(user_id) != "ban":
        raise BadState(f"{user_id} is not banned")
    changes.set(user_id, "leave", extra)


def set_member(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    user_id: UserID,
    content: JsonObject,
    *,
    now_ts: int,
    delay_id: str | None = None,
) -> EventID:
    """Set a membership. Errors: see `Memberships.set_member`."""
    membership = content.get("membership")
    if not isinstance(membership, str):
        raise BadJson("$.membership: a string is wanted")
    changes = MembershipChanges.lock(tx, signer, requester, room_id, now_ts=now_ts)
    return changes.set(user_id, membership, content, delay_id=delay_id).event_id


def _check_joined(changes: MembershipChanges) -> None:
    if changes.current(changes.requester.user_id) != "join":
        raise Forbidden("You are not joined to this room")
