"""Sticky events that a client is told beside the timelines of its rooms. Spec: MSC4354, "Sync API changes".

No filter has a say in them, and no history visibility.
"""

from collections.abc import Collection, Iterable

from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import View, render
from homeserver.services.ignored_users import heard
from homeserver.services.sync.timeline import Timeline
from homeserver.storage import events
from homeserver.storage.sticky_events import StickyEvent


def sticky_json(
    tx: ReadTransaction,
    view: View,
    sticky: Iterable[StickyEvent],
    timeline: Timeline,
    *,
    ignored: Collection[str],
) -> list[bytes]:
    """Those of a room's events that the timeline, which is told as well, does not have; nothing of the `ignored`."""
    in_timeline = {event.event_nid for event, _ in timeline.events}
    nids = [each.event_nid for each in sticky if each.event_nid not in in_timeline]
    if not nids:
        return []
    stored = events.of_nids(tx, nids)
    listed = [stored[nid] for nid in nids if nid in stored]
    return render(tx, view, [(event, None) for event in (heard(listed, ignored) if ignored else listed)])
