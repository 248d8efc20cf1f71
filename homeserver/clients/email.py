"""Mail, handed to one mail server by SMTP (RFC 5321), in threads of its own.

The server's own address of the mail is in its configuration, so what is connected to is for the operator to say.
"""

import smtplib
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from typing import Final

import msgspec

from homeserver.clients.errors import RemoteError
from homeserver.config.sections import Email
from homeserver.core.mails import Mail
from homeserver.runtime.clock import Clock
from homeserver.runtime.worker_pool import WorkerPool

DEFAULT_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

STOPPING_S: Final = 1.0
"""How long the end of the process waits for a mail server that takes its time."""

LONGEST_ANSWER: Final = 200
"""What is kept of an answer of the mail server."""


class SmtpMailer(msgspec.Struct, frozen=True):
    """Sends mail. `pool` is for nothing else: a mail server that is slow must hold up no login."""

    section: Email
    pool: WorkerPool
    clock: Clock

    def start(self) -> None:
        """Start the threads."""
        self.pool.start()

    def stop(self) -> None:
        """Refuse what waits, and wait a moment for what is being sent."""
        self.pool.stop(patience_s=STOPPING_S)

    async def send(self, mail: Mail) -> None:
        """Hand a mail to the mail server, which has taken the responsibility for it when this returns.

        Errors: RemoteError, not transient if the recipient's address was refused; LimitExceeded if too much waits.
        """
        sent_at = datetime.fromtimestamp(self.clock.now_ts() / 1000, UTC)
        message = message_of(self.section, mail, sent_at)
        await self.pool.run(deliver, self.section, message)


def message_of(section: Email, mail: Mail, sent_at: datetime) -> EmailMessage:
    """The mail with its headers. Errors: ValueError for what would break one."""
    name, address = parseaddr(section.sender)
    domain = address.rpartition("@")[2]
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(addr_spec=mail.recipient)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(sent_at)
    message["Message-ID"] = make_msgid(domain=domain)
    # RFC 3834: no vacation notices in return.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    return message


def deliver(section: Email, message: EmailMessage) -> None:
    """Connect, send, and disconnect; blocks. Errors: RemoteError."""
    try:
        with _connected(section, message["From"].addresses[0].domain) as connection:
            connection.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        raise _error(section, "it refuses the recipient", code, answer) from error
    except smtplib.SMTPResponseException as error:
        raise _error(section, "it refuses", error.smtp_code, error.smtp_error, transient=True) from error
    except (smtplib.SMTPException, OSError) as error:
        reason = " ".join(str(error).split())[:LONGEST_ANSWER] or type(error).__name__
        raise RemoteError(section.host, reason, transient=True) from error


def _connected(section: Email, own_name: str) -> smtplib.SMTP:
    """A connection on which mail can be sent. Errors: OSError, SMTPException."""
    port = section.port or DEFAULT_PORTS[section.security]
    timeout: float = section.timeout_s
    if section.security == "tls":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(
            section.host, port, own_name, timeout=timeout, context=_tls(section)
        )
    else:
        connection = smtplib.SMTP(section.host, port, own_name, timeout=timeout)
    try:
        if section.security == "starttls":
            # If it is not offered, somebody may stand in between: nothing is sent then.
            connection.starttls(context=_tls(section))
        if section.username is not None and section.password is not None:
            connection.login(section.username, section.password)
    except BaseException:  # whatever it is: nobody else would close it
        connection.close()
        raise
    return connection


def _tls(section: Email) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if section.trusted_ca_file is not None:
        context.load_verify_locations(section.trusted_ca_file)
    return context


def _error(
    section: Email, what: str, code: int, answer: bytes | str, *, transient: bool | None = None
) -> RemoteError:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    shown = " ".join(text.split())[:LONGEST_ANSWER]
    is_transient = code < 500 if transient is None else transient
    return RemoteError(section.host, f"{what}: {code} {shown}", transient=is_transient)
