"""Third-party identifiers of accounts."""

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from homeserver.core.identifiers import UserID
from homeserver.core.threepids import Threepid
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.threepids import user_threepids
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class OwnThreepid(msgspec.Struct, frozen=True):
    """An identifier of an account; `validated_ts`: when its owner has shown that it is theirs."""

    threepid: Threepid
    validated_ts: int
    added_ts: int


_t = user_threepids.c
_THIS = (_t.medium == bindparam("the_medium"), _t.address == bindparam("the_address"))

OWNER = statement(select(_t.user_id).where(*_THIS))
OF_USER = statement(
    select(_t.medium, _t.address, _t.validated_ts, _t.added_ts)
    .where(_t.user_id == bindparam("user_id"))
    .order_by(_t.added_ts, _t.address)
)
COUNT_OF_USER = statement(select(func.count()).where(_t.user_id == bindparam("user_id")))
DELETE = statement(delete(user_threepids).where(*_THIS, _t.user_id == bindparam("the_user")))
DELETE_OF_USER = statement(delete(user_threepids).where(_t.user_id == bindparam("the_user")))
INSERT = insert_into(user_threepids, ignore_conflict=True)
RENEW = statement(
    update(user_threepids)
    .where(*_THIS, _t.user_id == bindparam("the_user"))
    .values(validated_ts=bindparam("validated_ts"))
)


def owner_of(tx: ReadTransaction, threepid: Threepid) -> UserID | None:
    """Whose it is, None if nobody's."""
    row = tx.one(OWNER, the_medium=threepid.medium, the_address=threepid.address)
    return None if row is None else UserID(row[0])


def of_user(tx: ReadTransaction, user_id: UserID) -> list[OwnThreepid]:
    """The identifiers of an account, in the order in which they were added."""
    rows = tx.all(OF_USER, user_id=user_id)
    return [OwnThreepid(Threepid(row[0], row[1]), row[2], row[3]) for row in rows]


def count_of_user(tx: ReadTransaction, user_id: UserID) -> int:
    """How many identifiers an account has."""
    row = tx.one(COUNT_OF_USER, user_id=user_id)
    return 0 if row is None else int(row[0])


def add(tx: WriteTransaction, user_id: UserID, threepid: Threepid, *, validated_ts: int, now_ts: int) -> bool:
    """Give the identifier to the account, or note that it was validated anew; False if it is another's."""
    added = tx.execute(
        INSERT,
        medium=threepid.medium,
        address=threepid.address,
        user_id=user_id,
        validated_ts=validated_ts,
        added_ts=now_ts,
    )
    if added:
        return True
    renewed = tx.execute(
        RENEW,
        the_medium=threepid.medium,
        the_address=threepid.address,
        the_user=user_id,
        validated_ts=validated_ts,
    )
    return renewed == 1


def remove(tx: WriteTransaction, user_id: UserID, threepid: Threepid) -> bool:
    """Take the identifier from the account; False if it was not its."""
    return tx.execute(DELETE, the_medium=threepid.medium, the_address=threepid.address, the_user=user_id) == 1


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Take all identifiers from the account."""
    tx.execute(DELETE_OF_USER, the_user=user_id)
