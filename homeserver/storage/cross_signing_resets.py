"""Users who have said on this server's pages that their cross-signing keys may be replaced, once."""

from sqlalchemy import bindparam, delete

from homeserver.core.identifiers import UserID
from homeserver.database.statements import statement, upsert
from homeserver.database.tables.oauth import cross_signing_resets
from homeserver.database.transactions import WriteTransaction

_r = cross_signing_resets.c
ALLOW = upsert(cross_signing_resets, key=["user_id"])
TAKE = statement(
    delete(cross_signing_resets).where(_r.user_id == bindparam("user_id")).returning(_r.until_ts)
)


def allow(tx: WriteTransaction, user_id: UserID, *, until_ts: int) -> None:
    """It may be done until then."""
    tx.execute(ALLOW, user_id=user_id, until_ts=until_ts)


def take(tx: WriteTransaction, user_id: UserID, *, now_ts: int) -> bool:
    """Whether it may be done now: then it may not be done again."""
    return any(row[0] > now_ts for row in tx.returning(TAKE, user_id=user_id))
