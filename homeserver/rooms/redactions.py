"""Redactions taking effect: on events that are there, and on those that arrive after them.

A redaction that does not take effect is not shown to clients. Spec: room version 3, "Handling redactions".
"""

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, server_of
from homeserver.core.json import canonical
from homeserver.core.power_levels import PowerLevels
from homeserver.core.redaction import redact
from homeserver.core.room_versions import RoomVersion
from homeserver.core.sticky_events import KEY as STICKY
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import relations
from homeserver.rooms.stated_levels import levels_at
from homeserver.storage import events, notifications, pending_redactions, redactions, sticky_events


def may_redact(redaction: Event, target: Event, levels: PowerLevels) -> bool:
    """Whether a redaction that has been accepted takes effect; `levels` are those before it.

    In room versions 1 and 2 the auth rules have had the only say.
    """
    if redaction.room_version.redaction_auth_rule:
        return True
    if server_of(redaction.sender) == server_of(target.sender):
        return True
    return levels.user_level(redaction.sender) >= levels.redact


def redacted(target: Event) -> bytes:
    """What is left of the event, as it is stored."""
    return canonical(redact(target.pdu, target.room_version))


def apply(tx: WriteTransaction, target: Event, target_nid: int, room_nid: int, redaction_id: EventID) -> None:
    """Keep only what redaction leaves of a stored event, which is given as it was."""
    relations.forget(tx, target, target_nid, room_nid)
    notifications.forget(tx, target_nid)
    redactions.redact(tx, target_nid, pdu=redacted(target), redaction_id=redaction_id)
    if STICKY in target.pdu:
        sticky_events.remove(tx, [target_nid])
    tx.caches.events.drop([target_nid])


def waiting_for(
    tx: ReadTransaction, room_nid: int, target: Event, version: RoomVersion
) -> list[tuple[int, Event]]:
    """The redactions, by number, that take effect now that the event is there; oldest first."""
    nids = pending_redactions.of(tx, room_nid, [target.event_id]).get(target.event_id, [])
    if not nids:
        return []
    rows = events.of_nids(tx, nids)
    found = events.parsed(tx, nids, version)
    return [
        (nid, found[nid])
        for nid in nids
        if nid in rows and may_redact(found[nid], target, levels_at(tx, rows[nid].state_root or 0, version))
    ]
