"""Names for rooms. Spec: client-server API, "Room aliases"."""

import unicodedata
from typing import Final, Protocol

import msgspec

from homeserver.core.appservices import Appservices
from homeserver.core.errors import Forbidden, InvalidParam, NotFound, Unknown
from homeserver.core.event import StateKey
from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, parse_room_alias, server_of
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import current_content
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.membership_changes import check_not_suspended
from homeserver.rooms.power import levels_in
from homeserver.runtime.clock import Clock
from homeserver.services.room_access import check_may_look_in
from homeserver.storage import aliases, memberships, room_servers, rooms

MOST_SERVERS: Final = 100
"""Of the servers that know a room, so many are told."""

CANONICAL_ALIAS: StateKey = ("m.room.canonical_alias", "")


class ResolvedAlias(msgspec.Struct, frozen=True):
    """Where an alias leads to, and servers that know the room."""

    room_id: RoomID
    servers: tuple[ServerName, ...]


class AliasesElsewhere(Protocol):
    """Knows the aliases of other servers."""

    async def resolve(self, alias: RoomAlias) -> ResolvedAlias:
        """Find the room of another server's alias."""
        ...


class Aliases(msgspec.Struct, frozen=True):
    """Keeps the aliases of this server."""

    database: Database
    clock: Clock
    signer: Signer
    elsewhere: AliasesElsewhere
    appservices: Appservices = Appservices()

    async def resolve(self, alias: RoomAlias) -> ResolvedAlias:
        """Find the room of an alias. Errors: NotFound; Unknown (502) if another server cannot be asked."""
        if server_of(alias) != self.signer.server_name:
            return await self.elsewhere.resolve(alias)
        return await self.database.read(resolve_alias, alias, self.signer.server_name)

    async def create(self, requester: Requester, alias: RoomAlias, room_id: RoomID) -> None:
        """Give a room another name.

        Errors: InvalidParam for an alias of another server, or one that nobody could type; Forbidden for who
        is not joined to the room; NotFound; Unknown (409) if the alias is taken; Exclusive.
        """
        check_new_alias(alias, self.signer.server_name)
        self.appservices.check_alias(alias, requester.appservice_id)
        await self.database.write(create_alias, requester, alias, room_id, now_ts=self.clock.now_ts())

    async def delete(self, requester: Requester, alias: RoomAlias) -> None:
        """Remove an alias, also from the canonical aliases of its room if the requester has the power to.

        Errors: NotFound; Forbidden unless the requester made it, has the power to choose the room's canonical
        alias, or is an administrator of this server or an application service in whose namespaces the alias is;
        Exclusive; UserSuspended.
        """
        self.appservices.check_alias(alias, requester.appservice_id)
        await self.database.write(delete_alias, self.signer, requester, alias, now_ts=self.clock.now_ts())

    async def of_room(self, requester: Requester, room_id: RoomID) -> list[RoomAlias]:
        """This server's aliases of a room, oldest first.

        Errors: Forbidden unless the requester is joined to the room, or everybody may read it.
        """
        return await self.database.read(aliases_of_room, requester, room_id)


def resolve_alias(tx: ReadTransaction, alias: RoomAlias, server_name: ServerName) -> ResolvedAlias:
    """Where an alias of this server, `server_name`, leads to. Errors: NotFound."""
    found = aliases.of(tx, alias)
    if found is None:
        raise NotFound(f"There is no room under the alias {alias}")
    room_nid = rooms.nid_of(tx, found.room_id)
    counts = {} if room_nid is None else room_servers.of_room(tx, room_nid)
    others = sorted(counts.keys() - {server_name}, key=lambda name: (-counts[name], name))
    return ResolvedAlias(found.room_id, (server_name, *others[: MOST_SERVERS - 1]))


def new_alias(localpart: str, server_name: ServerName) -> RoomAlias:
    """The alias that a client asks for, given what stands between `#` and `:`. Errors: InvalidParam."""
    if ":" in localpart:
        raise InvalidParam("the local part of a room alias has no colon")
    alias = parse_room_alias(f"#{localpart}:{server_name}")
    check_new_alias(alias, server_name)
    return alias


def check_new_alias(alias: RoomAlias, server_name: ServerName) -> None:
    """Whether this server would make the alias. Errors: InvalidParam."""
    if server_of(alias) != server_name:
        raise InvalidParam(f"this server keeps aliases that end in :{server_name}")
    # Ours: what can be neither seen nor typed makes no name.
    if any(character.isspace() or unicodedata.category(character) == "Cc" for character in alias):
        raise InvalidParam("a room alias has no blanks or control characters")


def create_alias(
    tx: WriteTransaction, requester: Requester, alias: RoomAlias, room_id: RoomID, *, now_ts: int
) -> None:
    """Make an alias. Errors: see `Aliases.create`."""
    check_not_suspended(tx, requester.user_id)
    room = rooms.lock(tx, room_id)
    if room is None:
        raise NotFound("Unknown room")
    mine = memberships.of(tx, room.room_nid, requester.user_id)
    if mine is None or mine.membership != "join":
        raise Forbidden("You must be in the room to make an alias of it")
    if not aliases.add(tx, alias, room_id, requester.user_id, now_ts=now_ts):
        raise Unknown(f"Room alias {alias} already exists", status=409)


def delete_alias(
    tx: WriteTransaction, signer: Signer, requester: Requester, alias: RoomAlias, *, now_ts: int
) -> None:
    """Remove an alias. Errors: see `Aliases.delete`."""
    check_not_suspended(tx, requester.user_id)
    found = aliases.of(tx, alias)
    if found is None:
        raise NotFound(f"Room alias {alias} not found")
    appender = Appender.lock(tx, found.room_id, signer, now_ts=now_ts)
    has_power = may_choose_canonical_alias(appender, requester)
    # Of an application service it has been checked that the alias is in its namespaces.
    is_privileged = requester.is_admin or requester.appservice_id is not None
    if not (has_power or is_privileged or found.creator == requester.user_id):
        raise Forbidden("You have neither made this alias nor the power to choose the room's canonical alias")
    aliases.remove(tx, alias)
    if has_power:
        _remove_from_state(appender, requester, alias)


def may_choose_canonical_alias(appender: Appender, requester: Requester) -> bool:
    """Whether the requester is in the room and may say how it is called: who may has a say in its aliases."""
    member = current_content(appender, ("m.room.member", requester.user_id))
    levels = levels_in(appender)
    return member.get("membership") == "join" and bool(
        levels.user_level(requester.user_id) >= levels.event_level(CANONICAL_ALIAS[0], is_state=True)
    )


def aliases_of_room(tx: ReadTransaction, requester: Requester, room_id: RoomID) -> list[RoomAlias]:
    """The aliases of a room. Errors: Forbidden."""
    check_may_look_in(tx, requester.user_id, room_id)
    return aliases.of_room(tx, room_id)


def _remove_from_state(appender: Appender, requester: Requester, alias: RoomAlias) -> None:
    """Take the alias from the room's canonical aliases, if it is one."""
    before = current_content(appender, CANONICAL_ALIAS)
    after: JsonObject = dict(before)
    if after.get("alias") == alias:
        del after["alias"]
    others = after.get("alt_aliases")
    if isinstance(others, list) and alias in others:
        after["alt_aliases"] = [other for other in others if other != alias]
    if after != before:
        draft = Draft(requester.user_id, CANONICAL_ALIAS[0], after, state_key=CANONICAL_ALIAS[1])
        appender.append(draft)
        appender.publish()
