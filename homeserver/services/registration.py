"""Making accounts: by anybody where that is allowed, guests included."""

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from homeserver.config.sections import Registration
from homeserver.core.errors import Forbidden, MissingParam, ThreepidInUse, UserInUse
from homeserver.core.identifiers import UserID, localpart_of
from homeserver.core.json import JsonObject
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services import new_accounts, user_directory_entries
from homeserver.services.credentials import hash_of, new_localpart
from homeserver.services.email_validations import Purpose
from homeserver.services.passwords import Passwords, check_acceptable
from homeserver.services.sessions import Session, SessionDraft, Sessions, open_session
from homeserver.services.uia import Challenge, Flows, Operation, Proof, UserInteractiveAuth
from homeserver.services.uia_stages import DUMMY, EMAIL_IDENTITY, REGISTRATION_TOKEN, TERMS, validation_in
from homeserver.services.user_names import UserNames
from homeserver.storage import (
    accepted_policies,
    access_tokens,
    registration_tokens,
    threepids,
    uia_sessions,
    users,
    validation_sessions,
)
from homeserver.storage.uia_sessions import Remembered

OPERATION: Final = "register"

REPEATABLE_MS: Final = 300_000
"""How long a registration that has succeeded may be repeated by who has not heard so: it logs in without a password."""

_SECRETS: Final = ("auth", "password", "guest_access_token")


class RegistrationRequest(msgspec.Struct, frozen=True):
    """What a client asks for, as in the body of `POST /register`; application services say so by `type`."""

    type: str | None = None
    auth: JsonObject | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None
    guest_access_token: str | None = None

    @property
    def uia_session(self) -> str | None:
        """The session that the request goes on with, None if it goes on with none."""
        session = None if self.auth is None else self.auth.get("session")
        return session if isinstance(session, str) else None

    def draft(self, sessions: Sessions) -> SessionDraft | None:
        """The first session of the account, None if none is wanted. Errors: InvalidParam, TooLarge."""
        draft = sessions.draft(
            device_id=self.device_id,
            display_name=self.initial_device_display_name,
            wants_refresh_token=bool(self.refresh_token),
        )
        return None if self.inhibit_login else draft


class Registered(msgspec.Struct, frozen=True):
    """A new account; `session` is None if the client wanted none."""

    user_id: UserID
    session: Session | None


@attrs.frozen(kw_only=True)
class _NewAccount:
    """What the transaction that makes the account needs.

    `guest_hash` is of the access token of a guest who becomes a full user, `uia_key` what the session is
    stored under that this was authorised in, `validation` the same of the session in which an e-mail address was
    confirmed. `policies` are the accepted versions.
    """

    user_id: UserID
    display_name: str
    password_hash: str | None = attrs.field(repr=False)
    is_guest: bool
    guest_hash: bytes | None
    token: str | None = attrs.field(repr=False)
    uia_key: bytes | None
    session: SessionDraft | None
    validation: bytes | None = attrs.field(default=None, repr=False)
    policies: Mapping[str, str] = attrs.field(factory=dict)


class Registrations(msgspec.Struct, frozen=True):
    """Registers users. Spec: client-server API, "POST /register"."""

    database: Database
    clock: Clock
    policy: Registration
    names: UserNames
    passwords: Passwords
    sessions: Sessions
    uia: UserInteractiveAuth

    @property
    def flows(self) -> Flows:
        """What one has to go through for an account; an e-mail address that is not required may be given."""
        first = (REGISTRATION_TOKEN,) if self.policy.requires_token else ()
        needed = (*first, TERMS) if self.policy.policies else first
        if self.policy.requires_email:
            return ((*needed, EMAIL_IDENTITY),)
        if EMAIL_IDENTITY in self.uia.stages:
            # The last stage tells them apart: the one must not be the beginning of the other.
            return ((*needed, EMAIL_IDENTITY), (*needed, DUMMY))
        return (needed or (DUMMY,),)

    async def check_available(self, username: str) -> None:
        """Whether somebody could register under that name.

        Errors: UserInUse, InvalidUsername, Exclusive; Forbidden if nobody can register.
        """
        self.check_enabled()
        await self._check_free(self.names.new_user_id(username))

    async def is_token_valid(self, token: str) -> bool:
        """Whether an account could be made with this registration token now. Errors: Forbidden."""
        self.check_enabled()
        return await self.database.read(registration_tokens.is_valid, token, now_ts=self.clock.now_ts())

    async def register_guest(self, display_name: str | None) -> Registered:
        """An account for a guest; `display_name` is its device's. Errors: Forbidden; TooLarge."""
        if not self.policy.allow_guests:
            raise Forbidden("Guests are not admitted")
        draft = self.sessions.draft(device_id=None, display_name=display_name, wants_refresh_token=False)
        localpart = new_localpart()
        return await self._make(
            _NewAccount(
                user_id=self.names.new_user_id(localpart),
                display_name=localpart,
                password_hash=None,
                is_guest=True,
                guest_hash=None,
                token=None,
                uia_key=None,
                session=draft,
            )
        )

    async def register(self, request: RegistrationRequest, *, address: str) -> Challenge | Registered:
        """An account for a user, once a flow has been gone through.

        A request that goes on with a session may leave out what was sent before. It may also say something
        else, since nobody's account is at stake yet, and clients ask for the flows before their user has
        filled in a form. A request that has succeeded may be repeated, and opens another session of that
        account.

        Errors: UserInUse, InvalidUsername, Exclusive; WeakPassword; MissingParam without a password;
        Forbidden; InvalidParam, TooLarge; LimitExceeded.
        """
        self.check_enabled()
        before = await self._remembered(request.uia_session)
        wanted = _with_remembered(request, before)
        # What could be refused is refused before the user goes through the stages: the text demands it.
        user_id = await self._user_id(wanted, before)
        draft = wanted.draft(self.sessions)
        if wanted.password is not None:
            check_acceptable(wanted.password)
        outcome = await self.uia.require(self._operation(address), request.auth)
        if isinstance(outcome, Challenge):
            await self._remember(outcome.session, wanted, before)
            return outcome
        token = outcome.completed.get(REGISTRATION_TOKEN)
        return await self._make(
            _NewAccount(
                user_id=user_id,
                display_name=localpart_of(user_id),
                password_hash=await self._password_hash(wanted, before),
                is_guest=False,
                guest_hash=_hash_of(wanted.guest_access_token),
                token=token if isinstance(token, str) else None,
                uia_key=_hash_of(outcome.session),
                session=draft,
                validation=validation_in(outcome),
                policies=_accepted(outcome),
            )
        )

    async def _make(self, new: _NewAccount) -> Registered:
        return await self.database.write(make_account, new, now_ts=self.clock.now_ts())

    def _operation(self, address: str) -> Operation:
        return Operation(
            name=OPERATION, user_id=None, request={}, flows=self.flows, address=address, keeps_session=True
        )

    def check_enabled(self) -> None:
        """Errors: Forbidden if nobody can register."""
        if not self.policy.enabled:
            raise Forbidden("Registration is disabled")

    async def _check_free(self, user_id: UserID) -> None:
        if await self.database.read(users.exists, user_id):
            raise UserInUse

    async def _user_id(self, wanted: RegistrationRequest, before: Remembered | None) -> UserID:
        """The new user's ID, checked. Errors: UserInUse, InvalidUsername, Exclusive; Forbidden."""
        if before is not None and before.registered_user_id is not None:
            return before.registered_user_id
        if wanted.guest_access_token is not None:
            guest = await self.database.read(guest_of, hash_of(wanted.guest_access_token))
            # "They are also required to specify the `username` parameter to the value of the local part of
            # their username".
            if guest is None or wanted.username != localpart_of(guest):
                raise _no_such_guest()
            return guest
        user_id = self.names.new_user_id(new_localpart() if wanted.username is None else wanted.username)
        await self._check_free(user_id)
        return user_id

    async def _remembered(self, session: str | None) -> Remembered | None:
        if session is None:
            return None
        return await self.database.read(
            uia_sessions.remembered, hash_of(session), operation=OPERATION, now_ts=self.clock.now_ts()
        )

    async def _remember(self, session: str, wanted: RegistrationRequest, before: Remembered | None) -> None:
        """Keep what a client may leave out of its next request, the password as its hash."""
        parameters = _parameters(wanted)
        password_hash = None if before is None else before.password_hash
        if wanted.password is not None:
            password_hash = await self.passwords.hash(wanted.password)
        if parameters or password_hash is not None:
            await self.database.write(
                uia_sessions.remember,
                hash_of(session),
                parameters=parameters,
                password_hash=password_hash,
                now_ts=self.clock.now_ts(),
            )

    async def _password_hash(self, wanted: RegistrationRequest, before: Remembered | None) -> str | None:
        """The new user's password, hashed; None if the account is there already. Errors: MissingParam."""
        if before is not None and before.registered_user_id is not None:
            return None
        if wanted.password is not None:
            return await self.passwords.hash(wanted.password)
        if before is None or before.password_hash is None:
            raise MissingParam("`password` is missing")
        return before.password_hash


def make_account(tx: WriteTransaction, new: _NewAccount, *, now_ts: int) -> Registered:
    """Make the account and open its first session, or do the latter only if the same was done before.

    Errors: UserInUse; Forbidden if the registration token is used up, or the guest is none.
    """
    user_id = new.user_id
    done = None
    if new.uia_key is not None:
        done = uia_sessions.lock_remembered(tx, new.uia_key, operation=OPERATION, now_ts=now_ts)
        if done is None:
            raise Forbidden("The session has expired: begin again")
    if done is not None and done.registered_user_id is not None:
        user_id = done.registered_user_id
    else:
        _make(tx, new, now_ts=now_ts)
        if new.uia_key is not None:
            uia_sessions.registered(tx, new.uia_key, user_id, until_ts=now_ts + REPEATABLE_MS)
    session = None if new.session is None else open_session(tx, user_id, new.session, now_ts=now_ts)
    return Registered(user_id, session)


def _make(tx: WriteTransaction, new: _NewAccount, *, now_ts: int) -> None:
    confirmed = None
    if new.validation is not None:
        confirmed = validation_sessions.take(
            tx, new.validation, purpose=Purpose.REGISTER.value, now_ts=now_ts
        )
        if confirmed is None:
            raise Forbidden("The e-mail address must be confirmed once more")
    if new.token is not None and not registration_tokens.use(tx, new.token, now_ts=now_ts):
        raise Forbidden("The registration token is not valid any more")
    if new.guest_hash is not None:
        if guest_of(tx, new.guest_hash) != new.user_id or not users.upgrade_guest(
            tx, new.user_id, new.password_hash
        ):
            raise _no_such_guest()
        user_directory_entries.refresh(tx, [new.user_id])
    elif not new_accounts.create(
        tx,
        new.user_id,
        password_hash=new.password_hash,
        display_name=new.display_name,
        is_guest=new.is_guest,
        now_ts=now_ts,
    ):
        raise UserInUse
    accepted_policies.add(tx, new.user_id, new.policies, now_ts=now_ts)
    if confirmed is not None:
        threepid, _, validated_ts = confirmed
        if not threepids.add(tx, new.user_id, threepid, validated_ts=validated_ts, now_ts=now_ts):
            raise ThreepidInUse("The e-mail address has become another account's meanwhile")


def guest_of(tx: ReadTransaction, token_hash: bytes) -> UserID | None:
    """The guest whose access token that is; None if it is nobody's, or not a guest's."""
    bearer = access_tokens.bearer_of(tx, token_hash)
    return bearer.user_id if bearer is not None and bearer.is_guest else None


def _with_remembered(request: RegistrationRequest, before: Remembered | None) -> RegistrationRequest:
    """The request; what it leaves out is as it was before."""
    if before is None or before.parameters is None:
        return request
    said = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
    return msgspec.convert({**before.parameters, **said}, RegistrationRequest)


def _parameters(wanted: RegistrationRequest) -> JsonObject:
    """What may be kept of a request: no secrets, and nothing that was left out."""
    everything: JsonObject = msgspec.to_builtins(wanted)
    return {name: value for name, value in everything.items() if value is not None and name not in _SECRETS}


def _accepted(proof: Proof) -> dict[str, str]:
    """The policies that were accepted, and in which version."""
    left = proof.completed.get(TERMS)
    return {name: str(version) for name, version in left.items()} if isinstance(left, dict) else {}


def _hash_of(secret: str | None) -> bytes | None:
    return None if secret is None else hash_of(secret)


def _no_such_guest() -> Forbidden:
    return Forbidden("That is not the access token of a guest of that name")
