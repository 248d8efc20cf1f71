"""What users report to the administrators."""

import msgspec
from sqlalchemy import bindparam, select

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.reports import reports
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report: of an event, if there is an `event_id`, else of a room, if there is a `room_id`, else of a user.

    `user_id` is who is reported, or has sent the event.
    """

    received_ts: int
    reporter: UserID
    room_id: RoomID | None
    event_id: EventID | None
    user_id: UserID | None
    reason: str


_r = reports.c
_COLUMNS = [_r[name] for name in Report.__struct_fields__]
INSERT = insert_into(reports)
NEWEST = statement(
    select(*_COLUMNS).order_by(_r.received_ts.desc(), _r.report_nid.desc()).limit(bindparam("most"))
)


def add(tx: WriteTransaction, report: Report) -> None:
    """Keep a report."""
    tx.execute(INSERT, report_nid=tx.new_nid(), **msgspec.structs.asdict(report))


def newest(tx: ReadTransaction, *, most: int) -> list[Report]:
    """Up to `most` reports, the newest first."""
    names = [column.name for column in _COLUMNS]
    return [Report(**dict(zip(names, row, strict=True))) for row in tx.all(NEWEST, most=most)]
