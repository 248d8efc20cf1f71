"""Other servers, none of which can be reached."""

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from twisted.internet import reactor

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import RoomAlias, RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.rooms.draft import Signer
from homeserver.runtime.clock import Clock
from homeserver.services.aliases import Aliases
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.guest_access import GuestAccess
from homeserver.services.memberships import Memberships
from homeserver.services.room_creation import RoomCreation
from homeserver.services.room_state import RoomState


class Nobody:
    """Helps with no membership, and knows no alias."""

    async def join(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> NoReturn:
        """Fails."""
        raise NotFound(room_id)

    async def join_beside(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> NoReturn:
        """Fails."""
        raise NotFound(room_id)

    async def knock(
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> NoReturn:
        """Fails."""
        raise NotFound(room_id)

    async def leave(self, user_id: UserID, room_id: RoomID, extra: JsonObject) -> NoReturn:
        """Fails."""
        raise NotFound(room_id)

    async def invite(
        self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject
    ) -> NoReturn:
        """Fails."""
        raise NotFound(user_id)

    async def resolve(self, alias: RoomAlias) -> NoReturn:
        """Fails."""
        raise NotFound(alias)


def lonely_aliases(database: Database, clock: Clock, signer: Signer) -> Aliases:
    """Aliases of a server that knows no other."""
    return Aliases(database, clock, signer, Nobody())


def lonely_memberships(database: Database, clock: Clock, signer: Signer) -> Memberships:
    """Memberships on a server that knows no other."""
    return Memberships(database, clock, signer, lonely_aliases(database, clock, signer), Nobody())


def lonely_state(database: Database, clock: Clock, signer: Signer) -> RoomState:
    """Rooms' state on a server that knows no other."""
    guest_access = GuestAccess(database, clock, signer)
    memberships = lonely_memberships(database, clock, signer)
    awaited = AwaitedMembers(database, clock, cast("Any", reactor))
    return RoomState(database, clock, signer, guest_access, memberships, awaited)


def lonely_creation(database: Database, clock: Clock, signer: Signer) -> RoomCreation:
    """New rooms, of version 12, on a server that knows no other."""
    memberships = lonely_memberships(database, clock, signer)
    return RoomCreation(database, clock, signer, "12", memberships, frozenset())
