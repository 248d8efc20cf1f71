"""Which versions of which policies users have accepted, and when."""

from collections.abc import Mapping

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.threepids import accepted_policies
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_a = accepted_policies.c
INSERT = insert_into(accepted_policies, ignore_conflict=True)
OF_USER = statement(
    select(_a.policy, _a.version, _a.accepted_ts)
    .where(_a.user_id == bindparam("user_id"))
    .order_by(_a.policy, _a.version)
)
DELETE_OF_USER = statement(delete(accepted_policies).where(_a.user_id == bindparam("the_user")))


def add(tx: WriteTransaction, user_id: UserID, versions: Mapping[str, str], *, now_ts: int) -> None:
    """The user has accepted these policies, each in its version."""
    for policy, version in versions.items():
        tx.execute(INSERT, user_id=user_id, policy=policy, version=version, accepted_ts=now_ts)


def of_user(tx: ReadTransaction, user_id: UserID) -> list[tuple[str, str, int]]:
    """The policies, versions and moments of acceptance."""
    return [(row[0], row[1], row[2]) for row in tx.all(OF_USER, user_id=user_id)]


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Forget what the user has accepted."""
    tx.execute(DELETE_OF_USER, the_user=user_id)
