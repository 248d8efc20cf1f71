"""Stored events as clients see them: with age, previous content, redaction and the reader's membership.

Transaction functions, used by everything that shows events to clients.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from homeserver.core.client_event import ClientEventBytes, Members, delay_id_member, federation_event
from homeserver.core.filters import EventFormat, Projection
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import decode_object, encode
from homeserver.core.room_versions import RoomVersion
from homeserver.core.sticky_events import KEY_BYTES, ttl_member
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, sticky_events
from homeserver.storage.events import StoredEvent


class View(msgspec.Struct, frozen=True):
    """Who looks at the events of which room, and in what form."""

    room_id: RoomID
    version: RoomVersion
    user_id: UserID
    device_id: str | None
    now_ts: int
    with_room_id: bool
    event_format: EventFormat = EventFormat.CLIENT
    projection: Projection | None = None


class _PduContent(msgspec.Struct, gc=False):
    content: msgspec.Raw


_content = msgspec.json.Decoder(_PduContent)


_NOTHING: Final[Mapping[int, Members]] = MappingProxyType({})


def render(
    tx: ReadTransaction,
    view: View,
    shown: Sequence[tuple[StoredEvent, str | None]],
    extras: Mapping[int, Members] = _NOTHING,
) -> list[bytes]:
    """The events as JSON, each given with the reader's membership at it (`None`: not told, as for state).

    `extras` has further members of `unsigned`, by the event's number.
    """
    extras = with_expiries(tx, view, (event for event, _ in shown), extras)
    replaced = _replaced(tx, (event for event, _ in shown))
    redactions = _redactions(tx, view, (event for event, _ in shown))
    return [
        _render(
            view,
            event,
            membership,
            replaced.get(event.replaces_nid or 0),
            redactions,
            extras.get(event.event_nid, b"") if extras else b"",
        )
        for event, membership in shown
    ]


def with_expiries(
    tx: ReadTransaction, view: View, shown: Iterable[StoredEvent], extras: Mapping[int, Members]
) -> Mapping[int, Members]:
    """The further members, with for how long those of the events will stick that do."""
    nids = [event.event_nid for event in shown if KEY_BYTES in event.pdu]
    if not nids:
        return extras
    found = dict(extras)
    for nid, expires_ts in sticky_events.expiries(tx, nids).items():
        if ttl := ttl_member(expires_ts, now_ts=view.now_ts):
            found[nid] = b"%b,%b" % (found[nid], ttl) if found.get(nid) else ttl
    return found


def render_one(tx: ReadTransaction, view: View, event: StoredEvent, membership: str | None) -> bytes:
    """As `render`, for one event."""
    return render(tx, view, [(event, membership)])[0]


def content_of(event: StoredEvent) -> bytes:
    """The event's content as JSON."""
    return bytes(_content.decode(event.pdu).content)


def _render(
    view: View,
    event: StoredEvent,
    membership: str | None,
    replaced: StoredEvent | None,
    redactions: dict[EventID, bytes],
    extra: Members,
) -> bytes:
    redacted_because = None if event.redacted_by is None else redactions.get(event.redacted_by)
    own_id = event.txn_id if event.sender == view.user_id else None
    if own_id is not None and event.device_id is None:
        delay_id = delay_id_member(own_id)
        extra = b"%b,%b" % (extra, delay_id) if extra else delay_id
    if view.event_format is EventFormat.FEDERATION:
        unsigned = b'"age":%d' % (view.now_ts - event.origin_server_ts)
        if redacted_because is not None:
            unsigned += b',"redacted_because":' + redacted_because
        if extra:
            unsigned += b"," + extra
        rendered = federation_event(event.pdu, unsigned)
    else:
        is_of_device = event.device_id is not None and event.device_id == view.device_id
        rendered = _cut(view, event).render(
            now_ts=view.now_ts,
            with_room_id=view.with_room_id,
            transaction_id=own_id if is_of_device else None,
            membership=membership,
            prev_content=None if replaced is None else content_of(replaced),
            replaces_state=None if replaced is None else replaced.event_id,
            redacted_because=redacted_because,
            extra=extra,
        )
    if view.projection is not None:
        rendered = encode(view.projection.apply(decode_object(rendered)))
    return rendered


def _cut(view: View, event: StoredEvent) -> ClientEventBytes:
    return ClientEventBytes.of(
        event.pdu,
        event_id=event.event_id,
        room_id=view.room_id,
        redacts_in_content=view.version.redacts_in_content,
    )


def _replaced(tx: ReadTransaction, shown: Iterable[StoredEvent]) -> dict[int, StoredEvent]:
    """The state events that those of `shown` replaced, by number."""
    nids = {event.replaces_nid for event in shown if event.replaces_nid is not None}
    return events.of_nids(tx, nids) if nids else {}


def _redactions(tx: ReadTransaction, view: View, shown: Iterable[StoredEvent]) -> dict[EventID, bytes]:
    """The redactions of those of `shown` that are redacted, as clients see them."""
    ids = {event.redacted_by for event in shown if event.redacted_by is not None}
    if not ids:
        return {}
    return {
        event_id: _cut(view, event).render(now_ts=view.now_ts, with_room_id=view.with_room_id)
        for event_id, event in events.of_ids(tx, ids).items()
    }
