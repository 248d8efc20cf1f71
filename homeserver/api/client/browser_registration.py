"""Making an account on this server's own pages: what the legacy API asks an app, they ask its user.

Stages are those of the User-Interactive Authentication; its session goes along in the forms.
"""

import secrets
from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from homeserver.api.browsers import Browsers, Visitor, see_other
from homeserver.api.oauth_paths import AUTHORIZE, SIGN_UP, SIGN_UP_EMAIL
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


class BrowserRegistration(msgspec.Struct, frozen=True):
    """The forms to make an account."""

    registrations: Registrations
    uia_pages: UiaPages
    validations: EmailValidations
    browsers: Browsers
    pages: Pages
    sign_up: SignUp

    @endpoint("POST", SIGN_UP, auth=Auth.NONE, limit=Limit.REGISTRATION, body_limit=BODY_LIMIT)
    async def browser_register(self, request: Request) -> Response:
        """Take the name and the password, or go on with a stage."""
        visitor = await self.browsers.visitor(request)
        try:
            form = self.browsers.form(request, visitor)
        except MatrixError as error:
            return self.pages.error(error)
        address = rate_limited_address(request.client_ip)
        name = form.get("username", "").strip()
        try:
            if "session" in form:
                return await self._stage(visitor, request.query, form, address)
            if form.get("password") != form.get("again"):
                raise InvalidParam("The two passwords are not the same")
            asked = RegistrationRequest(username=name, password=form.get("password", ""), inhibit_login=True)
            return await self._go_on(visitor, request.query, asked, address)
        except MatrixError as error:
            return self.sign_up.page(
                visitor, request.query, name=name, error=error.message, status=status_of(error)
            )

    @endpoint("POST", SIGN_UP_EMAIL, auth=Auth.NONE, limit=Limit.VALIDATION, body_limit=BODY_LIMIT)
    async def browser_register_email(self, request: Request) -> Response:
        """Have a mail sent to the address that was filled in."""
        visitor = await self.browsers.visitor(request)
        try:
            form = self.browsers.form(request, visitor)
            step = await self._step(form.get("session", ""), EMAIL_IDENTITY)
        except MatrixError as error:
            return self.pages.error(error)
        secret, email = secrets.token_urlsafe(32), form.get("email", "").strip()
        try:
            sid = await self.validations.request(
                Purpose.REGISTER, TokenRequest(secret, email, send_attempt=1, next_link=None)
            )
        except MatrixError as error:
            return self.sign_up.step(
                visitor, request.query, step, error=error.message, status=status_of(error)
            )
        sent = {"sid": sid, "client_secret": secret, "email": email}
        return self.sign_up.step(visitor, request.query, attrs.evolve(step, sent=sent))

    async def _stage(self, visitor: Visitor, query: str, form: Mapping[str, str], address: str) -> Response:
        """Do a stage. Errors: what the registration raises; NotFound if the session has expired."""
        session, stage = form["session"], form.get("stage", "")
        if stage != DUMMY:
            step = await self._step(session, stage)
            step = attrs.evolve(step, sent={name: form[name] for name in _HANDED_ON if name in form})
            auth = auth_in(stage, form, step.params)
            if auth is None:
                return self.sign_up.step(visitor, query, step, error="Fill in everything.", status=400)
            error = await self.uia_pages.attempt(session, stage, auth, address=address)
            if error is not None:
                return self.sign_up.step(visitor, query, step, error=error.message, status=status_of(error))
        else:
            await self.uia_pages.attempt(session, DUMMY, {}, address=address)
        return await self._go_on(visitor, query, RegistrationRequest(auth={"session": session}), address)

    async def _go_on(
        self, visitor: Visitor, query: str, asked: RegistrationRequest, address: str
    ) -> Response:
        """Make the account, or show what is to be done before. Errors: what the registration raises."""
        outcome = await self.registrations.register(asked, address=address)
        if isinstance(outcome, Registered):
            return await self._made(visitor, query, outcome.user_id)
        stages = _next(outcome)
        if DUMMY in stages and len(stages) == 1:
            # There is nothing to ask, so this does not come again.
            error = await self.uia_pages.attempt(outcome.session, DUMMY, {}, address=address)
            if error is not None:
                raise error
            return await self._go_on(
                visitor, query, RegistrationRequest(auth={"session": outcome.session}), address
            )
        stage = next((each for each in stages if each in TITLES), None)
        if stage is None:
            raise NotFound("This server asks for something that this page does not know")
        return self.sign_up.step(visitor, query, await self._step(outcome.session, stage))

    async def _made(self, visitor: Visitor, query: str, user_id: UserID) -> Response:
        """Log the new user in, and go on to what they have come for."""
        secret = await self.browsers.sessions.open(user_id)
        await self.browsers.sessions.close(visitor.secret)
        return self.browsers.with_secret(
            see_other(self.browsers.to(AUTHORIZE, with_prompt(query, None))), secret
        )

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
