"""Validations of third-party identifiers under way: what was sent where, and who has confirmed it."""

import attrs
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import UserID
from homeserver.core.threepids import Threepid
from homeserver.database.statements import statement, upsert
from homeserver.database.tables.threepids import validation_sessions
from homeserver.database.transactions import ReadTransaction, WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""

HASH_BYTES = 32

MOST_TOKENS = 5
"""Of one session: the links of so many mails are good, in case the first one is slow."""


@attrs.frozen(kw_only=True)
class ValidationSession:
    """A validation. `validated_ts` is None until somebody has confirmed it, `user_id` if nobody's in particular."""

    purpose: str
    threepid: Threepid
    user_id: UserID | None
    token_hashes: bytes = attrs.field(repr=False)
    send_attempt: int
    failures: int
    validated_ts: int | None
    next_link: str | None
    expires_ts: int

    def has_token(self, token_hash: bytes) -> bool:
        """Whether a token with this hash was sent in it."""
        held = self.token_hashes
        return any(held[at : at + HASH_BYTES] == token_hash for at in range(0, len(held), HASH_BYTES))


_v = validation_sessions.c
_THIS = _v.session_hash == bindparam("the_session")
_FRESH = _v.expires_ts > bindparam("now_ts")
_COLUMNS = (
    _v.purpose,
    _v.medium,
    _v.address,
    _v.user_id,
    _v.token_hashes,
    _v.send_attempt,
    _v.failures,
    _v.validated_ts,
    _v.next_link,
    _v.expires_ts,
)

SESSION = statement(select(*_COLUMNS).where(_THIS, _FRESH))
PUT = upsert(validation_sessions, key=["session_hash"])
SENT = statement(
    update(validation_sessions)
    .where(_THIS, _v.send_attempt < bindparam("attempt"))
    .values(send_attempt=bindparam("attempt"))
)
VALIDATE = statement(
    update(validation_sessions)
    .where(_THIS, _FRESH)
    .values(validated_ts=bindparam("validated_ts"), expires_ts=bindparam("expires_ts"), token_hashes=b"")
)
FAIL = statement(
    update(validation_sessions).where(_THIS, _FRESH).values(failures=_v.failures + 1).returning(_v.failures)
)
TAKE = statement(
    delete(validation_sessions)
    .where(_THIS, _FRESH, _v.purpose == bindparam("the_purpose"), _v.validated_ts.is_not(None))
    .returning(_v.medium, _v.address, _v.user_id, _v.validated_ts)
)
DELETE = statement(delete(validation_sessions).where(_THIS))
DELETE_OF_USER = statement(delete(validation_sessions).where(_v.user_id == bindparam("the_user")))
PRUNE = statement(
    delete(validation_sessions).where(
        _v.session_hash.in_(
            select(_v.session_hash).where(_v.expires_ts <= bindparam("now_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def find(tx: ReadTransaction, session_hash: bytes, *, now_ts: int) -> ValidationSession | None:
    """The session, None if it is not known or has expired."""
    row = tx.one(SESSION, the_session=session_hash, now_ts=now_ts)
    if row is None:
        return None
    purpose, medium, address, user_id, tokens, attempt, failures, validated_ts, next_link, expires_ts = row
    return ValidationSession(
        purpose=purpose,
        threepid=Threepid(medium, address),
        user_id=user_id,
        token_hashes=bytes(tokens),
        send_attempt=attempt,
        failures=failures,
        validated_ts=validated_ts,
        next_link=next_link,
        expires_ts=expires_ts,
    )


def put(tx: WriteTransaction, session_hash: bytes, session: ValidationSession, *, now_ts: int) -> None:
    """Begin a session, or replace what there is of it."""
    tx.execute(PRUNE, now_ts=now_ts)
    tx.execute(
        PUT,
        session_hash=session_hash,
        purpose=session.purpose,
        medium=session.threepid.medium,
        address=session.threepid.address,
        user_id=session.user_id,
        token_hashes=session.token_hashes[-MOST_TOKENS * HASH_BYTES :],
        send_attempt=session.send_attempt,
        failures=session.failures,
        validated_ts=session.validated_ts,
        next_link=session.next_link,
        expires_ts=session.expires_ts,
    )


def sent(tx: WriteTransaction, session_hash: bytes, attempt: int) -> None:
    """The mail that the client has given this number is on its way."""
    tx.execute(SENT, the_session=session_hash, attempt=attempt)


def validate(
    tx: WriteTransaction, session_hash: bytes, *, now_ts: int, validated_ts: int, expires_ts: int
) -> bool:
    """Somebody has confirmed it: no token is needed any more. False if the session is gone."""
    return (
        tx.execute(
            VALIDATE,
            the_session=session_hash,
            now_ts=now_ts,
            validated_ts=validated_ts,
            expires_ts=expires_ts,
        )
        == 1
    )


def fail(tx: WriteTransaction, session_hash: bytes, *, most: int, now_ts: int) -> None:
    """Somebody has guessed wrong; with the failure number `most` the session ends."""
    rows = tx.returning(FAIL, the_session=session_hash, now_ts=now_ts)
    if rows and rows[0][0] >= most:
        tx.execute(DELETE, the_session=session_hash)


def take(
    tx: WriteTransaction, session_hash: bytes, *, purpose: str, now_ts: int
) -> tuple[Threepid, UserID | None, int] | None:
    """Use a validated session up: the identifier, whose account it is for, and when it was validated.

    None if there is none (any more), it is for something else, or nobody has confirmed it.
    """
    rows = tx.returning(TAKE, the_session=session_hash, the_purpose=purpose, now_ts=now_ts)
    if not rows:
        return None
    medium, address, user_id, validated_ts = rows[0]
    return Threepid(medium, address), user_id, validated_ts


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """End the sessions for a user's account."""
    tx.execute(DELETE_OF_USER, the_user=user_id)
