"""Sessions of the User-Interactive Authentication: what was begun for which request, and what is done."""

import msgspec
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue, encode
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import uia_sessions
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""


class UiaSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session. `completed` maps stages, in the order in which they were done, to what each left.

    `user_id` is whose it is: who made the request, else who a stage has shown to be there, or was registered.
    `challenge` is what the client was told when it was begun: `flows` and `params`; empty if that is not known.
    """

    operation: str
    user_id: UserID | None
    request_mac: bytes
    completed: JsonObject
    failures: int
    challenge: JsonObject


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What a registration's client has sent: its parameters without the password, and the password's hash.

    `registered_user_id` is who was registered, if that has been done.
    """

    parameters: JsonObject | None
    password_hash: str | None
    registered_user_id: UserID | None


_s = uia_sessions.c
_THIS = _s.session_hash == bindparam("the_session")
_FRESH = _s.expires_ts > bindparam("now_ts")

SESSION = statement(
    select(_s.operation, _s.user_id, _s.request_mac, _s.completed, _s.failures, _s.challenge).where(
        _THIS, _FRESH
    )
)
_REMEMBERED = select(_s.remembered, _s.password_hash, _s.registered_user_id).where(
    _THIS, _FRESH, _s.operation == bindparam("operation")
)
REMEMBERED = statement(_REMEMBERED)
REMEMBERED_LOCKED = statement(_REMEMBERED.with_for_update())
INSERT = insert_into(uia_sessions)
COMPLETE = statement(
    update(uia_sessions)
    .where(_THIS, _FRESH, _s.completed == bindparam("completed_before"))
    .values(completed=bindparam("completed"), user_id=bindparam("of_user"), failures=0)
)
FAIL = statement(
    update(uia_sessions).where(_THIS, _FRESH).values(failures=_s.failures + 1).returning(_s.failures)
)
REMEMBER = statement(
    update(uia_sessions)
    .where(_THIS, _FRESH, _s.registered_user_id.is_(None))
    .values(remembered=bindparam("remembered"), password_hash=bindparam("password_hash"))
)
REGISTERED = statement(
    update(uia_sessions)
    .where(_THIS)
    .values(
        registered_user_id=bindparam("registered_user_id"),
        user_id=bindparam("registered_user_id"),
        expires_ts=bindparam("until_ts"),
        password_hash=None,
        remembered=None,
    )
)
DELETE = statement(delete(uia_sessions).where(_THIS))
DELETE_OF_USER = statement(delete(uia_sessions).where(_s.user_id == bindparam("user_id")))
PRUNE = statement(
    delete(uia_sessions).where(
        _s.session_hash.in_(
            select(_s.session_hash).where(_s.expires_ts <= bindparam("now_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def add(
    tx: WriteTransaction,
    session_hash: bytes,
    *,
    operation: str,
    user_id: UserID | None,
    request_mac: bytes,
    completed: JsonObject,
    failures: int,
    challenge: JsonObject,
    now_ts: int,
    expires_ts: int,
) -> None:
    """Begin a session."""
    tx.execute(PRUNE, now_ts=now_ts)
    tx.execute(
        INSERT,
        session_hash=session_hash,
        operation=operation,
        user_id=user_id,
        request_mac=request_mac,
        completed=encode(completed),
        failures=failures,
        expires_ts=expires_ts,
        remembered=None,
        password_hash=None,
        registered_user_id=None,
        challenge=encode(challenge),
    )


def find(tx: ReadTransaction, session_hash: bytes, *, now_ts: int) -> UiaSession | None:
    """The session, None if it is not known or has expired."""
    row = tx.one(SESSION, the_session=session_hash, now_ts=now_ts)
    if row is None:
        return None
    operation, user_id, request_mac, completed, failures, challenge = row
    return UiaSession(
        operation=operation,
        user_id=user_id,
        request_mac=request_mac,
        completed=_OBJECT.decode(completed),
        failures=failures,
        challenge={} if challenge is None else _OBJECT.decode(challenge),
    )


def complete(
    tx: WriteTransaction,
    session_hash: bytes,
    before: JsonObject,
    stage: str,
    left: JsonValue,
    *,
    user_id: UserID | None,
    now_ts: int,
) -> bool:
    """A stage is done and left `left`, and the session is now `user_id`'s.

    False if it has gone, or is no longer as `before`.
    """
    return (
        tx.execute(
            COMPLETE,
            the_session=session_hash,
            completed_before=encode(before),
            completed=encode({**before, stage: left}),
            of_user=user_id,
            now_ts=now_ts,
        )
        == 1
    )


def fail(tx: WriteTransaction, session_hash: bytes, *, most: int, now_ts: int) -> None:
    """A stage has failed; with the failure number `most` the session ends."""
    rows = tx.returning(FAIL, the_session=session_hash, now_ts=now_ts)
    if rows and rows[0][0] >= most:
        tx.execute(DELETE, the_session=session_hash)


def remembered(tx: ReadTransaction, session_hash: bytes, *, operation: str, now_ts: int) -> Remembered | None:
    """What a registration's client sent before; None if there is no such session."""
    return _remembered(tx.one(REMEMBERED, the_session=session_hash, operation=operation, now_ts=now_ts))


def lock_remembered(
    tx: WriteTransaction, session_hash: bytes, *, operation: str, now_ts: int
) -> Remembered | None:
    """As `remembered`; nobody else registers in this session until the commit."""
    return _remembered(
        tx.one(REMEMBERED_LOCKED, the_session=session_hash, operation=operation, now_ts=now_ts)
    )


def _remembered(row: Row | None) -> Remembered | None:
    if row is None:
        return None
    parameters, password_hash, registered_user_id = row
    return Remembered(
        parameters=None if parameters is None else _OBJECT.decode(parameters),
        password_hash=password_hash,
        registered_user_id=registered_user_id,
    )


def remember(
    tx: WriteTransaction,
    session_hash: bytes,
    *,
    parameters: JsonObject,
    password_hash: str | None,
    now_ts: int,
) -> None:
    """Keep what a registration's client has sent, in place of what was kept before."""
    tx.execute(
        REMEMBER,
        the_session=session_hash,
        remembered=encode(parameters),
        password_hash=password_hash,
        now_ts=now_ts,
    )


def registered(tx: WriteTransaction, session_hash: bytes, user_id: UserID, *, until_ts: int) -> None:
    """The session's user is registered, and may say so again until `until_ts`; nothing else is kept any more."""
    tx.execute(REGISTERED, the_session=session_hash, registered_user_id=user_id, until_ts=until_ts)


def remove(tx: WriteTransaction, session_hash: bytes) -> bool:
    """End the session; False if it has ended already."""
    return tx.execute(DELETE, the_session=session_hash) == 1


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """End the user's sessions."""
    tx.execute(DELETE_OF_USER, user_id=user_id)


_OBJECT = msgspec.json.Decoder(JsonObject)
