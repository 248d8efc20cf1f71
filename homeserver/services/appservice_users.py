"""The accounts of application services, which need no passwords.

Spec: application service API, "Server admin style permissions".
"""

from typing import Final

import msgspec

from homeserver.core.appservices import Appservice, Appservices
from homeserver.core.errors import Exclusive, Forbidden, MissingParam, MissingToken, UnknownToken, UserInUse
from homeserver.core.identifiers import UserID, localpart_of
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services import new_accounts
from homeserver.services.credentials import hash_of
from homeserver.services.registration import Registered, RegistrationRequest
from homeserver.services.sessions import Session, SessionDraft, Sessions, open_session
from homeserver.services.user_names import UserNames

APPLICATION_SERVICE: Final = "m.login.application_service"
"""The `type` by which application services register users and log them in."""


class AppserviceUsers(msgspec.Struct, frozen=True, eq=False):
    """Registers users for application services, and opens sessions for them."""

    database: Database
    clock: Clock
    names: UserNames
    sessions: Sessions
    appservices: Appservices

    async def make_senders(self) -> None:
        """Make the accounts that application services act as unless they say otherwise, if they are missing."""
        if self.appservices.all:
            await self.database.write(make_senders, self.appservices, now_ts=self.clock.now_ts())

    async def register(self, access_token: str | None, request: RegistrationRequest) -> Registered:
        """An account in a namespace of the application service that has this token.

        Errors: MissingToken, UnknownToken; MissingParam, InvalidUsername, Exclusive, UserInUse; InvalidParam, TooLarge.
        """
        appservice = self._appservice(access_token)
        if request.username is None:
            raise MissingParam("`username` is missing")
        user_id = self.names.new_user_id(request.username, appservice)
        draft = request.draft(self.sessions)
        return await self.database.write(register, user_id, appservice, draft, now_ts=self.clock.now_ts())

    async def log_in(self, access_token: str | None, name: str, draft: SessionDraft) -> Session:
        """A session of a user whom the application service that has this token may act as.

        Errors: MissingToken, UnknownToken; Exclusive; Forbidden, UserDeactivated, UserLocked.
        """
        appservice = self._appservice(access_token)
        user_id = self.names.claimed(name)
        if user_id is None:
            raise Forbidden("There is no such account")
        if not appservice.may_act_as(user_id):
            raise Exclusive("The user is in none of the application service's namespaces")
        return await self.database.write(open_session, user_id, draft, now_ts=self.clock.now_ts())

    def _appservice(self, access_token: str | None) -> Appservice:
        if access_token is None:
            raise MissingToken
        appservice = self.appservices.of_token(hash_of(access_token))
        if appservice is None:
            raise UnknownToken("That is not the token of an application service")
        return appservice


def make_senders(tx: WriteTransaction, appservices: Appservices, *, now_ts: int) -> None:
    """Make the accounts of the senders that have none."""
    for appservice in appservices.all:
        _create(tx, appservice.sender, appservice, now_ts=now_ts)


def register(
    tx: WriteTransaction,
    user_id: UserID,
    appservice: Appservice,
    draft: SessionDraft | None,
    *,
    now_ts: int,
) -> Registered:
    """Make the account, and open a session if one is wanted. Errors: UserInUse."""
    if not _create(tx, user_id, appservice, now_ts=now_ts):
        raise UserInUse
    session = None if draft is None else open_session(tx, user_id, draft, now_ts=now_ts)
    return Registered(user_id, session)


def _create(tx: WriteTransaction, user_id: UserID, appservice: Appservice, *, now_ts: int) -> bool:
    """Make an account without a password; False if it is there."""
    return new_accounts.create(
        tx,
        user_id,
        password_hash=None,
        display_name=localpart_of(user_id),
        appservice_id=appservice.id,
        now_ts=now_ts,
    )
