"""Pages for people: HTML from the templates beside this file, with headers that leave attackers little to do.

Everything that is put into a template is escaped. A page loads nothing from elsewhere, runs only its own script, cannot
be framed, and does not tell other sites its address, which may hold a session. Without JavaScript, forms work all
the same, apart from those whose purpose is to call a function of the app that shows them.
"""

import importlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import attrs

from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.identifiers import ServerName
from homeserver.http.errors import status_of
from homeserver.http.request import Request, form_fields
from homeserver.http.response import Headers, Response

TEMPLATES: Final = Path(__file__).parent / "templates"

BODY_LIMIT: Final = 65_536

_FORM: Final = b"application/x-www-form-urlencoded"


@attrs.define
class Pages:
    """Makes pages. The templates, and what renders them, are loaded when the first page is asked for.

    `root` is what stands before every path of ours: a proxy may have given this server a part of a host only.
    """

    server_name: ServerName
    root: str
    _environment: Any = attrs.field(default=None, init=False)

    @classmethod
    def of(cls, server_name: ServerName, base_url: str | None) -> Self:
        """Those of a server that browsers reach by that URL; None if nobody has said which."""
        return cls(server_name, urlsplit(base_url or "").path)

    def to(self, path: str, query: str = "") -> str:
        """A path of ours, as a form, a script or a redirection names it."""
        return f"{self.root}{path}?{query}" if query else f"{self.root}{path}"

    def show(self, template: str, *, status: int = 200, **values: object) -> Response:
        """The page that `template` makes of `values`."""
        return self.show_with(template, values, status=status)

    def show_with(
        self,
        template: str,
        values: Mapping[str, object],
        *,
        status: int = 200,
        forms_lead_to: str | None = None,
    ) -> Response:
        """As `show`; what its forms do may lead the browser to that source, too."""
        nonce = secrets.token_urlsafe(16)
        found = self._loaded().get_template(template)
        text: str = found.render(nonce=nonce, server_name=self.server_name, **values)
        return Response(status, _headers(nonce, forms_lead_to), text.encode())

    def message(
        self, title: str, text: str | None = None, *, status: int = 200, **values: object
    ) -> Response:
        """A page that only says something."""
        return self.show("message.html", status=status, title=title, text=text, **values)

    def error(self, error: MatrixError) -> Response:
        """A page that says what is wrong."""
        return self.message("That did not work", status=status_of(error), error=error.message)

    def _loaded(self) -> Any:
        if self._environment is None:
            jinja2 = importlib.import_module("jinja2")
            self._environment = jinja2.Environment(
                loader=jinja2.FileSystemLoader(TEMPLATES),
                autoescape=True,
                undefined=jinja2.ChainableUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
                auto_reload=False,
            )
        return self._environment


def form_of(request: Request) -> dict[str, str]:
    """The fields of the form that was sent; of one that is there twice, the first. Errors: InvalidParam."""
    kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM:
        raise InvalidParam("This is not how a form of this page is sent")
    return {name: values[0] for name, values in form_fields(request.body).items()}


def _headers(nonce: str, forms_lead_to: str | None) -> Headers:
    targets = "'self'" if forms_lead_to is None else f"'self' {forms_lead_to}"
    policy = (
        "default-src 'none'; "
        f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        f"connect-src 'self'; form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Security-Policy", policy.encode()),
        (b"X-Frame-Options", b"DENY"),
        (b"Referrer-Policy", b"no-referrer"),
    )
