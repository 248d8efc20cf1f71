"""Mail is handed to a real mail server, encrypted and with a login where that is asked for."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import msgspec
import pytest
from twisted.internet import reactor

from homeserver.clients.email import SmtpMailer
from homeserver.clients.errors import RemoteError
from homeserver.config.sections import Email
from homeserver.core.mails import Mail
from homeserver.http.tls import RenewableCertificate
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.worker_pool import Loop, WorkerPool
from tests.federation.certificates import Authority
from tests.outbound.scripted import certify
from tests.services.conftest import MovableClock
from tests.smtp import PASSWORD, USERNAME, MailServer, mail_server

MAIL = Mail("bob@example.org", "A subject", "The first line.\n.\nhttps://example.org/" + "x" * 100 + "\n")


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(cast("Loop", reactor))
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def post() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


def plain(server: MailServer, **options: Any) -> Email:
    return Email(
        host="127.0.0.1",
        port=server.port,
        sender="The Example <matrix@example.org>",
        security="none",
        timeout_s=5,
        **options,
    )


def certificate(authority: Authority, *names: str) -> RenewableCertificate:
    return RenewableCertificate(*certify(authority, *names), SystemClock())


async def test_a_mail_arrives_as_it_was_written(post: MailServer, pool: WorkerPool) -> None:
    await SmtpMailer(plain(post), pool, MovableClock()).send(MAIL)
    mail = post.take("bob@example.org")
    assert mail["From"] == "The Example <matrix@example.org>"
    assert mail["Subject"] == "A subject"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail.get_content().replace("\r\n", "\n") == MAIL.text
    assert post.envelopes == [("matrix@example.org", ["bob@example.org"])]


async def test_starttls_and_a_login(authority: Authority, pool: WorkerPool) -> None:
    async with mail_server(certificate(authority, "localhost"), requires_login=True) as post:
        section = msgspec.structs.replace(
            plain(post),
            host="localhost",
            security="starttls",
            username=USERNAME,
            password=PASSWORD,
            trusted_ca_file=authority.file,
        )
        await SmtpMailer(section, pool, MovableClock()).send(MAIL)
        assert (post.logins, post.over_tls, len(post.mails)) == (1, [True], 1)
        wrong = msgspec.structs.replace(section, password="wrong")
        with pytest.raises(RemoteError) as refused:
            await SmtpMailer(wrong, pool, MovableClock()).send(MAIL)
        assert refused.value.transient
        assert "wrong" not in str(refused.value)
        assert len(post.mails) == 1


async def test_tls_from_the_start(authority: Authority, pool: WorkerPool) -> None:
    tls = certificate(authority, "localhost")
    async with mail_server(tls, is_tls_from_the_start=True) as post:
        section = msgspec.structs.replace(
            plain(post), host="localhost", security="tls", trusted_ca_file=authority.file
        )
        await SmtpMailer(section, pool, MovableClock()).send(MAIL)
        assert (post.over_tls, len(post.mails)) == ([True], 1)


async def test_nothing_is_sent_to_who_cannot_prove_itself(authority: Authority, pool: WorkerPool) -> None:
    async with mail_server(certificate(authority, "other.test")) as post:
        for options in (
            # The certificate is for another name, and is of an authority that nobody knows.
            {"host": "localhost", "trusted_ca_file": authority.file},
            {"host": "localhost"},
        ):
            section = msgspec.structs.replace(plain(post), security="starttls", **options)
            with pytest.raises(RemoteError, match="certificate"):
                await SmtpMailer(section, pool, MovableClock()).send(MAIL)
        assert (post.mails, post.envelopes) == ([], [])


async def test_without_starttls_nothing_is_sent(post: MailServer, pool: WorkerPool) -> None:
    """Who stands in between may have taken the offer out."""
    section = msgspec.structs.replace(plain(post), security="starttls")
    with pytest.raises(RemoteError):
        await SmtpMailer(section, pool, MovableClock()).send(MAIL)
    assert post.mails == []


async def test_refusals(post: MailServer, pool: WorkerPool) -> None:
    mailer = SmtpMailer(plain(post), pool, MovableClock())
    post.refuses_recipients = True
    with pytest.raises(RemoteError) as refused:
        await mailer.send(MAIL)
    assert not refused.value.transient
    post.refuses_recipients, post.refuses_mail = False, True
    with pytest.raises(RemoteError, match="451") as put_off:
        await mailer.send(MAIL)
    assert put_off.value.transient
    nobody = msgspec.structs.replace(plain(post), port=1)
    with pytest.raises(RemoteError) as unreached:
        await SmtpMailer(nobody, pool, MovableClock()).send(MAIL)
    assert unreached.value.transient
    post.refuses_mail = False
    await mailer.send(MAIL)
    assert len(post.mails) == 1


@pytest.mark.parametrize(
    "mail",
    [
        Mail("bob@example.org\r\nBcc: eve@example.org", "A subject", "text"),
        Mail("bob@example.org>, <eve@example.org", "A subject", "text"),
        Mail("bob@example.org", "A subject\r\nBcc: eve@example.org", "text"),
        Mail("bob@example.org", "A subject\nBcc: eve@example.org", "text"),
    ],
)
async def test_headers_cannot_be_put_in(post: MailServer, pool: WorkerPool, mail: Mail) -> None:
    """What comes this far has been checked before; this is the second lock."""
    with pytest.raises(Exception):  # noqa: B017 - whatever the library says
        await SmtpMailer(plain(post), pool, MovableClock()).send(mail)
    assert post.envelopes == []
