"""Which identifiers were published on which identity servers for this server's users."""

import msgspec
from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.core.threepids import Threepid
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.threepids import threepid_bindings
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Binding(msgspec.Struct, frozen=True):
    """An identifier that an identity server tells others to be the user's."""

    threepid: Threepid
    id_server: str


_b = threepid_bindings.c
OF_USER = statement(
    select(_b.medium, _b.address, _b.id_server)
    .where(_b.user_id == bindparam("user_id"))
    .order_by(_b.medium, _b.address, _b.id_server)
)
INSERT = insert_into(threepid_bindings, ignore_conflict=True)
DELETE = statement(
    delete(threepid_bindings).where(
        _b.user_id == bindparam("the_user"),
        _b.medium == bindparam("the_medium"),
        _b.address == bindparam("the_address"),
        _b.id_server == bindparam("the_server"),
    )
)
DELETE_OF_USER = statement(delete(threepid_bindings).where(_b.user_id == bindparam("the_user")))


def of_user(tx: ReadTransaction, user_id: UserID) -> list[Binding]:
    """All that is known to be published of a user."""
    return [
        Binding(Threepid(medium, address), id_server)
        for medium, address, id_server in tx.all(OF_USER, user_id=user_id)
    ]


def add(tx: WriteTransaction, user_id: UserID, binding: Binding) -> None:
    """Remember that an identifier was published."""
    tx.execute(
        INSERT,
        user_id=user_id,
        medium=binding.threepid.medium,
        address=binding.threepid.address,
        id_server=binding.id_server,
    )


def remove(tx: WriteTransaction, user_id: UserID, binding: Binding) -> None:
    """It is published no longer."""
    tx.execute(
        DELETE,
        the_user=user_id,
        the_medium=binding.threepid.medium,
        the_address=binding.threepid.address,
        the_server=binding.id_server,
    )


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Forget what is published of a user."""
    tx.execute(DELETE_OF_USER, the_user=user_id)
