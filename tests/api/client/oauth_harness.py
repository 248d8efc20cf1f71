"""What OAuth 2.0 takes: a browser that follows forms and redirections, and apps that send it to the server."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import attrs
import treq
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from tests.api.client.mail_harness import MovableClock
from tests.api.server import PASSWORD, Answer, Client, TestServer, check_page, running_server
from tests.openapi import Specification

BASE: Final = "https://matrix.test.example"
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
REDIRECT: Final = "https://app.example.com/callback"
METADATA: Final = "/_matrix/client/v1/auth_metadata"
DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"

APP: Final[Mapping[str, Any]] = {
    "client_name": "An app",
    "client_uri": "https://example.com/",
    "tos_uri": "https://example.com/terms",
    "policy_uri": "https://example.com/privacy",
    "redirect_uris": [REDIRECT, "https://app.example.com/other?a=b"],
    "response_types": ["code"],
    "grant_types": ["authorization_code", "refresh_token", DEVICE_CODE],
    "token_endpoint_auth_method": "none",
    "application_type": "web",
}


@attrs.define
class Form:
    """A form of a page: where it is sent, what stands in it, and its buttons."""

    action: str
    method: str
    fields: dict[str, str] = attrs.field(factory=dict)
    buttons: list[tuple[str | None, str | None]] = attrs.field(factory=list)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self.forms.append(Form(given.get("action") or "", (given.get("method") or "get").upper()))
        elif tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "input" and given.get("name") and given.get("type") != "checkbox":
            self.forms[-1].fields[str(given["name"])] = given.get("value") or ""
        elif tag == "button" and self.forms:
            self.forms[-1].buttons.append((given.get("name"), given.get("value")))


@attrs.frozen
class Page:
    """What a browser shows, or where it was sent out of the server's reach."""

    status: int
    text: str
    left_for: str | None
    headers: Mapping[str, str]

    @property
    def forms(self) -> list[Form]:
        return self._parsed.forms

    @property
    def links(self) -> list[str]:
        return self._parsed.links

    @property
    def form(self) -> Form:
        """The first form."""
        assert self.forms, self.text
        return self.forms[0]

    @property
    def answer(self) -> dict[str, str]:
        """What an app is told in the URL that the browser was sent to."""
        assert self.left_for is not None, self.text
        parts = urlsplit(self.left_for)
        return {name: values[0] for name, values in parse_qs(parts.fragment or parts.query).items()}

    @property
    def _parsed(self) -> _Forms:
        parser = _Forms()
        parser.feed(self.text)
        return parser


@attrs.define
class Browser:
    """A browser: keeps the cookie, follows redirections on the server, runs no script.

    What is not below `base` does not reach the server, as with a proxy that has been told so.
    """

    base_url: str
    pool: HTTPConnectionPool
    cookies: dict[str, str] = attrs.field(factory=dict)
    base: str = BASE
    set_cookies: list[str] = attrs.field(factory=list)

    def at(self, base_url: str, pool: HTTPConnectionPool) -> "Browser":
        """The same browser, as a load balancer leads it to another process."""
        return attrs.evolve(self, base_url=base_url, pool=pool, cookies=self.cookies)

    async def open(self, url: str) -> Page:
        """Open a page; `url` as apps and pages name it."""
        return await self._request("GET", url)

    async def submit(
        self,
        form: Form,
        button: int = 0,
        headers: Mapping[str, str] | None = None,
        /,
        **filled: str,
    ) -> Page:
        """Press a button of a form."""
        fields = {**form.fields, **filled}
        name, value = form.buttons[button]
        if name is not None:
            fields[name] = value or ""
        if form.method == "GET":
            return await self._request("GET", f"{form.action}?{urlencode(fields)}")
        return await self._request(form.method, form.action, urlencode(fields).encode(), headers)

    async def log_in(self, page: Page, user: str = "alice", password: str = PASSWORD) -> Page:
        """Fill in the form to log in."""
        return await self.submit(page.form, user=user, password=password)

    async def _request(
        self, method: str, url: str, body: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> Page:
        url = urljoin(f"{self.base}/", url)
        assert url.startswith(f"{self.base}/"), url
        url = url.removeprefix(self.base)
        for _ in range(5):
            headers: dict[bytes | str, bytes | str] = {}
            headers.update((FORM if body is not None else {}).items())
            headers.update((more or {}).items())
            if self.cookies:
                headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            agent = Agent(reactor, pool=self.pool)
            response = await treq.request(
                method, self.base_url + url, headers=headers, data=body, agent=agent, allow_redirects=False
            )
            text = (await treq.content(response)).decode()
            received = {
                key.decode().lower(): values[-1].decode()
                for key, values in response.headers.getAllRawHeaders()
            }
            if "set-cookie" in received:
                self.set_cookies.append(received["set-cookie"])
                name, _, value = received["set-cookie"].partition(";")[0].partition("=")
                self.cookies[name] = value
            if response.code not in (302, 303):
                if received.get("content-type", "").startswith("text/html"):
                    check_page(received)
                return Page(response.code, text, None, received)
            assert received["referrer-policy"] == "no-referrer"
            target = urljoin(f"{self.base}{url}", received["location"])
            if not target.startswith(f"{self.base}/"):
                return Page(response.code, text, received["location"], received)
            method, url, body, more = "GET", target.removeprefix(self.base), None, None
        raise AssertionError(f"too many redirections: {url}")


@attrs.define
class App:
    """A copy of an app."""

    client: Client
    metadata: dict[str, Any]
    registered: dict[str, Any]
    device_id: str = attrs.field(factory=lambda: secrets.token_urlsafe(8))
    verifier: str = attrs.field(factory=lambda: secrets.token_urlsafe(48))
    state: str = attrs.field(factory=lambda: secrets.token_urlsafe(8))

    @property
    def scope(self) -> str:
        return f"urn:matrix:client:api:* urn:matrix:client:device:{self.device_id}"

    @property
    def client_id(self) -> str:
        return str(self.registered["client_id"])

    @property
    def request(self) -> dict[str, str]:
        """What the app asks for in the browser."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "scope": self.scope,
            "state": self.state,
            "response_mode": "fragment",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }

    def link(self, *, without: str | None = None, **changed: str) -> str:
        """Where the app sends the browser."""
        asked = {name: value for name, value in {**self.request, **changed}.items() if name != without}
        return f"{self.metadata['authorization_endpoint']}?{urlencode(asked)}"

    async def call(
        self,
        endpoint: str,
        parameters: Mapping[str, str | None],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call an endpoint with a form."""
        path = self.metadata[f"{endpoint}_endpoint"].removeprefix(BASE)
        given = {name: value for name, value in parameters.items() if value is not None}
        return await self.client.request(
            "POST", path, urlencode(given).encode(), headers={**FORM, **(headers or {})}, check=False
        )

    async def token(self, **parameters: str | None) -> Answer:
        """Ask for tokens."""
        return await self.call("token", {"client_id": self.client_id, **parameters})

    async def exchange(self, code: str, **changed: str | None) -> Answer:
        """Exchange a code."""
        return await self.token(**{**self.proof(code), **changed})

    def proof(self, code: str) -> dict[str, str | None]:
        """What a code is exchanged by."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": self.verifier,
        }

    async def refresh(self, refresh_token: str, **changed: str | None) -> Answer:
        """Refresh."""
        return await self.token(**{"grant_type": "refresh_token", "refresh_token": refresh_token, **changed})

    async def revoke(self, token: str, **more: str | None) -> Answer:
        """Give a token back."""
        return await self.call("revocation", {"token": token, **more})

    async def log_in(self, browser: Browser, user: str = "alice") -> Any:
        """The whole way; gives the tokens."""
        page = await browser.open(self.link())
        if "password" in page.form.fields:
            page = await browser.log_in(page, user)
        page = await browser.submit(page.form)
        assert page.answer["state"] == self.state
        return (await self.exchange(page.answer["code"])).ok()

    def with_token(self, access_token: str) -> Client:
        """The app as a client of the rest of the API."""
        return attrs.evolve(self.client, access_token=access_token, device_id=self.device_id)


@attrs.frozen
class OAuthServer:
    """A server with the OAuth 2.0 API."""

    server: TestServer
    clock: MovableClock

    @property
    def nobody(self) -> Client:
        return self.server.anonymous()

    def browser(self) -> Browser:
        return Browser(self.server.base_url, self.server.pool)

    async def register(self, **changed: Any) -> Answer:
        """Register an app; `None` leaves a value out."""
        document = {name: value for name, value in {**APP, **changed}.items() if value is not None}
        return await self.nobody.post("/_matrix/oauth2/register", document)

    async def app(self, **changed: Any) -> App:
        """A copy of an app."""
        return await app_of(self.nobody, **changed)


async def app_of(client: Client, **changed: Any) -> App:
    """A copy of an app that talks to the server by that client."""
    metadata = (await client.get(METADATA)).ok()
    document = {name: value for name, value in {**APP, **changed}.items() if value is not None}
    answer = await client.post("/_matrix/oauth2/register", document)
    assert answer.status == 201, answer.json
    return App(client, metadata, answer.json)


def refused(answer: Answer, code: str, status: int = 400) -> None:
    """The answer is this error, in the form of OAuth."""
    assert (answer.status, answer.json.get("error")) == (status, code), (answer.status, answer.json)
    assert isinstance(answer.json["error_description"], str)
    assert "errcode" not in answer.json
    assert answer.headers["cache-control"] == "no-store"


async def who(client: Client) -> int:
    """The status of asking whose token it is."""
    return (await client.get("/_matrix/client/v3/account/whoami")).status


@asynccontextmanager
async def serving_oauth(
    database_url: str, folder: Path, specification: Specification | None, **options: Any
) -> AsyncIterator[OAuthServer]:
    """A server that knows where it is reached."""
    clock = MovableClock()
    sections = {"public_base_url": BASE, **options}
    async with running_server(database_url, folder, specification, clock=clock, **sections) as server:
        # As the clock moves, the server closes connections that are idle: none is to be.
        pool = HTTPConnectionPool(reactor, persistent=False)
        yield OAuthServer(attrs.evolve(server, pool=pool), clock)
