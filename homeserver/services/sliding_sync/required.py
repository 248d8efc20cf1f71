"""The state of a room that a client is sent. Spec: MSC4186, "RequiredStateRequest"."""

import functools
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from homeserver.core.auth_events import CREATE
from homeserver.core.event import StateKey
from homeserver.core.json import encode
from homeserver.core.sliding_sync.required_state import MEMBER, StateMatcher
from homeserver.core.sliding_sync.told import Rules
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import render
from homeserver.services.sliding_sync.context import Context, Wanted
from homeserver.services.sync.partial_rooms import cited_members, without_filled_in
from homeserver.services.sync.room_state import Roots, members_in
from homeserver.services.sync.timeline import Timeline
from homeserver.storage import redactions, state
from homeserver.storage.events import StoredEvent

REDACTION: Final = "m.room.redaction"

SUMMARISED: frozenset[StateKey] = frozenset({("m.room.name", ""), ("m.room.avatar", "")})
"""What clients are told of apart from the state that they ask for."""

Changes = Mapping[StateKey, tuple[int | None, int | None]]
"""What differs between two states, as `storage.state.difference` gives it; or twice the same event, redacted."""


class States(msgspec.Struct, frozen=True):
    """The state of a room that the client knows of, and that which it is to be told of; `old` is 0 for nothing.

    `changes` are what differs between the two; empty if the client has nothing, since all of it is new then.
    """

    old: int
    new: int
    changes: Changes

    @classmethod
    def of(cls, tx: ReadTransaction, old: int, new: int) -> "States":
        """The two states with these roots."""
        return cls(old, new, state.difference(tx, old, new) if old not in (0, new) else {})

    def has_changed(self, key: StateKey) -> bool:
        """Whether the client does not know what stands under the key now."""
        return self.old == 0 or key in self.changes

    @property
    def members_changed(self) -> bool:
        """Whether anybody's membership is new to the client."""
        return self.old == 0 or any(key[0] == MEMBER for key in self.changes)


@functools.lru_cache(maxsize=512)
def _matcher(rules: Rules) -> StateMatcher:
    return StateMatcher.of(rules)


def look_ahead(ctx: Context, wanted: Collection[Wanted]) -> None:
    """Read what most rooms that are new to the client need, with a few statements for all of them."""
    new = [each for each in wanted if each.record is None and each.room.membership == "join"]
    # This brings the nodes of the states into the cache, level by level.
    state.get_across(ctx.tx, {each.room.state_root for each in new}, (CREATE,))
    nids: set[int] = set()
    for each in new:
        keys = _matcher(each.config.required_state).keys | SUMMARISED
        nids.update(ctx.lookups.state(each.room.state_root, keys).values())
    ctx.lookups.events(nids)


def required_state(ctx: Context, wanted: Wanted, states: States, timeline: Timeline) -> list[bytes]:
    """The events, and stubs in place of those that are gone."""
    matcher = _matcher(wanted.config.required_state)
    if states.old == 0:
        section = _matching(ctx, states.new, matcher)
    else:
        section = {
            key: nid
            for key, (_, nid) in states.changes.items()
            if nid is not None and _is_wanted_change(matcher, key, timeline)
        }
        section |= _expansion(ctx, wanted, states.new, matcher)
    if states.old == 0 or timeline.limited:
        # "clients must flush any "membership" cache when `limited` is true", whatever they have asked for.
        ctx.flushed.add(wanted.room.room_id)
    if matcher.lazy_members:
        section = _with_members(ctx, wanted, states, timeline, section, matcher)
    stored = ctx.lookups.events(section.values())
    listed = [(stored[nid], None) for _, nid in sorted(section.items())]
    shown = render(ctx.tx, ctx.view(wanted.room), listed)
    if ctx.is_stable and states.old != 0:
        gone = sorted(key for key, (_, nid) in states.changes.items() if nid is None and matcher.matches(key))
        shown += (encode({"type": kind, "state_key": state_key}) for kind, state_key in gone)
    return shown


def with_redacted(ctx: Context, wanted: Wanted, states: States, timeline: Timeline, *, told: int) -> States:
    """The same states, but events that were redacted after the position `told` count as changed.

    The root of a state says nothing of that. Redacted events are looked for among those that the client is sent, and
    only if the timeline shows a redaction, or may leave one out.
    """
    shows_all = not timeline.limited and not ctx.ignored
    if shows_all and not any(event.type == REDACTION for event, _ in timeline.events):
        return states
    held = _matching(ctx, states.new, _matcher(wanted.config.required_state))
    held |= ctx.lookups.state(states.new, SUMMARISED)
    found = redactions.redacted_after(ctx.tx, held.values(), told)
    redacted = {key: (nid, nid) for key, nid in held.items() if nid in found}
    return States(states.old, states.new, redacted | dict(states.changes)) if redacted else states


def _is_wanted_change(matcher: StateMatcher, key: StateKey, timeline: Timeline) -> bool:
    """Members that are sent as needed are kept up to date; but after a gap the client begins anew with them."""
    if matcher.lazy_members and key[0] == MEMBER and not timeline.limited:
        return True
    return matcher.matches(key)


def _matching(ctx: Context, root: int, matcher: StateMatcher) -> dict[StateKey, int]:
    found = None if matcher.types is None else ctx.lookups.state_of_types(root, matcher.types)
    if found is None:
        found = state.whole(ctx.tx, root)
    else:
        found |= ctx.lookups.state(root, matcher.keys)
    return {key: nid for key, nid in found.items() if matcher.matches(key)}


def _expansion(ctx: Context, wanted: Wanted, root: int, matcher: StateMatcher) -> dict[StateKey, int]:
    """What the client wants now and did not want before. Spec: MSC4186, "Changes to required_state"."""
    if wanted.record is None:
        return {}
    before = ctx.told.configs[wanted.record.config]
    if before == wanted.config.required_state:
        return {}
    old = _matcher(before)
    return {key: nid for key, nid in _matching(ctx, root, matcher).items() if not old.matches(key)}


def _with_members(
    ctx: Context,
    wanted: Wanted,
    states: States,
    timeline: Timeline,
    section: dict[StateKey, int],
    matcher: StateMatcher,
) -> dict[StateKey, int]:
    """The section with the members whom the client needs to show the timeline, and has not been sent before."""
    room = wanted.room
    shown = [event for event, _ in timeline.events]
    needed = {event.sender for event in shown} | _targets(shown)
    roots = Roots(states.old, states.new, states.new)
    told = ctx.told_upto(wanted.record)
    kept = {key[1] for key in section if key[0] == MEMBER and matcher.matches(key)}
    section = without_filled_in(ctx.tx, room, section, roots, since=told, needed=needed | kept)
    known: Collection[str] = ()
    if room.room_id not in ctx.flushed:
        known = ctx.asking.sent_members.get(room.room_id, ())
    missing = [user_id for user_id in needed if user_id not in known and (MEMBER, user_id) not in section]
    if missing:
        section |= {
            (MEMBER, user_id): nid for user_id, nid in state.members(ctx.tx, states.new, missing).items()
        }
        absent = {event.sender for event in shown if (MEMBER, event.sender) not in section} & set(missing)
        if absent:
            section |= cited_members(ctx.tx, room, shown, absent)
    ctx.new_members[room.room_id] = members_in(section)
    return section


def _targets(shown: Collection[StoredEvent]) -> set[str]:
    return {event.state_key for event in shown if event.type == MEMBER and event.state_key is not None}
