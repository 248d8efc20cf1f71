"""The stages of the User-Interactive Authentication that this server knows. Spec: "Authentication types"."""

from typing import Final

import attrs

from homeserver.core.errors import BadJson, Forbidden, MissingParam
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.attempts import Guessing
from homeserver.services.passwords import Passwords
from homeserver.services.uia import Attempt, StageFailed
from homeserver.services.user_names import UserNames, folded, name_in
from homeserver.storage import registration_tokens

PASSWORD: Final = "m.login.password"  # noqa: S105 - the name of a stage
DUMMY: Final = "m.login.dummy"
REGISTRATION_TOKEN: Final = "m.login.registration_token"  # noqa: S105 - the name of a stage


@attrs.frozen
class PasswordStage:
    """`m.login.password`; leaves the user ID."""

    passwords: Passwords
    names: UserNames
    params: JsonObject = attrs.field(factory=dict, init=False)

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:
        """Check the password of the user who makes the request, or without an access token, of who is named.

        Errors: StageFailed; Forbidden for another user; MissingParam, BadJson; LimitExceeded.
        """
        name = name_in(auth.get("identifier"), auth.get("user"))
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


def _text(auth: JsonObject, name: str) -> str:
    value = auth.get(name)
    if value is None:
        raise MissingParam(f"`auth.{name}` is missing")
    if not isinstance(value, str):
        raise BadJson(f"`auth.{name}` must be a string")
    return value
