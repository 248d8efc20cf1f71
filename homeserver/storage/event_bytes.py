"""Events as other servers are given them: stored JSON, which is not looked into."""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, select

from homeserver.core.identifiers import EventID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events
from homeserver.database.transactions import ReadTransaction


class EventBytes(msgspec.Struct, frozen=True):
    """An event; `pdu` is its canonical JSON."""

    event_nid: int
    event_id: EventID
    type: str
    pdu: bytes


_e = events.c
_COLUMNS = (_e.event_nid, _e.event_id, _e.type, _e.pdu)
BY_NIDS = statement(select(*_COLUMNS).where(in_list(_e.event_nid, "event_nids")))
BY_IDS = statement(
    select(*_COLUMNS).where(
        _e.room_nid == bindparam("room_nid"), in_list(_e.event_id, "event_ids"), _e.status != 1
    )
)


def of_nids(tx: ReadTransaction, event_nids: Collection[int]) -> list[EventBytes]:
    """The events with these numbers, in no particular order."""
    return [EventBytes(*row) for row in tx.all(BY_NIDS, event_nids=sorted(event_nids))]


def of_ids(tx: ReadTransaction, room_nid: int, event_ids: Collection[str]) -> list[EventBytes]:
    """Those of the events that are known in the room, and not rejected."""
    return [EventBytes(*row) for row in tx.all(BY_IDS, room_nid=room_nid, event_ids=sorted(event_ids))]
