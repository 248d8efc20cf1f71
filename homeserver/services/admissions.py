"""Membership events that somebody waits for: they become part of their room now, or the caller hears why not."""

from homeserver.core.errors import Forbidden, Unknown
from homeserver.core.identifiers import ServerName
from homeserver.rooms.missing import Incomplete
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.receive import Receiver


async def admit(receiver: Receiver, pdu: CheckedPdu, *, origin: ServerName, is_outbound: bool) -> None:
    """Make the event part of its room, which this server is in; with `is_outbound` it is sent on to the others.

    Errors: NotFound if this server is not there any more; Forbidden if the room does not admit the event; Unknown
    (503) if what is needed to tell cannot be had.
    """
    try:
        verdict = await receiver.receive(pdu.event.room_id, pdu, origin=origin, is_outbound=is_outbound)
    except Incomplete as error:
        raise Unknown(f"The event cannot be judged at the moment: {error}", status=503) from error
    if not verdict.is_accepted:
        raise Forbidden(verdict.reason or "The room does not admit this")
