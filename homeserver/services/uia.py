"""User-Interactive Authentication: a request is done once its user has gone through the stages of a flow.

Sessions are rows, since another replica may be asked for the next stage. A session belongs to one operation,
user and request. What is secret in a request or in a stage is never stored, not even hashed plainly: the row
holds a MAC whose key, the session id, only the client knows. Spec: client-server API, "User-Interactive
Authentication API".
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

import attrs
import msgspec

from homeserver.core.errors import BadJson, Forbidden, MatrixError
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue, canonical
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import hash_of, new_token
from homeserver.storage import uia_sessions

LIFETIME_MS: Final = 3_600_000
MAX_FAILURES: Final = 5
"""Per session; guesses are limited per account as well, see `services.attempts`."""

PASSWORD: Final = "m.login.password"  # noqa: S105 - the name of a stage
"""The one stage that shows who is there; it leaves the user ID."""

OAUTH: Final = "m.oauth"
"""The one stage that is passed without being named: "the client submits an `auth` dict with just the `session`"."""

Flows: TypeAlias = Sequence[tuple[str, ...]]


class StageFailed(Exception):  # noqa: N818 - a verdict, not a fault
    """A stage was not passed, and may be tried again; `error` says why.

    `is_guess` is false for who only asks whether something has happened yet, as clients do again and again.
    """

    def __init__(self, error: MatrixError, *, is_guess: bool = True) -> None:
        super().__init__(error)
        self.error = error
        self.is_guess = is_guess


class Attempt(msgspec.Struct, frozen=True):
    """Who tries a stage, of what.

    `operation` is the operation's name; `user_id` is whose access token came with the request, None without.
    `presented` is what the stage's `params` were when the session was begun, None without a session.
    """

    operation: str
    user_id: UserID | None
    address: str
    presented: JsonValue = None


class Stage(Protocol):
    """A kind of authentication, such as `m.login.password`."""

    @property
    def params(self) -> JsonObject:
        """What a client needs to know to do it."""
        ...

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:
        """Check what the client has sent; what is returned is kept for the operation, so it is no secret.

        Errors: StageFailed; a MatrixError if the request as a whole is refused.
        """
        ...


@attrs.frozen(kw_only=True)
class Operation:
    """What is to be done once it is authorised.

    `name` says what and to what, such as `deleteDevice ABC`. `request` is the body without `auth`. With
    `keeps_session` the session stays when it is complete, for the operation to remove.
    """

    name: str
    user_id: UserID | None
    request: JsonObject = attrs.field(repr=False)
    flows: Flows
    address: str
    keeps_session: bool = False


@attrs.frozen
class Challenge:
    """Not authorised yet: what the client is told. `error` is why the stage it tried was not passed."""

    session: str = attrs.field(repr=False)
    flows: Flows
    params: JsonObject
    completed: tuple[str, ...]
    error: MatrixError | None = None


@attrs.frozen
class Proof:
    """Authorised. `completed` maps stages to what they left; `session` is None if it was done in one go."""

    completed: Mapping[str, JsonValue]
    session: str | None = attrs.field(repr=False)


@attrs.frozen
class _Open:
    """A session under way: its id, the stages that are done, and what the client was told of all stages."""

    session: str = attrs.field(repr=False)
    user_id: UserID | None
    completed: JsonObject
    params: JsonObject

    @property
    def key(self) -> bytes:
        """What it is stored under."""
        return hash_of(self.session)


class UserInteractiveAuth(msgspec.Struct, frozen=True):
    """Asks for the stages of a flow, and checks them. `stages` are by type, all that flows may name."""

    database: Database
    clock: Clock
    stages: Mapping[str, Stage]
    lifetime_ms: int = LIFETIME_MS
    max_failures: int = MAX_FAILURES

    async def require(self, operation: Operation, auth: JsonObject | None) -> Challenge | Proof:
        """Whether `operation` may be done now, given what the client has put under `auth`.

        A proof is given once per session, unless the operation keeps it. Errors: Forbidden if the session is
        for something else; BadJson; what stages raise.
        """
        if auth is None:
            return await self._without_session(operation)
        session, stage = text_in(auth, "session"), text_in(auth, "type")
        under_way = None
        if session is not None:
            under_way = await self._resume(operation, session)
            if under_way is None:
                gone = Forbidden("The session is not known, or has expired: begin again")
                return await self._begin(operation, {}, error=gone)
        done = {} if under_way is None else under_way.completed
        if under_way is not None and _is_complete(operation.flows, done):
            return await self._finish(operation, under_way)
        if stage is None and under_way is not None and continues(operation.flows, done, OAUTH):
            stage = OAUTH
        # Without a type the client asks how far it is; a stage that is done is not done again.
        if stage is None or stage in done:
            return await self._challenge(operation, under_way)
        if not continues(operation.flows, done, stage):
            error = Forbidden(f"{stage} is not the next stage of any flow")
            return await self._challenge(operation, under_way, error)
        return await self._attempt(operation, under_way, stage, auth)

    async def _without_session(self, operation: Operation) -> Challenge | Proof:
        """Apps such as Element X repeat what needs `m.oauth` alone as it is, until their user has confirmed it."""
        if _is_complete(operation.flows, {OAUTH: True}):
            attempt = Attempt(operation.name, operation.user_id, operation.address)
            with suppress(StageFailed):
                return Proof({OAUTH: await self.stages[OAUTH].attempt({}, attempt)}, None)
        return await self._begin(operation, {})

    async def _attempt(
        self, operation: Operation, under_way: _Open | None, stage: str, auth: JsonObject
    ) -> Challenge | Proof:
        """Try the next stage; who sends it without a session has one only if it does not lead to the end."""
        presented = None if under_way is None else under_way.params.get(stage)
        attempt = Attempt(operation.name, operation.user_id, operation.address, presented)
        try:
            left = await self.stages[stage].attempt(auth, attempt)
        except StageFailed as failure:
            if under_way is None:
                return await self._begin(operation, {}, error=failure.error, failures=int(failure.is_guess))
            if failure.is_guess:
                await self.database.write(
                    uia_sessions.fail, under_way.key, most=self.max_failures, now_ts=self.clock.now_ts()
                )
            return self._as_challenge(operation, under_way, failure.error)
        if under_way is None:
            done: JsonObject = {stage: left}
            if _is_complete(operation.flows, done):
                return Proof(done, None)
            return await self._begin(operation, done)
        return await self._advance(operation, under_way, stage, left)

    async def _advance(
        self, operation: Operation, under_way: _Open, stage: str, left: JsonValue
    ) -> Challenge | Proof:
        done = {**under_way.completed, stage: left}
        is_kept = await self.database.write(
            uia_sessions.complete,
            under_way.key,
            under_way.completed,
            stage,
            left,
            user_id=whose(under_way.user_id, done),
            now_ts=self.clock.now_ts(),
        )
        if not is_kept:
            # Another request with this session was faster: what it has led to is what counts.
            return await self.require(operation, {"session": under_way.session})
        advanced = attrs.evolve(under_way, completed=done)
        if _is_complete(operation.flows, done):
            return await self._finish(operation, advanced)
        return self._as_challenge(operation, advanced)

    async def _finish(self, operation: Operation, under_way: _Open) -> Challenge | Proof:
        """Hand out the proof; of several requests at once, one gets it."""
        if operation.keeps_session or await self.database.write(uia_sessions.remove, under_way.key):
            return Proof(under_way.completed, under_way.session)
        return await self._begin(operation, {})

    async def _begin(
        self,
        operation: Operation,
        completed: JsonObject,
        *,
        error: MatrixError | None = None,
        failures: int = 0,
    ) -> Challenge:
        names = dict.fromkeys(stage for flow in operation.flows for stage in flow)
        params: JsonObject = {name: self.stages[name].params for name in names if self.stages[name].params}
        under_way = _Open(new_token(), whose(operation.user_id, completed), completed, params)
        now_ts = self.clock.now_ts()
        await self.database.write(
            uia_sessions.add,
            under_way.key,
            operation=operation.name,
            user_id=under_way.user_id,
            request_mac=_mac(under_way.session, operation),
            completed=completed,
            failures=failures,
            challenge={"flows": [list(flow) for flow in operation.flows], "params": params},
            now_ts=now_ts,
            expires_ts=now_ts + self.lifetime_ms,
        )
        return self._as_challenge(operation, under_way, error)

    async def _resume(self, operation: Operation, session: str) -> _Open | None:
        """The session, None if there is none (any more). Errors: Forbidden."""
        found = await self.database.read(uia_sessions.find, hash_of(session), now_ts=self.clock.now_ts())
        if found is None:
            return None
        if found.operation != operation.name or not (
            hmac.compare_digest(found.request_mac, _mac(session, operation))
        ):
            raise Forbidden("The request is not the one that this session was begun for")
        params = found.challenge.get("params")
        return _Open(session, found.user_id, found.completed, params if isinstance(params, dict) else {})

    async def _challenge(
        self, operation: Operation, under_way: _Open | None, error: MatrixError | None = None
    ) -> Challenge:
        if under_way is None:
            return await self._begin(operation, {}, error=error)
        return self._as_challenge(operation, under_way, error)

    def _as_challenge(
        self, operation: Operation, under_way: _Open, error: MatrixError | None = None
    ) -> Challenge:
        completed = tuple(under_way.completed)
        return Challenge(under_way.session, operation.flows, under_way.params, completed, error)


def _is_complete(flows: Flows, done: Mapping[str, JsonValue]) -> bool:
    return tuple(done) in flows


def continues(flows: Flows, done: Mapping[str, JsonValue], stage: str) -> bool:
    """Whether a flow has `stage` next: they must be completed in order."""
    so_far = (*done, stage)
    return any(flow[: len(so_far)] == so_far for flow in flows)


def whose(user_id: UserID | None, done: Mapping[str, JsonValue]) -> UserID | None:
    """Whose session it is: that of who makes the request, else of who has given a password.

    With the password, or when the account is locked, the session ends too.
    """
    shown = done.get(PASSWORD)
    return UserID(shown) if user_id is None and isinstance(shown, str) else user_id


def _mac(session: str, operation: Operation) -> bytes:
    """Ties the session to the request and who makes it, without telling anything about it to who has the row."""
    asked: list[JsonValue] = [operation.user_id, operation.request]
    return hmac.new(_key_of(session), canonical(asked), hashlib.sha256).digest()


def _key_of(session: str) -> bytes:
    """A key that is not the hash under which the session is stored."""
    return hashlib.sha512(session.encode(errors="surrogatepass")).digest()


def text_in(auth: JsonObject, name: str) -> str | None:
    """What a client has sent under `auth`; None if nothing. Errors: BadJson."""
    value = auth.get(name)
    if value is not None and not isinstance(value, str):
        raise BadJson(f"`auth.{name}` must be a string")
    return value
