"""Has people show that an e-mail address is theirs: by a link that is sent there, and that they open and confirm.

A validation is for one purpose and one address. Its session id follows from the client's secret, the purpose and the
address, so a repeated request leads to the same session; the database holds but the hash of it, and of the tokens in
the links. Whether an address has an account is told in the mail, and nowhere else.
Spec: client-server API, `POST /register/email/requestToken` and the like.
"""

import base64
import enum
import hashlib
import hmac
from typing import Final, Protocol, Self
from urllib.parse import urlencode, urlsplit

import attrs
import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.core import mails
from homeserver.core.errors import InvalidParam, ThreepidDenied, ThreepidMediumNotSupported, Unknown
from homeserver.core.globs import GlobSet
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.mails import Mail
from homeserver.core.threepids import Threepid, check_opaque, email_of
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.attempts import Attempts, Guessing
from homeserver.services.credentials import hash_of, new_token
from homeserver.storage import threepids, validation_sessions
from homeserver.storage.validation_sessions import ValidationSession

CONFIRM_PATH: Final = "/_matrix/static/client/email/confirm"

MOST_FAILURES: Final = 10
"""Wrong tokens or secrets until a session ends."""

LONGEST_LINK: Final = 2_048

_log = structlog.get_logger(__name__)


class Purpose(enum.Enum):
    """What an address is validated for; a validation for one thing is good for no other."""

    REGISTER = "register"
    ADD = "add"
    RESET = "reset"


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> None:
        """Hand a mail to the mail server. Errors: RemoteError, not transient if the address is refused."""
        ...


class RunningMailer(Mailer, Protocol):
    """A mailer with threads of its own."""

    def start(self) -> None:
        """Start them."""
        ...

    def stop(self) -> None:
        """End them."""
        ...


class EmailPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What mails are sent for: `base_url` is where their links lead; `allow` is None if all addresses may be used."""

    server_name: ServerName
    base_url: str
    lifetime_ms: int
    allow: GlobSet | None


@attrs.frozen
class TokenRequest:
    """What a client asks for: mail number `send_attempt` of this secret to this address."""

    client_secret: str = attrs.field(repr=False)
    email: str
    send_attempt: int
    next_link: str | None


@attrs.frozen
class Validated:
    """Somebody has shown that the identifier is theirs. `session_hash` is what uses that up."""

    threepid: Threepid
    user_id: UserID | None
    session_hash: bytes = attrs.field(repr=False)


class Asked(msgspec.Struct, frozen=True):
    """What a link asks its reader to confirm; `next_link` is where the app wants the reader to go then."""

    purpose: Purpose
    address: str
    user_id: UserID | None
    next_link: str | None
    is_confirmed: bool

    @classmethod
    def of(cls, session: ValidationSession) -> Self:
        """What a session's mails ask."""
        return cls(
            Purpose(session.purpose),
            session.threepid.address,
            session.user_id,
            session.next_link,
            session.validated_ts is not None,
        )


class _Plan(msgspec.Struct, frozen=True):
    """What is to be sent; None if it has been already."""

    mail: Mail | None


class EmailValidations(msgspec.Struct, frozen=True):
    """Validates e-mail addresses. Without `mailer` and `policy` it refuses to."""

    database: Database
    clock: Clock
    attempts: Attempts
    mailer: Mailer | None
    policy: EmailPolicy | None

    @property
    def is_possible(self) -> bool:
        """Whether this server can send mail."""
        return self.mailer is not None

    async def request(self, purpose: Purpose, wanted: TokenRequest, user_id: UserID | None = None) -> str:
        """Send a mail, unless mail number `send_attempt` has been sent; gives the session id.

        `user_id` is for whose account the address is to be, None if that is not said. The answer is the same
        whether the address has an account or not. Errors: ThreepidMediumNotSupported if no mail can be sent;
        InvalidParam; ThreepidDenied; LimitExceeded; Unknown (502) if the mail server does not take the mail.
        """
        if self.mailer is None or self.policy is None:
            raise ThreepidMediumNotSupported("This server cannot send e-mail, so it cannot confirm addresses")
        threepid = _checked(wanted, self.policy)
        sid = session_id(wanted.client_secret, purpose, threepid)
        token = new_token()
        link = f"{self.policy.base_url}{CONFIRM_PATH}?{urlencode({'sid': sid, 'token': token})}"
        now_ts = self.clock.now_ts()
        draft = ValidationSession(
            purpose=purpose.value,
            threepid=threepid,
            user_id=user_id,
            token_hashes=hash_of(token),
            send_attempt=-1,
            failures=0,
            validated_ts=None,
            next_link=wanted.next_link,
            expires_ts=now_ts + self.policy.lifetime_ms,
        )
        plan = await self.database.write(
            begin, hash_of(sid), draft, wanted.send_attempt, self.policy.server_name, link, now_ts=now_ts
        )
        if plan.mail is not None:
            await self._send(self.mailer, plan.mail)
            # Only now: a request that is repeated because this one failed is to send the mail.
            await self.database.write(validation_sessions.sent, hash_of(sid), wanted.send_attempt)
        return sid

    async def find(self, sid: str, token: str) -> Asked | None:
        """What a link asks, None if it is not good (any more). A wrong token counts."""
        session_hash, now_ts = hash_of(sid), self.clock.now_ts()
        session = await self.database.read(validation_sessions.find, session_hash, now_ts=now_ts)
        if session is None:
            return None
        if session.validated_ts is None and not session.has_token(hash_of(token)):
            await self.database.write(
                validation_sessions.fail, session_hash, most=MOST_FAILURES, now_ts=now_ts
            )
            return None
        return Asked.of(session)

    async def confirm(self, sid: str, token: str) -> Asked | None:
        """The link was opened, and what it asks confirmed: as `find`. To confirm twice does no harm."""
        asked = await self.find(sid, token)
        if asked is None or asked.is_confirmed or self.policy is None:
            return asked
        now_ts = self.clock.now_ts()
        is_done = await self.database.write(
            validation_sessions.validate,
            hash_of(sid),
            now_ts=now_ts,
            validated_ts=now_ts,
            expires_ts=now_ts + self.policy.lifetime_ms,
        )
        return asked if is_done else None

    async def validated(self, sid: str, client_secret: str, purpose: Purpose) -> Validated | None:
        """What was validated in a session for that purpose; None if nobody has confirmed it, or it is another's.

        A wrong secret counts.
        """
        session_hash, now_ts = hash_of(sid), self.clock.now_ts()
        session = await self.database.read(validation_sessions.find, session_hash, now_ts=now_ts)
        if session is None:
            return None
        expected = session_id(client_secret, purpose, session.threepid)
        if session.purpose != purpose.value or not hmac.compare_digest(expected.encode(), _bytes(sid)):
            await self.database.write(
                validation_sessions.fail, session_hash, most=MOST_FAILURES, now_ts=now_ts
            )
            return None
        if session.validated_ts is None:
            return None
        return Validated(session.threepid, session.user_id, session_hash)

    async def _send(self, mailer: Mailer, mail: Mail) -> None:
        """Errors: LimitExceeded; InvalidParam if the mail server refuses the address; Unknown (502)."""
        await self.attempts.take(Guessing.MAIL, mail.recipient)
        try:
            await mailer.send(mail)
        except RemoteError as error:
            _log.warning("a mail could not be sent", server=error.party, reason=error.message)
            if not error.transient:
                raise InvalidParam("The mail server refuses this address") from error
            raise Unknown("The mail could not be sent: try again later", status=502) from error


def begin(
    tx: WriteTransaction,
    session_hash: bytes,
    draft: ValidationSession,
    send_attempt: int,
    server_name: ServerName,
    link: str,
    *,
    now_ts: int,
) -> _Plan:
    """Begin the session, or go on with it; what is to be sent follows from whose the address is."""
    before = validation_sessions.find(tx, session_hash, now_ts=now_ts)
    if before is not None and (before.validated_ts is not None or send_attempt <= before.send_attempt):
        return _Plan(None)
    session = draft
    if before is not None:
        session = attrs.evolve(
            draft,
            token_hashes=before.token_hashes + draft.token_hashes,
            send_attempt=before.send_attempt,
            failures=before.failures,
        )
    owner, recipient = threepids.owner_of(tx, draft.threepid), draft.threepid.address
    if draft.purpose == Purpose.RESET.value:
        session = attrs.evolve(session, user_id=owner)
        mail = mails.nobodys(recipient, server_name)
        if owner is not None:
            mail = mails.confirm_reset(recipient, server_name, owner, link)
        is_good = owner is not None
    else:
        is_good = owner is None or owner == draft.user_id
        mail = mails.already_used(recipient, server_name)
        if is_good:
            is_new = draft.purpose == Purpose.REGISTER.value
            ask = mails.confirm_registration if is_new else mails.confirm_addition
            mail = ask(recipient, server_name, link)
    if not is_good:
        session = attrs.evolve(session, token_hashes=b"")
    validation_sessions.put(tx, session_hash, session, now_ts=now_ts)
    return _Plan(mail)


def session_id(client_secret: str, purpose: Purpose, threepid: Threepid) -> str:
    """The session's id: who does not know the secret cannot make it."""
    said = f"{purpose.value}\0{threepid.medium}\0{threepid.address}"
    mac = hmac.new(_bytes(client_secret), said.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def _checked(wanted: TokenRequest, policy: EmailPolicy) -> Threepid:
    """The address, canonical. Errors: InvalidParam, ThreepidDenied."""
    check_opaque(wanted.client_secret, "client_secret")
    threepid = email_of(wanted.email)
    if not 0 <= wanted.send_attempt < 2**53:
        raise InvalidParam("`send_attempt` must be a number from 0 up")
    if wanted.next_link is not None:
        _check_link(wanted.next_link)
    if policy.allow is not None and not policy.allow.matches(threepid.address):
        raise ThreepidDenied("This server does not accept that e-mail address")
    return threepid


def _check_link(link: str) -> None:
    """A link that is shown to people. Errors: InvalidParam."""
    try:
        parts = urlsplit(link)
    except ValueError:
        raise InvalidParam("`next_link` is not a URL") from None
    is_plain = link.isascii() and link.isprintable()  # what is shown is to be read by people
    if len(link) > LONGEST_LINK or not is_plain or parts.scheme not in ("https", "http"):
        raise InvalidParam(f"`next_link` must be a web address of up to {LONGEST_LINK} characters")
    if not parts.hostname or parts.username is not None:
        raise InvalidParam("`next_link` must be a web address with a host, and without a user")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
