"""Rooms as other servers make them: real events, hashed and signed, and what the reference makes of their states."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from homeserver.core.auth_events import CREATE, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_auth_events, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.event_format import build_event
from homeserver.core.hashes import encode_base64, reference_hash
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject, canonical
from homeserver.core.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion
from homeserver.core.server_keys import WantedKey
from homeserver.core.signing import SigningKey
from homeserver.core.state_resolution import resolve
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks

ALICE = UserID("@alice:a.example")
BOB = UserID("@bob:b.example")
CAROL = UserID("@carol:c.example")
ROOM_ID = RoomID("!room:a.example")
FAMILIES = ["1", "2", "3", "6", "10", "11", "12"]
"""Room versions that differ in how events are made, referred to or resolved."""


def key_of(server_name: str) -> SigningKey:
    """The key of that server, always the same."""
    return SigningKey.generate("k", seed=server_name.encode().ljust(32, b".")[:32])


@attrs.define
class Keys:
    """Knows the keys of all servers but those of `missing`; `asked` are the questions, each with its keys."""

    missing: set[str] = attrs.field(factory=set)
    asked: list[Collection[WantedKey]] = attrs.field(factory=list)

    async def fetch(self, wanted: Collection[WantedKey]) -> Mapping[WantedKey, bytes]:
        self.asked.append(wanted)
        return {
            key: key_of(key.server_name).verify_key
            for key in wanted
            if key.server_name not in self.missing and key.key_id == "ed25519:k"
        }


@attrs.define
class SignedRoom:
    """A room's events by ID, each with the state after it as the reference resolution has it."""

    version: RoomVersion
    room_id: RoomID = ROOM_ID
    events: dict[EventID, Event] = attrs.field(factory=dict)
    states: dict[EventID, dict[StateKey, EventID]] = attrs.field(factory=dict)
    signers: dict[str, SigningKey] = attrs.field(factory=dict)
    """The keys of servers; those of others are made up."""
    ts: int = 1_700_000_000_000

    @classmethod
    def new(cls, version: str = "10", *, creator: UserID = ALICE, **create: Any) -> "SignedRoom":
        """A room in which its creator is joined and which everybody may join."""
        room = cls(ROOM_VERSIONS[version], RoomID(f"!room:{creator.partition(':')[2]}"))
        content = {"room_version": version, **create}
        if not room.version.implicit_room_creator:
            content["creator"] = creator
        first = room.send("m.room.create", creator, content, "", prev=[])
        room.room_id = first.room_id
        joined = room.join(creator, prev=[first])
        levels: dict[str, Any] = {"users": {creator: 100}}
        if room.version.privileged_creators:
            levels = {"users": {}}
        power = room.send("m.room.power_levels", creator, levels, "", prev=[joined])
        room.send("m.room.join_rules", creator, {"join_rule": "public"}, "", prev=[power])
        return room

    @property
    def last(self) -> Event:
        """The event that was made last."""
        return next(reversed(self.events.values()))

    def fetch(self, event_ids: Iterable[EventID]) -> dict[EventID, Event]:
        return {event_id: self.events[event_id] for event_id in event_ids}

    def before(self, prev: Sequence[EventID]) -> dict[StateKey, EventID]:
        """The state before an event with these parents."""
        return resolve(self.version, [self.states[event_id] for event_id in prev], self.fetch)

    def heads(self, among: Iterable[EventID] | None = None) -> set[EventID]:
        """The events without children."""
        known = set(self.events if among is None else among)
        return known - {prev for event_id in known for prev in self.events[event_id].prev_events}

    def join(self, user_id: UserID, *, prev: Sequence[Event] | None = None) -> Event:
        return self.send("m.room.member", user_id, {"membership": "join"}, user_id, prev=prev)

    def say(self, sender: UserID, body: str = "hello", *, prev: Sequence[Event] | None = None) -> Event:
        return self.send("m.room.message", sender, {"msgtype": "m.text", "body": body}, prev=prev)

    def send(
        self,
        type: str,
        sender: UserID,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev: Sequence[Event] | None = None,
        auth: Sequence[EventID] | None = None,
        redacts: EventID | None = None,
        server_name: str | None = None,
        room_id: RoomID | None = None,
        depth: int | None = None,
    ) -> Event:
        """An event that its server made in good faith on `prev` (the last event, if not given)."""
        parents = [self.last] if prev is None else list(prev)
        parent_ids = [event.event_id for event in parents]
        before = self.before(parent_ids)
        keys = select_auth_event_keys(type, sender, state_key, dict(content), self.version)
        auth_ids = [before[key] for key in keys if key in before] if auth is None else list(auth)
        self.ts += 1
        server = server_name or sender.partition(":")[2]
        is_hash = self.version.room_id_is_create_hash and type == "m.room.create"
        issued = None
        if self.version.event_id_format is EventIdFormat.SERVER_ISSUED:
            issued = EventID(f"${self.ts}:{server}")
        hashes = {
            event_id: encode_base64(reference_hash(self.events[event_id].pdu, self.version))
            for event_id in {*parent_ids, *auth_ids}
        }
        event, _ = build_event(
            room_version=self.version,
            room_id=None if is_hash else room_id or self.room_id,
            sender=sender,
            type=type,
            state_key=state_key,
            content=dict(content),
            origin_server_ts=self.ts,
            depth=1 + max((event.depth for event in parents), default=0) if depth is None else depth,
            prev_events=parent_ids,
            auth_events=auth_ids,
            redacts=redacts,
            server_name=server,
            key=self.signers.get(server) or key_of(server),
            event_id=issued,
            reference_hashes=hashes if self.version.event_references_with_hashes else None,
        )
        return self.add(event, before)

    def add(self, event: Event, before: dict[StateKey, EventID]) -> Event:
        """Take an event into the room; the rules say whether it is rejected."""
        if not self._accepts(event, before):
            event = attrs.evolve(event, rejected=True)
        self.events[event.event_id] = event
        self.states[event.event_id] = dict(before)
        if event.is_state and not event.rejected:
            self.states[event.event_id][event.key] = event.event_id
        return event

    def _accepts(self, event: Event, before: Mapping[StateKey, EventID]) -> bool:
        create = self.events[before[CREATE]] if CREATE in before else None
        try:
            check_auth_events(event, [self.events[each] for each in event.auth_events], create)
            check_state(event, {key: self.events[event_id] for key, event_id in before.items()})
        except NotAllowed:
            return False
        return True

    def pdu(self, event: Event) -> JsonObject:
        """The event as it is sent."""
        return dict(event.pdu)

    async def checked(self, *events: Event) -> list[CheckedPdu]:
        """The events as they come out of the checks."""
        found = await PduChecks(Keys()).check([self.pdu(event) for event in events], self.version)
        return [each for each in found if isinstance(each, CheckedPdu)]

    def checked_at_once(self, *events: Event) -> list[CheckedPdu]:
        """As `checked`, for those who know that the events are good."""
        return [
            CheckedPdu(
                attrs.evolve(event, rejected=False),
                canonical_of(event),
                frozenset({ServerName(event.sender.partition(":")[2])}),
            )
            for event in events
        ]


def canonical_of(event: Event) -> bytes:
    """The bytes that are stored of an event."""
    return canonical(event.pdu)
