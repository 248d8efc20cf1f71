"""What administrators see and decide of accounts. Spec: client-server API, "Server Administration"."""

import msgspec

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.storage import devices, uia_sessions, users, validation_sessions
from homeserver.storage.devices import Device
from homeserver.storage.users import User


class Moderation(msgspec.Struct, frozen=True):
    """Locks and suspends accounts, and tells where they are used.

    Errors of all methods: Forbidden for who is no administrator, before anything is looked for; InvalidParam for a
    user of another server; NotFound for one who is not there, or deactivated; Forbidden if it is another administrator.
    """

    database: Database
    server_name: ServerName

    async def devices_of(self, requester: Requester, user_id: UserID) -> list[Device]:
        """Where a user's devices have last been seen; users may ask for themselves, and administrators for any."""
        if requester.user_id != user_id:
            self._check(requester, user_id)
        return await self.database.read(read_devices, user_id)

    async def is_locked(self, requester: Requester, user_id: UserID) -> bool:
        """Whether the account is locked."""
        self._check(requester, user_id)
        return (await self.database.read(find, requester, user_id)).is_locked

    async def is_suspended(self, requester: Requester, user_id: UserID) -> bool:
        """Whether the account is suspended."""
        self._check(requester, user_id)
        return (await self.database.read(find, requester, user_id)).is_suspended

    async def set_locked(self, requester: Requester, user_id: UserID, *, locked: bool) -> None:
        """Lock the account, so that its devices can do nothing but log out, or unlock it. Not one's own: Forbidden."""
        self._check_other(requester, user_id)
        await self.database.write(set_locked, requester, user_id, locked=locked)

    async def set_suspended(self, requester: Requester, user_id: UserID, *, suspended: bool) -> None:
        """Suspend the account, so that others see nothing new of it, or let it go on. Not one's own: Forbidden."""
        self._check_other(requester, user_id)
        await self.database.write(set_suspended, requester, user_id, suspended=suspended)

    def _check(self, requester: Requester, user_id: UserID) -> None:
        """Errors: Forbidden, InvalidParam."""
        if not requester.is_admin:
            raise Forbidden("Requesting user is not a server administrator.")
        if server_of(user_id) != self.server_name:
            raise InvalidParam("User does not belong to the local server.")

    def _check_other(self, requester: Requester, user_id: UserID) -> None:
        self._check(requester, user_id)
        if requester.user_id == user_id:
            raise Forbidden("You cannot do this to your own account.")


def read_devices(tx: ReadTransaction, user_id: UserID) -> list[Device]:
    """The user's devices. Errors: NotFound."""
    _active(tx, user_id)
    return devices.of_user(tx, user_id)


def find(tx: ReadTransaction, requester: Requester, user_id: UserID) -> User:
    """An account that is the requester's business. Errors: NotFound, Forbidden."""
    user = _active(tx, user_id)
    if user.is_admin and user_id != requester.user_id:
        raise Forbidden("The user is another administrator.")
    return user


def set_locked(tx: WriteTransaction, requester: Requester, user_id: UserID, *, locked: bool) -> None:
    """Lock or unlock the account. What was authorised and not done ends with a lock. Errors: NotFound, Forbidden."""
    find(tx, requester, user_id)
    users.set_locked(tx, user_id, is_locked=locked)
    if locked:
        uia_sessions.remove_of_user(tx, user_id)
        validation_sessions.remove_of_user(tx, user_id)


def set_suspended(tx: WriteTransaction, requester: Requester, user_id: UserID, *, suspended: bool) -> None:
    """Suspend the account, or end that. Errors: NotFound, Forbidden."""
    find(tx, requester, user_id)
    users.set_suspended(tx, user_id, is_suspended=suspended)


def _active(tx: ReadTransaction, user_id: UserID) -> User:
    user = users.find(tx, user_id)
    if user is None or user.is_deactivated:
        raise NotFound("User not found.")
    return user
