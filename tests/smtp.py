"""A mail server on loopback: it takes mail, or refuses it, as the test says."""

import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.mail.imap4 import PLAINCredentials
from twisted.mail.smtp import (
    ESMTP,
    SMTP,
    IMessage,
    IMessageDelivery,
    SMTPBadRcpt,
    SMTPServerError,
    User,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

USERNAME, PASSWORD = "matrix@test.example", "a password of the mail server"


@attrs.define(eq=False)
class MailServer:
    """What has arrived, and how it is to be treated."""

    port: int = 0
    mails: list[EmailMessage] = attrs.field(factory=list)
    envelopes: list[tuple[str, list[str]]] = attrs.field(factory=list)
    logins: int = 0
    over_tls: list[bool] = attrs.field(factory=list)
    refuses_recipients: bool = False
    refuses_mail: bool = False
    requires_login: bool = False

    def take(self, recipient: str) -> EmailMessage:
        """The one mail that has come for `recipient` since the last call; there must be no other."""
        mails, self.mails = self.mails, []
        assert [mail["To"] for mail in mails] == [recipient]
        return mails[0]


@implementer(IMessage)
class _Message:
    def __init__(self, server: MailServer, envelope: tuple[str, list[str]]) -> None:
        self._server, self._envelope = server, envelope
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self._lines.append(line)

    def eomReceived(self) -> Deferred[bytes]:  # noqa: N802 - as above
        parsed = email.message_from_bytes(b"".join(line + b"\r\n" for line in self._lines), policy=default)
        self._server.mails.append(parsed)
        self._server.envelopes.append(self._envelope)
        return succeed(b"taken")

    def connectionLost(self) -> None:  # noqa: N802 - as above
        pass


@implementer(IMessageDelivery)
class _Delivery:
    def __init__(self, server: MailServer, protocol: Any) -> None:
        self._server, self._protocol = server, protocol
        self._sender = ""

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:  # noqa: N802 - as above
        return b"Received: by the tests"

    def validateFrom(self, helo: Any, origin: Any) -> Any:  # noqa: N802 - as above
        if self._server.refuses_mail:
            raise SMTPServerError(451, "come back later")
        self._sender = str(origin)
        self._server.over_tls.append(hasattr(self._protocol.transport, "getPeerCertificate"))
        return origin

    def validateTo(self, user: User) -> Any:  # noqa: N802 - as above
        if self._server.refuses_recipients:
            raise SMTPBadRcpt(user)
        return lambda: _Message(self._server, (self._sender, [str(user.dest)]))


@implementer(IRealm)
class _Realm:
    def __init__(self, server: MailServer, protocol: Any) -> None:
        self._server, self._protocol = server, protocol

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:  # noqa: N802, N803 - as above
        self._server.logins += 1
        return IMessageDelivery, _Delivery(self._server, self._protocol), lambda: None


class _Factory(Factory):
    noisy = False

    def __init__(self, server: MailServer, tls: IOpenSSLServerConnectionCreator | None) -> None:
        self._server, self._tls = server, tls

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: N802 - as above
        challengers = {b"PLAIN": PLAINCredentials} if self._server.requires_login else {}
        made = ESMTP(challengers, self._tls)
        made.host = b"mail.test"
        if self._server.requires_login:
            checker = InMemoryUsernamePasswordDatabaseDontUse()
            checker.addUser(USERNAME.encode(), PASSWORD.encode())
            made.portal = Portal(_Realm(self._server, made), [checker])  # type: ignore[assignment]  # Twisted has no types
        else:
            made.delivery = _Delivery(self._server, made)
        return cast("SMTP", made)


@asynccontextmanager
async def mail_server(
    tls: Any = None, *, is_tls_from_the_start: bool = False, requires_login: bool = False
) -> AsyncIterator[MailServer]:
    """A running mail server; with `tls`, what makes the server's side of a connection, it offers STARTTLS."""
    server = MailServer(requires_login=requires_login)
    factory: Any = _Factory(server, None if is_tls_from_the_start else tls)
    if is_tls_from_the_start:
        factory = TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=factory)
        factory.noisy = False
    port = cast("Any", reactor).listenTCP(0, factory, interface="127.0.0.1")
    server.port = port.getHost().port
    try:
        yield server
    finally:
        await port.stopListening()
