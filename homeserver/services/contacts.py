"""The third-party identifiers of accounts: the addresses by which their owners log in, and have passwords reset.

Spec: client-server API, "Adding Account Administrative Contact Information".
"""

from typing import Final

import msgspec
import structlog

from homeserver.core.errors import ThreepidAuthFailed, ThreepidDenied, ThreepidInUse, UserSuspended
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.core.threepids import Threepid
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.email_validations import EmailValidations, Purpose, Validated
from homeserver.storage import threepids, validation_sessions
from homeserver.storage.threepids import OwnThreepid

MOST_OF_USER: Final = 50

_log = structlog.get_logger(__name__)


class Contacts(msgspec.Struct, frozen=True):
    """Lists, adds and removes identifiers. What changes is logged, so that misuse can be followed up."""

    database: Database
    clock: Clock
    validations: EmailValidations

    async def of(self, user_id: UserID) -> list[OwnThreepid]:
        """The identifiers of an account."""
        return await self.database.read(threepids.of_user, user_id)

    async def validated(self, requester: Requester, sid: str, client_secret: str) -> Validated:
        """What the requester has shown to have, for an account. Errors: ThreepidAuthFailed."""
        validated = await self.validations.validated(sid, client_secret, Purpose.ADD)
        if validated is None or validated.user_id not in (None, requester.user_id):
            raise _not_validated()
        return validated

    async def add(self, requester: Requester, validated: Validated) -> None:
        """Add an identifier to the account, and use its validation up.

        Errors: ThreepidAuthFailed if that has been done; ThreepidInUse; ThreepidDenied if there are too many.
        """
        threepid = await self.database.write(
            add, requester.user_id, validated.session_hash, now_ts=self.clock.now_ts()
        )
        _log.info("contact added", user=requester.user_id, medium=threepid.medium, address=threepid.address)

    async def remove(self, requester: Requester, threepid: Threepid) -> None:
        """Take an identifier from the account, if it is the account's. Errors: UserSuspended."""
        # "Change or add admin contacts, but not remove."
        if requester.is_suspended:
            raise UserSuspended("You cannot do this while your account is suspended")
        if await self.database.write(threepids.remove, requester.user_id, threepid):
            _log.info(
                "contact removed", user=requester.user_id, medium=threepid.medium, address=threepid.address
            )


def add(tx: WriteTransaction, user_id: UserID, session_hash: bytes, *, now_ts: int) -> Threepid:
    """Add what was validated. Errors: see `Contacts.add`."""
    taken = validation_sessions.take(tx, session_hash, purpose=Purpose.ADD.value, now_ts=now_ts)
    if taken is None:
        raise _not_validated()
    threepid, meant_for, validated_ts = taken
    if meant_for not in (None, user_id):
        raise _not_validated()
    if threepids.count_of_user(tx, user_id) >= MOST_OF_USER:
        raise ThreepidDenied(f"An account has at most {MOST_OF_USER} addresses")
    if not threepids.add(tx, user_id, threepid, validated_ts=validated_ts, now_ts=now_ts):
        raise ThreepidInUse("The address belongs to another account")
    return threepid


def _not_validated() -> ThreepidAuthFailed:
    return ThreepidAuthFailed("The address has not been confirmed, or not for this account")
