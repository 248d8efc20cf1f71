"""The pages on which people make an account, in front of the one on which they let an app in.

`then` stands for the latter, and is one of `PAGES_FOR_NEW_USERS`.
"""

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from homeserver.api.browsers import Browsers, Visitor
from homeserver.api.oauth_paths import PAGES, SIGN_UP, SIGN_UP_EMAIL
from homeserver.api.pages import Pages
from homeserver.api.sign_in import with_prompt
from homeserver.api.stage_forms import policies_in
from homeserver.core.json import JsonObject
from homeserver.http.response import Response
from homeserver.services.uia_stages import DUMMY, EMAIL_IDENTITY, REGISTRATION_TOKEN, TERMS

TITLES: Final[Mapping[str, str]] = {
    REGISTRATION_TOKEN: "Enter your registration token",
    TERMS: "Accept the policies",
    EMAIL_IDENTITY: "Confirm your e-mail address",
}


@attrs.frozen(kw_only=True)
class Step:
    """A stage of the registration that is to be done next; `may_skip`: it may be left out."""

    session: str = attrs.field(repr=False)
    stage: str
    params: JsonObject
    may_skip: bool
    sent: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """What was sent to an address, for the next form to hand on."""


class SignUp(msgspec.Struct, frozen=True):
    """Shows the pages. `is_open`: new users may make accounts."""

    browsers: Browsers
    pages: Pages
    is_open: bool

    def page(
        self,
        visitor: Visitor,
        then: str,
        query: str,
        *,
        name: str = "",
        error: str | None = None,
        status: int = 200,
    ) -> Response:
        """The page that asks for a name and a password."""
        log_in = self.pages.to(PAGES[then], with_prompt(query, None))
        if not self.is_open:
            return self.pages.show("closed.html", status=403, log_in=log_in)
        response = self.pages.show(
            "sign_up.html",
            status=status,
            error=error,
            name=name,
            action=self._to(SIGN_UP, then, query),
            form_token=visitor.form_token,
            log_in=log_in,
        )
        return self.browsers.shown_to(visitor, response)

    def step(
        self,
        visitor: Visitor,
        then: str,
        query: str,
        step: Step,
        *,
        error: str | None = None,
        status: int = 200,
    ) -> Response:
        """The page of a stage that must be gone through, too."""
        asks_for_address = step.stage == EMAIL_IDENTITY and "sid" not in step.sent
        return self.pages.show(
            "sign_up_step.html",
            status=status,
            error=error,
            title=TITLES[step.stage],
            action=self._to(SIGN_UP_EMAIL if asks_for_address else SIGN_UP, then, query),
            skip_action=self._to(SIGN_UP, then, query) if step.may_skip else None,
            form_token=visitor.form_token,
            session=step.session,
            stage=step.stage,
            nothing=DUMMY,
            policies=policies_in(step.params),
            **step.sent,
        )

    def _to(self, path: str, then: str, query: str) -> str:
        return self.pages.to(path.replace("{then}", then), query)
