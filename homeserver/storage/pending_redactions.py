"""Redactions of events that have not arrived: they take effect, and are shown, when these do."""

from collections.abc import Collection

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import EventID
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.events import pending_redactions
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_p = pending_redactions.c
INSERT = insert_into(pending_redactions, ignore_conflict=True)
OF = statement(
    select(_p.event_id, _p.redaction_nid)
    .where(_p.room_nid == bindparam("room_nid"), in_list(_p.event_id, "event_ids"))
    .order_by(_p.redaction_nid)
)
DELETE = statement(
    delete(pending_redactions).where(
        _p.room_nid == bindparam("room_nid"), _p.event_id == bindparam("event_id")
    )
)


def add(tx: WriteTransaction, room_nid: int, event_id: EventID, redaction_nid: int) -> None:
    """The redaction waits for the event."""
    tx.execute(INSERT, room_nid=room_nid, event_id=event_id, redaction_nid=redaction_nid)


def of(tx: ReadTransaction, room_nid: int, event_ids: Collection[EventID]) -> dict[EventID, list[int]]:
    """The numbers of the redactions that wait for these events."""
    found: dict[EventID, list[int]] = {}
    for event_id, redaction_nid in tx.all(OF, room_nid=room_nid, event_ids=sorted(event_ids)):
        found.setdefault(event_id, []).append(redaction_nid)
    return found


def remove(tx: WriteTransaction, room_nid: int, event_id: EventID) -> None:
    """Nothing waits for the event any more."""
    tx.execute(DELETE, room_nid=room_nid, event_id=event_id)
