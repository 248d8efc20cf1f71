"""Who is meant by a user identifier: a user ID, a localpart, or a third-party identifier of the account."""

import msgspec

from homeserver.core.errors import InvalidParam, UserLocked
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonValue
from homeserver.core.threepids import MSISDN, Threepid, canonical
from homeserver.database.database import Database
from homeserver.services.user_names import ThirdParty, named_in
from homeserver.storage import threepids, users


class NamedUsers(msgspec.Struct, frozen=True):
    """Finds users by what they type."""

    database: Database

    async def name_of(self, identifier: JsonValue, user: JsonValue) -> str:
        """The user ID or localpart in a user identifier, or else in the old `user` parameter.

        For a third-party identifier that nobody here has it is a name that nobody can have: so checking a password
        takes the same work, and fails in the same way. Errors: MissingParam, InvalidParam.
        Spec: client-server API, "Identifier types".
        """
        named = named_in(identifier, user)
        if isinstance(named, str):
            return named
        threepid = _threepid(named)
        owner = None
        if threepid is not None:
            owner = await self.database.read(threepids.owner_of, threepid)
        # After two colons there is no name of this server, whatever stands between them.
        return f"3pid:{named.medium}:{named.address}" if owner is None else owner

    async def check_not_locked(self, user_id: UserID) -> None:
        """Errors: UserLocked. Spec: client-server API, "Account locking"."""
        user = await self.database.read(users.find, user_id)
        if user is not None and user.is_locked:
            raise UserLocked


def _threepid(named: ThirdParty) -> Threepid | None:
    """What is typed in canonical form; None if there is no such identifier."""
    try:
        if named.medium == MSISDN:
            return canonical(MSISDN, "".join(each for each in named.address if each.isdigit()))
        return canonical(named.medium, named.address)
    except InvalidParam:
        return None
