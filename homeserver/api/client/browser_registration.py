"""Making an account on this server's own pages: what the legacy API asks an app, they ask its user.

Stages are those of the User-Interactive Authentication; its session goes along in the forms.
"""

import secrets
from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from homeserver.api.browsers import Browsers, Visitor, see_other
from homeserver.api.oauth_paths import PAGES, PAGES_FOR_NEW_USERS, SIGN_UP, SIGN_UP_EMAIL
from homeserver.api.pages import BODY_LIMIT, Pages
from homeserver.api.sign_in import with_prompt
from homeserver.api.sign_up import TITLES, SignUp, Step
from homeserver.api.stage_forms import auth_in
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserID
from homeserver.http.addresses import rate_limited_address
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.errors import status_of
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.email_validations import EmailValidations, Purpose, TokenRequest
from homeserver.services.registration import Registered, RegistrationRequest, Registrations
from homeserver.services.uia import Challenge
from homeserver.services.uia_pages import UiaPages
from homeserver.services.uia_stages import DUMMY, EMAIL_IDENTITY

_HANDED_ON: Final = ("sid", "client_secret", "email")
"""What a page of the e-mail stage gives to the next."""


class _Newcomer(msgspec.Struct, frozen=True):
    """Who makes an account; `then` and `query` say where that leads to."""

    visitor: Visitor
    then: str
    query: str
    address: str


class BrowserRegistration(msgspec.Struct, frozen=True):
    """The forms to make an account."""

    registrations: Registrations
    uia_pages: UiaPages
    validations: EmailValidations
    browsers: Browsers
    pages: Pages
    sign_up: SignUp

    @endpoint("POST", SIGN_UP, auth=Auth.NONE, limit=Limit.REGISTRATION, body_limit=BODY_LIMIT)
    async def browser_register(self, request: Request, then: str) -> Response:
        """Take the name and the password, or go on with a stage."""
        try:
            newcomer = await self._newcomer(request, then)
            form = self.browsers.form(request, newcomer.visitor)
        except MatrixError as error:
            return self.pages.error(error)
        name = form.get("username", "").strip()
        try:
            if "session" in form:
                return await self._stage(newcomer, form)
            if form.get("password") != form.get("again"):
                raise InvalidParam("The two passwords are not the same")
            asked = RegistrationRequest(username=name, password=form.get("password", ""), inhibit_login=True)
            return await self._go_on(newcomer, asked)
        except MatrixError as error:
            return self.sign_up.page(
                newcomer.visitor, then, request.query, name=name, error=error.message, status=status_of(error)
            )

    @endpoint("POST", SIGN_UP_EMAIL, auth=Auth.NONE, limit=Limit.VALIDATION, body_limit=BODY_LIMIT)
    async def browser_register_email(self, request: Request, then: str) -> Response:
        """Have a mail sent to the address that was filled in."""
        try:
            newcomer = await self._newcomer(request, then)
            form = self.browsers.form(request, newcomer.visitor)
            step = await self._step(form.get("session", ""), EMAIL_IDENTITY)
        except MatrixError as error:
            return self.pages.error(error)
        secret, email = secrets.token_urlsafe(32), form.get("email", "").strip()
        try:
            sid = await self.validations.request(
                Purpose.REGISTER, TokenRequest(secret, email, send_attempt=1, next_link=None)
            )
        except MatrixError as error:
            return self._show(newcomer, step, error)
        sent = {"sid": sid, "client_secret": secret, "email": email}
        return self._show(newcomer, attrs.evolve(step, sent=sent))

    async def _newcomer(self, request: Request, then: str) -> _Newcomer:
        """Errors: NotFound."""
        if then not in PAGES_FOR_NEW_USERS:
            raise NotFound("There is no such page")
        visitor = await self.browsers.visitor(request)
        return _Newcomer(visitor, then, request.query, rate_limited_address(request.client_ip))

    def _show(self, newcomer: _Newcomer, step: Step, error: MatrixError | None = None) -> Response:
        """The page of a step, with what was wrong there."""
        message, status = (None, 200) if error is None else (error.message, status_of(error))
        return self.sign_up.step(
            newcomer.visitor, newcomer.then, newcomer.query, step, error=message, status=status
        )

    async def _stage(self, newcomer: _Newcomer, form: Mapping[str, str]) -> Response:
        """Do a stage. Errors: what the registration raises; NotFound if the session has expired."""
        session, stage = form["session"], form.get("stage", "")
        if stage != DUMMY:
            step = await self._step(session, stage)
            step = attrs.evolve(step, sent={name: form[name] for name in _HANDED_ON if name in form})
            auth = auth_in(stage, form, step.params)
            if auth is None:
                return self._show(newcomer, step, InvalidParam("Fill in everything."))
            error = await self.uia_pages.attempt(session, stage, auth, address=newcomer.address)
            if error is not None:
                return self._show(newcomer, step, error)
        else:
            await self.uia_pages.attempt(session, DUMMY, {}, address=newcomer.address)
        return await self._go_on(newcomer, RegistrationRequest(auth={"session": session}))

    async def _go_on(self, newcomer: _Newcomer, asked: RegistrationRequest) -> Response:
        """Make the account, or show what is to be done before. Errors: what the registration raises."""
        outcome = await self.registrations.register(asked, address=newcomer.address)
        if isinstance(outcome, Registered):
            return await self._made(newcomer, outcome.user_id)
        stages = _next(outcome)
        if DUMMY in stages and len(stages) == 1:
            # There is nothing to ask, so this does not come again.
            error = await self.uia_pages.attempt(outcome.session, DUMMY, {}, address=newcomer.address)
            if error is not None:
                raise error
            return await self._go_on(newcomer, RegistrationRequest(auth={"session": outcome.session}))
        stage = next((each for each in stages if each in TITLES), None)
        if stage is None:
            raise NotFound("This server asks for something that this page does not know")
        return self._show(newcomer, await self._step(outcome.session, stage))

    async def _made(self, newcomer: _Newcomer, user_id: UserID) -> Response:
        """Log the new user in, and go on to what they have come for."""
        secret = await self.browsers.sessions.open(user_id)
        await self.browsers.sessions.close(newcomer.visitor.secret)
        target = self.pages.to(PAGES[newcomer.then], with_prompt(newcomer.query, None))
        return self.browsers.with_secret(see_other(target), secret)

    async def _step(self, session: str, stage: str) -> Step:
        """The step of a stage whose turn it is. Errors: NotFound, Forbidden."""
        if stage not in TITLES:
            raise NotFound("This server knows no such step")
        page = await self.uia_pages.look(session, stage)
        may_skip = stage == EMAIL_IDENTITY and not self.registrations.policy.requires_email
        return Step(session=session, stage=stage, params=page.params, may_skip=may_skip)


def _next(challenge: Challenge) -> list[str]:
    """The stages that may be done now."""
    done = challenge.completed
    flows = [flow for flow in challenge.flows if tuple(flow[: len(done)]) == done and len(flow) > len(done)]
    return list(dict.fromkeys(flow[len(done)] for flow in flows))
