"""Which messages to devices other servers have sent, so that one that comes again is not taken twice."""

from sqlalchemy import bindparam, delete

from homeserver.core.identifiers import ServerName
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.to_device import received_to_device
from homeserver.database.transactions import WriteTransaction

_r = received_to_device.c
INSERT = insert_into(received_to_device, ignore_conflict=True)
PRUNE = statement(delete(received_to_device).where(_r.received_ts < bindparam("before_ts")))


def note(tx: WriteTransaction, origin: ServerName, message_id: str, *, now_ts: int) -> bool:
    """The server has sent this; False if it has done so before."""
    return tx.execute(INSERT, origin=origin, message_id=message_id, received_ts=now_ts) == 1


def prune(tx: WriteTransaction, *, before_ts: int) -> None:
    """Forget what came before this moment (milliseconds)."""
    tx.execute(PRUNE, before_ts=before_ts)
