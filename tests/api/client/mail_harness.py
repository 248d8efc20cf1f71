"""A server that sends mail, to a mail server of the test's; and what people do with the mails they get."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import attrs

from homeserver.config.sections import Email, Registration
from homeserver.runtime.clock import SystemClock
from tests.api.server import PASSWORD, SHARED_SECRET, Answer, Client, TestServer, path_of, running_server
from tests.openapi import Specification
from tests.smtp import MailServer, mail_server

LINK: Final = re.compile(r"https://matrix\.test\.example(/\S+)")
CONFIRM: Final = "/_matrix/static/client/email/confirm"
HOUR_MS: Final = 3_600_000


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, set forward by `ahead_ms`."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms


@attrs.frozen
class Mailing:
    """A server, and the mails that it has sent."""

    server: TestServer
    post: MailServer
    clock: MovableClock

    @property
    def nobody(self) -> Client:
        """A client without an account."""
        return self.server.anonymous()

    async def request(
        self,
        what: str,
        email: str,
        secret: str = "secret",
        attempt: int = 1,
        *,
        by: Client | None = None,
        **more: Any,
    ) -> Answer:
        """Ask for a mail; `what` is a path below the client API, up to `/email/requestToken`."""
        body = {"client_secret": secret, "email": email, "send_attempt": attempt, **more}
        return await (by or self.nobody).post(f"/_matrix/client/v3/{what}/email/requestToken", body)

    async def confirm(self, mail: EmailMessage) -> Answer:
        """Open the link in a mail, and press the button."""
        path, fields = link_in(mail)
        opened = await self.nobody.request("GET", path, query=fields)
        assert opened.status == 200
        return await self.nobody.submit(path, **fields)

    async def validate(
        self, what: str, email: str, secret: str = "secret", *, by: Client | None = None
    ) -> dict[str, str]:
        """Have an address validated; gives the credentials."""
        sid = (await self.request(what, email, secret, by=by)).ok()["sid"]
        assert (await self.confirm(self.post.take(email))).status == 200
        return {"sid": sid, "client_secret": secret}

    async def add(self, user: Client, email: str) -> None:
        """Add an address to an account."""
        proof = await self.validate("account/3pid", email, by=user)
        (await user.post(path_of("account", "3pid", "add"), {**proof, "auth": password_of(user)})).ok()


def password_of(user: Client, password: str = PASSWORD) -> dict[str, object]:
    """What proves that it is the user."""
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user.user_id},
        "password": password,
    }


def by_email(proof: dict[str, str], **more: object) -> dict[str, object]:
    """The stage of a validated address."""
    return {"type": "m.login.email.identity", "threepid_creds": proof, **more}


def link_in(mail: EmailMessage) -> tuple[str, dict[str, str]]:
    """The path of the link in a mail, and the fields of its query."""
    found = LINK.search(mail.get_content())
    assert found is not None, mail.get_content()
    parts = urlsplit(found[1])
    return parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}


async def emails_of(user: Client) -> list[str]:
    """The addresses of an account."""
    answer = (await user.get(path_of("account", "3pid"))).ok()
    return [each["address"] for each in answer["threepids"]]


@asynccontextmanager
async def serving_mail(
    database_url: str,
    folder: Path,
    specification: Specification | None,
    *,
    email: dict[str, Any] | None = None,
    registration: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Mailing]:
    """A server that sends mail; `email` and `registration` are more keys of these sections."""
    clock = MovableClock()
    async with mail_server() as post:
        sections = {
            "public_base_url": "https://matrix.test.example",
            "email": Email(
                host="127.0.0.1",
                port=post.port,
                sender="Test <matrix@test.example>",
                security="none",
                timeout_s=5,
                **(email or {}),
            ),
            "registration": Registration(
                **{
                    "enabled": True,
                    "shared_secret": SHARED_SECRET,
                    "allow_guests": True,
                    **(registration or {}),
                }
            ),
            **options,
        }
        async with running_server(database_url, folder, specification, clock=clock, **sections) as server:
            yield Mailing(server, post, clock)
