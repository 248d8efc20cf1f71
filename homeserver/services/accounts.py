"""Accounts as their owners and the operator manage them: make, change the password, close, list."""

from typing import Final, Protocol

import msgspec
import structlog
from twisted.internet.defer import CancelledError

from homeserver.core.errors import Forbidden, NotFound, UserInUse
from homeserver.core.identifiers import DeviceID, UserID, localpart_of
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services import new_accounts, user_directory_entries
from homeserver.services.email_validations import Purpose
from homeserver.services.passwords import Passwords
from homeserver.services.sessions import (
    end_beginnings,
    end_everything,
    end_other_sessions,
)
from homeserver.services.user_names import UserNames
from homeserver.storage import (
    accepted_policies,
    delayed_events,
    key_backups,
    threepid_bindings,
    threepids,
    users,
    validation_sessions,
)
from homeserver.storage.users import User

DEPARTURES_AT_ONCE: Final = 20

_log = structlog.get_logger(__name__)


class Departures(Protocol):
    """Takes users out of rooms."""

    async def leave_all_rooms(self, user_id: UserID) -> None:
        """Leave all rooms, and refuse all invites. May be called again after a failure."""
        ...


class Accounts(msgspec.Struct, frozen=True):
    """Manages accounts.

    Without `departures` (as in a command beside the running server) deactivated users stay in their rooms
    until a process that has them comes to `finish_departures`.
    """

    database: Database
    clock: Clock
    names: UserNames
    passwords: Passwords
    departures: Departures | None

    async def create(self, name: str, password: str | None, *, is_admin: bool = False) -> UserID:
        """Make an account for a localpart or user ID; without a password nobody can log in by one.

        Errors: InvalidUsername, Exclusive, UserInUse, WeakPassword.
        """
        user_id = self.names.new_user_id_of(name)
        password_hash = None if password is None else await self.passwords.hash(password)
        is_free = await self.database.write(
            new_accounts.create,
            user_id,
            password_hash=password_hash,
            display_name=localpart_of(user_id),
            is_admin=is_admin,
            now_ts=self.clock.now_ts(),
        )
        if not is_free:
            raise UserInUse
        return user_id

    async def set_password(
        self, user_id: UserID, password: str, *, logout_devices: bool, keep: DeviceID | None = None
    ) -> None:
        """Change the password; with `logout_devices` all devices but `keep` are logged out and deleted.

        Errors: WeakPassword; NotFound if there is no such active account.
        """
        password_hash = await self.passwords.hash(password)
        await self.database.write(
            set_password, user_id, password_hash, logout_devices=logout_devices, keep=keep
        )

    async def reset_password(self, password: str, validation: bytes, *, logout_devices: bool) -> None:
        """Change the password of the account that has the address which was confirmed in a validation.

        Errors: WeakPassword; Forbidden if the validation is used up, or the address is no longer the account's.
        """
        password_hash = await self.passwords.hash(password)
        await self.database.write(
            reset_password,
            password_hash,
            validation,
            logout_devices=logout_devices,
            now_ts=self.clock.now_ts(),
        )

    async def set_admin(self, user_id: UserID, *, is_admin: bool) -> None:
        """Give or take an administrator's rights. Errors: NotFound if there is no such active account."""
        if not await self.database.write(users.set_admin, user_id, is_admin=is_admin):
            raise _not_found()

    async def deactivate(self, user_id: UserID, *, erase: bool) -> None:
        """Close the account for good: nobody can log in to it, nor take its name.

        It leaves all rooms. With `erase` newcomers to its rooms see its events redacted, and what it kept on
        this server is deleted. Errors: NotFound if there is no such account, or it is closed already.
        """
        await self.database.write(deactivate, user_id, erase=erase)
        await self._depart(user_id)

    async def finish_departures(self) -> None:
        """Take deactivated users out of rooms that a crash has left them in. A loop's work."""
        after = ""
        while found := await self.database.read(users.departing, after=after, limit=DEPARTURES_AT_ONCE):
            for user_id in found:
                await self._depart(user_id)
            after = found[-1]

    async def find(self, user_id: UserID) -> User | None:
        """The account, None if there is none."""
        return await self.database.read(users.find, user_id)

    async def page(self, *, after: str = "", limit: int = 100, deactivated: bool = False) -> list[User]:
        """Up to `limit` accounts in the order of their user IDs, beginning beyond `after`."""
        return await self.database.read(users.page, after=after, limit=limit, deactivated=deactivated)

    async def _depart(self, user_id: UserID) -> None:
        """Leave the rooms; a failure is not the account's, which is closed, nor another's: the loop tries again."""
        if self.departures is None:
            return
        try:
            await self.departures.leave_all_rooms(user_id)
            await self.database.write(users.departed, user_id)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the account is closed
            _log.exception("a deactivated user could not leave all rooms", user=user_id)


def set_password(
    tx: WriteTransaction, user_id: UserID, password_hash: str, *, logout_devices: bool, keep: DeviceID | None
) -> None:
    """Change the password. What was begun with the old one ends. Errors: NotFound."""
    if not users.set_password_hash(tx, user_id, password_hash):
        raise _not_found()
    validation_sessions.remove_of_user(tx, user_id)
    end_beginnings(tx, user_id)
    if logout_devices:
        end_other_sessions(tx, user_id, but=keep)


def reset_password(
    tx: WriteTransaction,
    password_hash: str,
    validation: bytes,
    *,
    logout_devices: bool,
    now_ts: int,
) -> None:
    """Use the validation up, and change the password of whose address it was and is. Errors: Forbidden."""
    taken = validation_sessions.take(tx, validation, purpose=Purpose.RESET.value, now_ts=now_ts)
    if taken is None:
        raise Forbidden("The e-mail address must be confirmed once more")
    threepid, user_id, _ = taken
    if user_id is None or threepids.owner_of(tx, threepid) != user_id:
        raise Forbidden("The e-mail address is not of that account any more")
    set_password(tx, user_id, password_hash, logout_devices=logout_devices, keep=None)


def deactivate(tx: WriteTransaction, user_id: UserID, *, erase: bool) -> None:
    """Close the account, and take away everything that could open it. Errors: NotFound."""
    if not users.deactivate(tx, user_id):
        raise _not_found()
    validation_sessions.remove_of_user(tx, user_id)
    threepids.remove_of_user(tx, user_id)
    threepid_bindings.remove_of_user(tx, user_id)
    end_everything(tx, user_id)
    delayed_events.remove_of_user(tx, user_id)
    key_backups.remove_of_user(tx, user_id)
    if erase:
        accepted_policies.remove_of_user(tx, user_id)
        users.erase(tx, user_id)
    user_directory_entries.refresh(tx, [user_id])


def _not_found() -> NotFound:
    return NotFound("There is no such active account")
