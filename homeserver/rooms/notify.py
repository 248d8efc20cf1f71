"""Whom a new event notifies: push rules are evaluated once, when the event is stored."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import UserID
from homeserver.core.power_levels import PowerLevels
from homeserver.core.push_rules import Customisation, EventFacts, Ruleset, evaluate_room
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import memberships, push_rules

StateEvents = Callable[[Iterable[StateKey]], Mapping[StateKey, Event]]


class Notifications(msgspec.Struct, frozen=True):
    """Outcomes as bits (1 notifies, 2 highlights): `ordinary` for every member that is not among `exceptions`.

    The sender is no exception: nobody is notified of an own event.
    """

    ordinary: int
    exceptions: Mapping[UserID, int]


def notifications_of(
    tx: ReadTransaction,
    event: Event,
    room_nid: int,
    joined_members: int,
    power_levels: PowerLevels,
    state_events: StateEvents,
) -> Notifications:
    """Evaluate the push rules of the room's local members.

    `joined_members` counts the room's members after the event, `power_levels` are those before it.
    """

    def display_name(user_id: UserID) -> str | None:
        key = ("m.room.member", user_id)
        member = state_events((key,)).get(key)
        name = None if member is None else member.content.get("displayname")
        return name if isinstance(name, str) else None

    facts = EventFacts.of(event, joined_members=joined_members, power_levels=power_levels)
    customised = {
        user_id: _ruleset(tx, rules) for user_id, rules in push_rules.of_members(tx, room_nid).items()
    }
    singled_out = facts.singled_out()
    members = set(memberships.local_among(tx, room_nid, singled_out)) if singled_out else set()
    if event.type == "m.room.member" and event.content.get("membership") == "invite":
        invited = UserID(event.state_key or "")
        members.add(invited)
        if (rules := push_rules.of(tx, invited)) is not None:
            customised[invited] = _ruleset(tx, rules)
    outcome = evaluate_room(facts, members=members, customised=customised, display_name=display_name)
    base = outcome.base.bits
    return Notifications(
        base,
        {
            user_id: individual.bits
            for user_id, individual in outcome.individual.items()
            if individual.bits != base and user_id != event.sender
        },
    )


def _ruleset(tx: ReadTransaction, rules: bytes) -> Ruleset:
    """The compiled rules; equal ones are compiled once."""
    ruleset: Ruleset | None = tx.caches.rulesets.get(rules)
    if ruleset is None:
        ruleset = Ruleset.of(Customisation.from_bytes(rules))
        tx.caches.rulesets.put(rules, ruleset)
    return ruleset
