"""The page that the links in mails lead to: an address is confirmed there, by a button.

To open the link confirms nothing, since programs that look for viruses open links, too.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from homeserver.api.pages import BODY_LIMIT, Pages, form_of
from homeserver.core.errors import MatrixError
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.email_validations import CONFIRM_PATH, Asked, EmailValidations, Purpose

QUESTIONS: Final[Mapping[Purpose, tuple[str, str, str, str]]] = {
    Purpose.REGISTER: (
        "Confirm your e-mail address",
        "Is {address} your address, and do you want to use it for a new account?",
        "Yes, that is me",
        "If you are not making an account, close this page.",
    ),
    Purpose.ADD: (
        "Confirm your e-mail address",
        "Is {address} your address, and do you want to add it to your account?",
        "Yes, that is me",
        "If you do not know about this, close this page.",
    ),
    Purpose.RESET: (
        "Reset your password",
        "Have you asked for a new password for {user_id}?",
        "Yes, I have",
        "If you have not, somebody else wants to take over your account: close this page, and nothing happens.",
    ),
}
"""Title, question, button, and what else there is to do, by what the address is validated for."""


class LinkQuery(msgspec.Struct):
    """What a link holds."""

    sid: str = ""
    token: str = ""


class EmailConfirmation(msgspec.Struct, frozen=True):
    """The page that links in mails lead to."""

    validations: EmailValidations
    pages: Pages

    @endpoint("GET", CONFIRM_PATH, auth=Auth.NONE, limit=Limit.UPDATES)
    async def confirm_email_page(self, query: LinkQuery) -> Response:
        """Ask whether the address is to be confirmed."""
        asked = await self.validations.find(query.sid, query.token)
        if asked is None:
            return self._bad_link()
        if asked.is_confirmed:
            return self._confirmed(asked)
        title, question, button, otherwise = QUESTIONS[asked.purpose]
        return self.pages.show(
            "confirm.html",
            title=title,
            question=question.format(address=asked.address, user_id=asked.user_id),
            button=button,
            otherwise=otherwise,
            action=self.pages.to(CONFIRM_PATH),
            sid=query.sid,
            token=query.token,
        )

    @endpoint("POST", CONFIRM_PATH, auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def confirm_email(self, request: Request) -> Response:
        """Confirm the address."""
        try:
            form = form_of(request)
        except MatrixError as error:
            return self.pages.error(error)
        asked = await self.validations.confirm(form.get("sid", ""), form.get("token", ""))
        return self._bad_link() if asked is None else self._confirmed(asked)

    def _confirmed(self, asked: Asked) -> Response:
        """It is done. Where the app wants its user to go is shown, not gone to: anybody can have such a mail sent."""
        link = asked.next_link
        return self.pages.message(
            "Your address is confirmed",
            "Go back to your app: it goes on from here.",
            next_link=link,
            next_host=None if link is None else urlsplit(link).hostname,
        )

    def _bad_link(self) -> Response:
        return self.pages.message(
            "This link is not good any more",
            "It has expired, or was used, or is not complete. Have your app send you another mail.",
            status=404,
        )
