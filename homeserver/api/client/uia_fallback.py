"""Client-server API, "Fallback": pages on which stages of an authentication are done for apps that cannot show them."""

import secrets
from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.api.pages import BODY_LIMIT, Pages, form_of
from homeserver.api.stage_forms import auth_in, policies_in
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.http.addresses import rate_limited_address
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.email_validations import EmailValidations, TokenRequest
from homeserver.services.uia import OAUTH, PASSWORD
from homeserver.services.uia_pages import StagePage, UiaPages
from homeserver.services.uia_stages import (
    DUMMY,
    EMAIL_IDENTITY,
    EMAIL_PURPOSES,
    REGISTRATION_TOKEN,
    TERMS,
)

PAGE: Final = "/_matrix/client/v3/auth/{auth_type}/fallback/web"
EMAIL_REQUEST: Final = "/_matrix/static/client/email/request"

TITLES: Final[Mapping[str, tuple[str, str]]] = {
    PASSWORD: ("Enter your password", "Go on"),
    DUMMY: ("Go on", "Go on"),
    REGISTRATION_TOKEN: ("Enter your registration token", "Go on"),
    TERMS: ("Accept the policies", "I accept"),
    EMAIL_IDENTITY: ("Confirm your e-mail address", "Go on"),
    OAUTH: ("Confirm it on the page of your account", "I have confirmed it"),
}
"""What the page of each stage is called, and its button."""

OPERATIONS: Final[Mapping[str, str]] = {
    "register": "make a new account",
    "changePassword": "set a new password",
    "deactivateAccount": "close the account for good",
    "add3PID": "add an address to the account",
    "deleteDevice": "log out a device",
    "deleteDevices": "log out devices",
    "generateLoginToken": "log in another device",
    "uploadCrossSigningKeys": "replace the cross-signing keys (the cryptographic identity)",
}
"""What is authorised, in words, by the first word of the operation's name."""


class SessionQuery(msgspec.Struct):
    """The session that the app has begun."""

    session: str = ""


class UiaFallback(msgspec.Struct, frozen=True):
    """The pages of the stages."""

    uia_pages: UiaPages
    validations: EmailValidations
    pages: Pages

    @endpoint("GET", PAGE, auth=Auth.NONE, limit=Limit.UPDATES)
    async def uia_fallback(self, auth_type: str, query: SessionQuery) -> Response:
        """The page of a stage."""
        try:
            return self._page(query.session, auth_type, await self._look(query.session, auth_type))
        except MatrixError as error:
            return self.pages.error(error)

    @endpoint("POST", PAGE, auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def uia_fallback_submit(self, request: Request, auth_type: str) -> Response:
        """Do the stage with what was filled in."""
        try:
            return await self._submit(request, auth_type)
        except MatrixError as error:
            return self.pages.error(error)

    @endpoint("POST", EMAIL_REQUEST, auth=Auth.NONE, limit=Limit.VALIDATION, body_limit=BODY_LIMIT)
    async def request_email(self, request: Request) -> Response:
        """Have a mail sent to the address that was filled in."""
        try:
            return await self._request_email(request)
        except MatrixError as error:
            return self.pages.error(error)

    async def _submit(self, request: Request, stage: str) -> Response:
        form = form_of(request)
        session = form.get("session", "")
        page = await self._look(session, stage)
        if not page.is_done:
            auth = auth_in(stage, form, page.params, page.user_id)
            if auth is None:
                return self._page(session, stage, page, error="Fill in everything.", form=form, status=400)
            error = await self.uia_pages.attempt(
                session, stage, auth, address=rate_limited_address(request.client_ip)
            )
            if error is not None:
                return self._page(session, stage, page, error=error.message, form=form, status=403)
        return self.pages.show("stage_done.html")

    async def _request_email(self, request: Request) -> Response:
        form = form_of(request)
        session, email = form.get("session", ""), form.get("email", "")
        page = await self._look(session, EMAIL_IDENTITY)
        if page.is_done:
            return self.pages.show("stage_done.html")
        secret = secrets.token_urlsafe(32)
        wanted = TokenRequest(secret, email, send_attempt=1, next_link=None)
        try:
            sid = await self.validations.request(EMAIL_PURPOSES[page.operation], wanted)
        except InvalidParam as error:
            return self._page(session, EMAIL_IDENTITY, page, error=error.message, status=400)
        sent = {"sid": sid, "client_secret": secret, "email": email}
        return self._page(session, EMAIL_IDENTITY, page, form=sent)

    async def _look(self, session: str, stage: str) -> StagePage:
        if stage not in TITLES:
            raise NotFound("This server knows no such step")
        return await self.uia_pages.look(session, stage)

    def _page(
        self,
        session: str,
        stage: str,
        page: StagePage,
        *,
        error: str | None = None,
        form: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        if page.is_done:
            return self.pages.show("stage_done.html")
        title, button = TITLES[stage]
        filled = {key: value for key, value in (form or {}).items() if key in _REPEATED}
        asks_for_address = stage == EMAIL_IDENTITY and "sid" not in filled
        action = EMAIL_REQUEST if asks_for_address else PAGE.replace("{auth_type}", stage)
        return self.pages.show(
            "stage.html",
            status=status,
            title=title,
            button=button,
            what=OPERATIONS.get(page.operation.partition(" ")[0], "do something that needs your consent"),
            user_id=page.user_id,
            action=self.pages.to(action),
            session=session,
            stage=stage,
            policies=policies_in(page.params),
            url=page.params.get("url"),
            error=error,
            **filled,
        )


_REPEATED: Final = frozenset({"sid", "client_secret", "email"})
"""What a page of the e-mail stage hands on to the next."""
