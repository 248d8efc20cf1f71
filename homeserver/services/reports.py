"""What users report to the administrators. Spec: client-server API, "Reporting Content"."""

from typing import Final

import msgspec
import structlog

from homeserver.core.errors import NotFound, TooLarge
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.history_access import Standing, access_to, seen
from homeserver.storage import events, memberships, reports, rooms, users
from homeserver.storage.reports import Report

MAX_REASON_BYTES: Final = 10_000

_log = structlog.get_logger(__name__)


class Reports(msgspec.Struct, frozen=True):
    """Keeps what users report, for the administrators to read."""

    database: Database
    clock: Clock

    async def report_event(
        self, requester: Requester, room_id: RoomID, event_id: EventID, reason: str
    ) -> None:
        """Report an event.

        Errors: NotFound if the room has no such event, or the requester is not joined to it or may not see the
        event; TooLarge.
        """
        await self._keep(self._report(requester, reason, room_id=room_id, event_id=event_id))

    async def report_room(self, requester: Requester, room_id: RoomID, reason: str) -> None:
        """Report a room, in which the requester need not be. Errors: NotFound; TooLarge."""
        await self._keep(self._report(requester, reason, room_id=room_id))

    async def report_user(self, requester: Requester, user_id: UserID, reason: str) -> None:
        """Report a user, with whom the requester need not share a room.

        Errors: NotFound if this server has never heard of the user; TooLarge.
        """
        await self._keep(self._report(requester, reason, user_id=user_id))

    async def newest(self, *, most: int) -> list[Report]:
        """Up to `most` reports, the newest first."""
        return await self.database.read(reports.newest, most=most)

    def _report(
        self,
        requester: Requester,
        reason: str,
        *,
        room_id: RoomID | None = None,
        event_id: EventID | None = None,
        user_id: UserID | None = None,
    ) -> Report:
        if len(reason.encode()) > MAX_REASON_BYTES:
            raise TooLarge(f"a reason has at most {MAX_REASON_BYTES} bytes")
        return Report(
            received_ts=self.clock.now_ts(),
            reporter=requester.user_id,
            room_id=room_id,
            event_id=event_id,
            user_id=user_id,
            reason=reason,
        )

    async def _keep(self, report: Report) -> None:
        await self.database.write(keep, report)
        _log.info(
            "something was reported; `homeserver reports list` shows it",
            room=report.room_id,
            event_id=report.event_id,
            user=report.user_id,
        )


def keep(tx: WriteTransaction, report: Report) -> None:
    """Keep a report of something that is there. Errors: NotFound."""
    if report.room_id is not None and report.event_id is not None:
        report = msgspec.structs.replace(
            report, user_id=_sender_of(tx, report.reporter, report.room_id, report.event_id)
        )
    elif report.room_id is not None:
        if rooms.of(tx, report.room_id) is None:
            raise NotFound("The room was not found.")
    elif report.user_id is not None and not (
        users.exists(tx, report.user_id) or memberships.is_known(tx, report.user_id)
    ):
        raise NotFound("The user was not found.")
    reports.add(tx, report)


def _sender_of(tx: ReadTransaction, reporter: UserID, room_id: RoomID, event_id: EventID) -> UserID:
    """Who has sent an event that the reporter sees as a member of its room. Errors: NotFound."""
    event, access = events.of(tx, event_id), access_to(tx, reporter, room_id)
    if (
        event is None
        or access is None
        or access.standing is not Standing.MEMBER
        or event.room_nid != access.room_nid
        or not seen(tx, access, [event])
    ):
        raise NotFound("The event was not found or you are not joined to the room.")
    return event.sender
