"""The stages of the User-Interactive Authentication that this server knows. Spec: "Authentication types"."""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from homeserver.config.sections import Policy
from homeserver.core.errors import BadJson, Forbidden, MissingParam, Unauthorized
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.attempts import Guessing
from homeserver.services.email_validations import EmailValidations, Purpose
from homeserver.services.named_users import NamedUsers
from homeserver.services.passwords import Passwords
from homeserver.services.uia import Attempt, Proof, StageFailed
from homeserver.services.user_names import UserNames, folded
from homeserver.storage import registration_tokens

DUMMY: Final = "m.login.dummy"
REGISTRATION_TOKEN: Final = "m.login.registration_token"  # noqa: S105 - the name of a stage
EMAIL_IDENTITY: Final = "m.login.email.identity"
TERMS: Final = "m.login.terms"

EMAIL_PURPOSES: Final[Mapping[str, Purpose]] = {
    "register": Purpose.REGISTER,
    "changePassword": Purpose.RESET,
}
"""What an address must have been validated for, by the operation that it authorises."""


@attrs.frozen
class PasswordStage:
    """`m.login.password`; leaves the user ID."""

    passwords: Passwords
    names: UserNames
    named: NamedUsers
    params: JsonObject = attrs.field(factory=dict, init=False)

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:
        """Check the password of the user who makes the request, or without an access token, of who is named.

        Errors: StageFailed; Forbidden for another user; MissingParam, BadJson; LimitExceeded; UserLocked.
        """
        name = await self.named.name_of(auth.get("identifier"), auth.get("user"))
        password = _text(auth, "password")
        if attempt.user_id is not None:
            claimed = self.names.claimed(name)
            if claimed is None or folded(claimed) != folded(attempt.user_id):
                raise Forbidden("That is not the user who makes the request")
            name = attempt.user_id
        guessing = Guessing.ACCOUNT if attempt.user_id is None else Guessing.CONFIRMATION
        checked = await self.passwords.check(name, password, address=attempt.address, guessing=guessing)
        if checked is None or attempt.user_id not in (None, checked.user_id):
            raise StageFailed(Forbidden("The password is wrong"))
        await self.named.check_not_locked(checked.user_id)
        return checked.user_id


@attrs.frozen
class DummyStage:
    """`m.login.dummy`; always passed."""

    params: JsonObject = attrs.field(factory=dict, init=False)

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:  # noqa: ARG002 - of a Stage
        """Pass."""
        return True


@attrs.frozen
class RegistrationTokenStage:
    """`m.login.registration_token`; leaves the token, which is used up by the registration itself."""

    database: Database
    clock: Clock
    params: JsonObject = attrs.field(factory=dict, init=False)

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:  # noqa: ARG002 - of a Stage
        """Check that the token is good. Errors: StageFailed; MissingParam, BadJson."""
        token = _text(auth, "token")
        if not await self.database.read(registration_tokens.is_valid, token, now_ts=self.clock.now_ts()):
            raise StageFailed(Forbidden("The registration token is not valid"))
        return token


@attrs.frozen
class EmailStage:
    """`m.login.email.identity`; leaves the address, whose account it is for, and what uses the validation up."""

    validations: EmailValidations
    named: NamedUsers
    params: JsonObject = attrs.field(factory=dict, init=False)

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:
        """Check that the address was confirmed for this very operation.

        Clients ask again and again until it is: that is no guess. Errors: StageFailed; MissingParam, BadJson;
        UserLocked.
        """
        credentials = auth.get("threepid_creds", auth.get("threepidCreds"))
        if credentials is None:
            raise MissingParam("`auth.threepid_creds` is missing")
        if not isinstance(credentials, dict):
            raise BadJson("`auth.threepid_creds` must be an object")
        sid, secret = _text(credentials, "sid"), _text(credentials, "client_secret")
        purpose = EMAIL_PURPOSES[attempt.operation]
        validated = await self.validations.validated(sid, secret, purpose)
        if validated is None:
            raise StageFailed(Unauthorized("The e-mail address has not been confirmed yet"), is_guess=False)
        if validated.user_id is not None:
            await self.named.check_not_locked(validated.user_id)
        return {
            "medium": validated.threepid.medium,
            "address": validated.threepid.address,
            "session": validated.session_hash.hex(),
        }


@attrs.frozen
class TermsStage:
    """`m.login.terms`; leaves the accepted version of each policy."""

    policies: Sequence[Policy]
    params: JsonObject = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        shown: JsonObject = {}
        for policy in self.policies:
            texts: JsonObject = {text.language: {"name": text.name, "url": text.url} for text in policy.texts}
            shown[policy.id] = {"version": policy.version, **texts}
        object.__setattr__(self, "params", {"policies": shown})

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:  # noqa: ARG002 - of a Stage
        """Accept the policies that were shown when the session was begun. Errors: StageFailed."""
        if attempt.presented != self.params:
            # Nobody can accept what they have not been shown.
            raise StageFailed(Forbidden("The policies must be shown first: begin again"))
        return {policy.id: policy.version for policy in self.policies}


def validation_in(proof: Proof) -> bytes | None:
    """What uses up the validation of an e-mail address that an operation was authorised by; None if there is none."""
    left = proof.completed.get(EMAIL_IDENTITY)
    return bytes.fromhex(str(left["session"])) if isinstance(left, dict) else None


def _text(auth: JsonObject, name: str) -> str:
    value = auth.get(name)
    if value is None:
        raise MissingParam(f"`auth.{name}` is missing")
    if not isinstance(value, str):
        raise BadJson(f"`auth.{name}` must be a string")
    return value
