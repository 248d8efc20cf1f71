"""How events have notified a user: with which tweaks, of which the database has the highlight only.

Spec: client-server API, "Push Rules", "Actions".
"""

from collections.abc import Sequence

from homeserver.core.auth_events import CREATE, POWER_LEVELS, member_of
from homeserver.core.event import Event
from homeserver.core.identifiers import UserID
from homeserver.core.json import decode_object
from homeserver.core.power_levels import PowerLevels
from homeserver.core.push_rules import EventFacts, Outcome, Ruleset, UserFacts, evaluate
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, state
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import RoomOfUser

_PLAIN = Outcome.of(("notify",))
_HIGHLIGHT = Outcome.of(("notify", {"set_tweak": "highlight"}))


def outcomes(
    tx: ReadTransaction,
    ruleset: Ruleset,
    user_id: UserID,
    room: RoomOfUser,
    notified: Sequence[tuple[StoredEvent, int]],
) -> list[Outcome]:
    """What events of a room meant to the user, each given with the bits that are stored of that.

    The rules are evaluated again, on the state before each event, but as they are now, and for the room's members of
    now. Where they say something else than when the event came, there are no tweaks but the one that is known.
    """
    version, member = get_room_version(room.version), member_of(user_id)
    roots = {event.state_root for event, _ in notified if event.state_root is not None}
    states = state.get_across(tx, roots, (CREATE, POWER_LEVELS, member))
    parsed = events.parsed(tx, {nid for found in states.values() for nid in found.values()}, version)
    again: list[Outcome] = []
    for stored, bits in notified:
        event = Event.from_pdu(decode_object(stored.pdu), version, event_id=stored.event_id)
        before = {key: parsed[nid] for key, nid in states.get(stored.state_root or 0, {}).items()}
        # Of a room that is elsewhere there is no create event; the inviter stands in for the creator.
        levels = PowerLevels.of(before.get(POWER_LEVELS), before.get(CREATE, event))
        facts = EventFacts.of(event, joined_members=room.joined_members, power_levels=levels)
        name = before[member].content.get("displayname") if member in before else None
        outcome = evaluate(ruleset, facts, UserFacts(user_id, name if isinstance(name, str) else None))
        known = _HIGHLIGHT if bits & _HIGHLIGHT.bits == _HIGHLIGHT.bits else _PLAIN
        again.append(outcome if outcome.bits == known.bits else known)
    return again
