"""Events that have been redacted."""

from collections.abc import Collection

from sqlalchemy import bindparam, select, update

from homeserver.core.identifiers import EventID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events
from homeserver.database.transactions import ReadTransaction, WriteTransaction

NOTICE = 7
"""In `events.notify`: the bits that say whom the event notifies, see `notifications`; a redacted one has none."""

_e = events.c
REDACTED_BY = statement(select(_e.redacted_by).where(_e.event_nid == bindparam("event_nid")))
_redaction = events.alias()
REDACTED_AFTER = statement(
    select(_e.event_nid)
    .join(_redaction, _redaction.c.event_id == _e.redacted_by)
    .where(in_list(_e.event_nid, "event_nids"), _redaction.c.position > bindparam("after"))
)
REDACT = statement(
    update(events)
    .where(_e.event_nid == bindparam("the_event"))
    .values(
        pdu=bindparam("redacted_pdu"),
        redacted_by=bindparam("redaction_id"),
        notify=_e.notify.op("&")(~NOTICE),
    )
)


def is_redacted(tx: ReadTransaction, event_nid: int) -> bool:
    """Whether the event has been redacted."""
    return tx.value(REDACTED_BY, event_nid=event_nid) is not None


def redacted_after(tx: ReadTransaction, event_nids: Collection[int], after: int) -> set[int]:
    """Those of the events whose redaction is at a later position."""
    if not event_nids:
        return set()
    return {row[0] for row in tx.all(REDACTED_AFTER, event_nids=sorted(event_nids), after=after)}


def redact(tx: WriteTransaction, event_nid: int, *, pdu: bytes, redaction_id: EventID) -> None:
    """Keep only the redacted form of the event, of which there is no notice to give; see `notifications.forget`."""
    tx.execute(REDACT, the_event=event_nid, redacted_pdu=pdu, redaction_id=redaction_id)
