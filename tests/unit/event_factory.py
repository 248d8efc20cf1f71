"""Events and rooms for tests of the core: made by hand, without hashes and signatures."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_auth_events, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.core.state_resolution import resolve

ALICE = "@alice:a.example"
BOB = "@bob:b.example"
CAROL = "@carol:c.example"
DAVE = "@dave:d.example"

VERSIONS = list(ROOM_VERSIONS)
"""The identifiers of all room versions, oldest first."""

_numbers = itertools.count(1)


def versions_with(field: str) -> list[str]:
    """The versions for which that field of `RoomVersion` is true."""
    return [identifier for identifier, version in ROOM_VERSIONS.items() if getattr(version, field)]


def versions_without(field: str) -> list[str]:
    return [identifier for identifier in VERSIONS if identifier not in versions_with(field)]


def make_event(
    version: RoomVersion | str,
    type: str,
    sender: str,
    content: Mapping[str, Any] | None = None,
    state_key: str | None = None,
    *,
    room_id: str | None = None,
    event_id: str | None = None,
    prev: Sequence[str] = ("$previous:a.example",),
    auth: Iterable[Event] = (),
    ts: int = 0,
    depth: int = 1,
    redacts: str | None = None,
    rejected: bool = False,
) -> Event:
    """An event with these parts; its ID is made up unless given."""
    if isinstance(version, str):
        version = ROOM_VERSIONS[version]
    if event_id is None:
        event_id = f"$event{next(_numbers):06}"
        if version.event_references_with_hashes:
            event_id += ":" + sender.partition(":")[2]
    auth_ids = [event.event_id for event in auth]
    pdu: dict[str, Any] = {
        "type": type,
        "sender": sender,
        "content": dict(content or {}),
        "origin_server_ts": ts,
        "depth": depth,
        "prev_events": list(prev),
        "auth_events": auth_ids,
    }
    if version.event_references_with_hashes:
        pdu["event_id"] = event_id
        pdu["prev_events"] = [[event, {}] for event in prev]
        pdu["auth_events"] = [[event, {}] for event in auth_ids]
    if state_key is not None:
        pdu["state_key"] = state_key
    if redacts is not None:
        (pdu["content"] if version.redacts_in_content else pdu)["redacts"] = redacts
    if room_id is None and not (version.room_id_is_create_hash and type == "m.room.create"):
        room_id = "!room" if version.room_id_is_create_hash else "!room:a.example"
    if room_id is not None:
        pdu["room_id"] = room_id
    return Event.from_pdu(pdu, version, event_id=EventID(event_id), rejected=rejected)


def create_event(
    version: RoomVersion | str,
    creator: str = ALICE,
    *,
    content: Mapping[str, Any] | None = None,
    **more_content: Any,
) -> Event:
    """The create event of the room that `make_event` puts events into."""
    if isinstance(version, str):
        version = ROOM_VERSIONS[version]
    fields = {"room_version": version.identifier, **(content or {}), **more_content}
    if not version.implicit_room_creator:
        fields.setdefault("creator", creator)
    return make_event(version, "m.room.create", creator, fields, "", event_id="$room", prev=(), depth=0)


def state_of(*events: Event) -> dict[StateKey, Event]:
    return {event.key: event for event in events}


def member(version: str, user: str, membership: str, **content: Any) -> Event:
    """The user's own membership event, as it stands in a state."""
    return make_event(version, "m.room.member", user, {"membership": membership, **content}, user)


def allows(event: Event, *state: Event, why: str | None = None) -> bool:
    """Whether the rules allow the event in that state; if not, and `why` is given, the rule must say so."""
    try:
        check_state(event, state_of(*state))
    except NotAllowed as refusal:
        rule = refusal.rule
    else:
        return True
    assert why is None or why in rule, rule
    return False


@attrs.define
class Dag:
    """A room as one server sees it: every event with the state after it."""

    version: RoomVersion
    events: dict[EventID, Event] = attrs.field(factory=dict)
    states: dict[EventID, dict[StateKey, EventID]] = attrs.field(factory=dict)

    def fetch(self, event_ids: Iterable[EventID]) -> dict[EventID, Event]:
        return {event_id: self.events[event_id] for event_id in event_ids}

    def state_before(self, prev: Sequence[EventID]) -> dict[StateKey, EventID]:
        return resolve(self.version, [self.states[event_id] for event_id in prev], self.fetch)

    def send(
        self,
        type: str,
        sender: str,
        content: Mapping[str, Any] | None = None,
        state_key: str | None = None,
        *,
        prev: Sequence[Event],
        ts: int | None = None,
        depth: int | None = None,
        event_id: str | None = None,
        rejected: bool | None = None,
    ) -> Event:
        """An event that its server built in good faith on `prev`; it is rejected if the rules say so."""
        before = self.state_before([event.event_id for event in prev])
        room_version = self.version
        keys = select_auth_event_keys(type, sender, state_key, dict(content or {}), room_version)
        event = make_event(
            room_version,
            type,
            sender,
            content,
            state_key,
            event_id=event_id,
            prev=[event.event_id for event in prev],
            auth=[self.events[before[key]] for key in keys if key in before],
            ts=len(self.events) if ts is None else ts,
            depth=1 + max(event.depth for event in prev) if depth is None else depth,
        )
        refused = not self.accepts(event, before) if rejected is None else rejected
        return self.deliver(attrs.evolve(event, rejected=refused))

    def accepts(self, event: Event, before: Mapping[StateKey, EventID]) -> bool:
        create = self.events[before[CREATE]]
        auth_events = [self.events[event_id] for event_id in event.auth_events]
        try:
            check_auth_events(event, auth_events, create)
            check_state(event, {key: self.events[event_id] for key, event_id in before.items()})
        except NotAllowed:
            return False
        return True

    def deliver(self, event: Event) -> Event:
        """Take an event whose parents are known."""
        self.events[event.event_id] = event
        if event.type == "m.room.create":
            self.states[event.event_id] = {event.key: event.event_id}
            return event
        state = self.state_before(event.prev_events)
        if event.is_state and not event.rejected:
            state[event.key] = event.event_id
        self.states[event.event_id] = state
        return event

    def join(self, user: str, *, prev: Sequence[Event]) -> Event:
        return self.send("m.room.member", user, {"membership": "join"}, user, prev=prev)

    def after(self, *heads: Event) -> dict[StateKey, Event]:
        """The state that an event on these heads would see."""
        before = self.state_before([event.event_id for event in heads])
        return {key: self.events[event_id] for key, event_id in before.items()}


def new_room(
    version: RoomVersion | str,
    *,
    users: Mapping[str, int] | None = None,
    join_rule: str = "public",
    members: Sequence[str] = (),
    **power_levels: Any,
) -> tuple[Dag, Event]:
    """A room of Alice's with power levels, a join rule and members; gives its last event, too."""
    if isinstance(version, str):
        version = ROOM_VERSIONS[version]
    dag = Dag(version)
    head = dag.deliver(create_event(version))
    head = dag.join(ALICE, prev=[head])
    levels = dict(users or {})
    if not version.privileged_creators:
        levels.setdefault(ALICE, 100)
    head = dag.send(POWER_LEVELS[0], ALICE, {"users": levels, **power_levels}, "", prev=[head])
    head = dag.send("m.room.join_rules", ALICE, {"join_rule": join_rule}, "", prev=[head])
    for user in members:
        head = dag.join(user, prev=[head])
    assert not any(event.rejected for event in dag.events.values())
    return dag, head


def content_of(event: Event) -> dict[str, Any]:
    return cast("dict[str, Any]", event.content)
