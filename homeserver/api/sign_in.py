"""The page on which people log in to this server itself, in front of whichever page needs that."""

from typing import Final

import msgspec

from homeserver.api.browsers import Browsers, Visitor
from homeserver.api.oauth_paths import LOG_IN, PAGES, PAGES_FOR_NEW_USERS
from homeserver.api.pages import Pages
from homeserver.core.oauth_requests import CREATE
from homeserver.http.response import Response

_PROMPT: Final = "prompt"


class SignIn(msgspec.Struct, frozen=True):
    """Shows the page. `can_register`: new users may make accounts."""

    browsers: Browsers
    pages: Pages
    can_register: bool

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
        """The page; `then` and `query` say where its visitor wants to go, `name` is what was typed before."""
        has_sign_up = self.can_register and then in PAGES_FOR_NEW_USERS
        response = self.pages.show(
            "sign_in.html",
            status=status,
            error=error,
            name=name,
            action=self.pages.to(LOG_IN.replace("{then}", then), query),
            form_token=visitor.form_token,
            sign_up=self.pages.to(PAGES[then], with_prompt(query, CREATE)) if has_sign_up else None,
        )
        return self.browsers.shown_to(visitor, response)


def with_prompt(query: str, prompt: str | None) -> str:
    """The query with another `prompt`, or with none: what was to be done before has been done."""
    parts = [part for part in query.split("&") if part and part.partition("=")[0] != _PROMPT]
    return "&".join(parts if prompt is None else [*parts, f"{_PROMPT}={prompt}"])
