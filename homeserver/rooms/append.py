"""Appending new events of this server's users to a room: build, check, sign, store, publish.

All of it happens inside one write transaction that has locked the room. Several events may be appended in one go (a new
room is made of a handful); what the first of them change is carried in memory, since published
rows cannot be read back in their own transaction.
"""

import hashlib
from collections.abc import Iterable, Mapping

import attrs

from homeserver.core.auth_events import select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.event import Event, StateKey
from homeserver.core.event_format import build_event
from homeserver.core.hashes import encode_base64, encode_base64_url_safe, reference_hash
from homeserver.core.identifiers import EventID, RoomID, UserID, server_of
from homeserver.core.json import JsonValue, canonical, decode_object
from homeserver.core.policy_servers import POLICY
from homeserver.core.power_levels import PowerLevels
from homeserver.core.redaction import redact
from homeserver.core.room_versions import EventIdFormat, RoomVersion, get_room_version
from homeserver.core.threads import Relation, relation_of, thread_of
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import policies
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.notify import Notifications, notifications_of
from homeserver.storage import auth_edges, events, memberships, notifications, room_servers, rooms, state

MAX_PREV_EVENTS = 20
MAX_DEPTH = 2**53 - 1

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


@attrs.define(slots=True)
class _Made:
    """An event that waits to be published with the others of its transaction."""

    event: Event
    event_nid: int
    statement: Statement
    params: dict[str, object]
    also: list[tuple[Statement, dict[str, object]]]
    topics: list[str]


class Appender:
    """Appends events to one locked room; `publish` when all are there.

    Errors of `append`: `Forbidden` with the rule that refuses; `TooLarge`, `BadJson` for what cannot be an event.
    """

    def __init__(self, tx: WriteTransaction, room: rooms.Room, signer: Signer, *, now_ts: int) -> None:
        self._tx = tx
        self._signer = signer
        self._now_ts = now_ts
        self.room = room
        self.version: RoomVersion = get_room_version(room.version)
        self._root = room.state_root
        self._extremities = list(room.extremities)
        self._joined = room.joined_members
        self._invited = room.invited_members
        self._remote = room.remote_members
        self._made: list[_Made] = []
        self._own: dict[int, Event] = {}
        self._places: dict[EventID, auth_edges.Place] = {}

    @classmethod
    def lock(cls, tx: WriteTransaction, room_id: RoomID, signer: Signer, *, now_ts: int) -> "Appender":
        """Lock the room for the transaction. Errors: `NotFound` if this server does not hold it."""
        room = rooms.lock(tx, room_id)
        if room is None or not room.is_held:
            raise NotFound("Unknown room")
        return cls(tx, room, signer, now_ts=now_ts)

    @classmethod
    def found(
        cls,
        tx: WriteTransaction,
        version: str,
        room_id: RoomID | None,
        create: Draft,
        signer: Signer,
        *,
        now_ts: int,
    ) -> "Appender":
        """Make a room by its create event. `room_id` is `None` where the create event's hash becomes the room's id."""
        room = rooms.Room(tx.new_nid(), RoomID(room_id or ""), version, 0, (), 0, 0, 0, 0, 0, is_public=False)
        appender = cls(tx, room, signer, now_ts=now_ts)
        if room_id is None:
            # The same content in the same millisecond would be the same room: the clock is moved on until it is new.
            create = attrs.evolve(create, origin_server_ts=now_ts)
            while rooms.nid_of(tx, appender._build(create, 0, (), {})[0].room_id) is not None:
                create = attrs.evolve(create, origin_server_ts=(create.origin_server_ts or now_ts) + 1)
        event = appender.append(create)
        rooms.add(
            tx,
            room_nid=room.room_nid,
            room_id=event.room_id,
            version=version,
            creator=create.sender,
            created_ts=now_ts,
        )
        appender.room = attrs.evolve(room, room_id=event.room_id)
        return appender

    def state_event(self, key: StateKey) -> Event | None:
        """What the room's state has for `key`, after the events appended so far."""
        return self.state_events((key,)).get(key)

    def state_events(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        """What the room's state has for those of `keys` that it holds."""
        nids = state.get_many(self._tx, self._root, keys)
        own = self._own
        stored = events.parsed(self._tx, [nid for nid in nids.values() if nid not in own], self.version)
        return {key: own[nid] if nid in own else stored[nid] for key, nid in nids.items()}

    def append(self, draft: Draft) -> Event:
        """Make the event, unless it would set what the state has already: then that event is the result."""
        key = None if draft.state_key is None else (draft.type, draft.state_key)
        auth_keys = select_auth_event_keys(
            draft.type, draft.sender, draft.state_key, draft.content, self.version
        )
        wanted = {_CREATE, _POWER_LEVELS, POLICY, *auth_keys}
        if key is not None:
            wanted.add(key)
        found = self.state_events(wanted)
        replaced = None if key is None else found.get(key)
        if replaced is not None and self._is_same(replaced, draft):
            return replaced
        event_nid = self._tx.new_nid()
        event, pdu = self._build(draft, event_nid, auth_keys, found)
        levels = self._levels(found.get(_POWER_LEVELS), found.get(_CREATE, event))
        self._check(event, found, levels)
        if event.redacts is not None:
            self._check_redaction(event.sender, event.redacts, levels)
        policy_server = policies.named_by(self._tx, self.room.room_nid, found.get(POLICY))
        if policy_server is not None:
            event, pdu = policies.with_signature(self._tx, policy_server, event, pdu)
        self._stage(draft, event, event_nid, pdu, replaced, levels)
        return event

    def publish(self) -> None:
        """Queue everything for the stream. Nothing may be appended afterwards."""
        if not self._made:
            return
        last = self._made[-1]
        update = {
            "the_room": self.room.room_nid,
            "state_root": self._root,
            "forward_extremities": rooms.extremities_json(self._extremities),
            "joined_members": self._joined,
            "invited_members": self._invited,
            "remote_members": self._remote,
        }
        state_changed = self._root != self.room.state_root
        last.also.append((rooms.ADVANCE_STATE if state_changed else rooms.ADVANCE, update))
        for made in self._made:
            self._tx.publish(made.statement, kind=Kind.EVENTS, to=made.topics, also=made.also, **made.params)

    def _build(
        self, draft: Draft, event_nid: int, auth_keys: Iterable[StateKey], found: Mapping[StateKey, Event]
    ) -> tuple[Event, bytes]:
        prev_events = [event_id for event_id, _ in self._extremities[-MAX_PREV_EVENTS:]]
        auth_events = [found[key].event_id for key in auth_keys if key in found]
        event_id, hashes = None, None
        if self.version.event_id_format is EventIdFormat.SERVER_ISSUED:
            # A room with a policy server must be able to make the same event again.
            unique = event_nid if POLICY not in found else _digest_of(draft, prev_events)
            event_id = EventID(f"${self._now_ts}-{unique}:{self._signer.server_name}")
        if self.version.event_references_with_hashes:
            hashes = self._reference_hashes({*prev_events, *auth_events})
        extremities = self._extremities[-MAX_PREV_EVENTS:]
        depth = 1 + max((depth for _, depth in extremities), default=0)
        is_first = draft.type == "m.room.create" and not extremities
        return build_event(
            room_version=self.version,
            room_id=None if is_first and self.version.room_id_is_create_hash else self.room.room_id,
            sender=draft.sender,
            type=draft.type,
            state_key=draft.state_key,
            content=draft.content,
            origin_server_ts=self._now_ts if draft.origin_server_ts is None else draft.origin_server_ts,
            depth=min(depth, MAX_DEPTH),
            prev_events=prev_events,
            auth_events=auth_events,
            redacts=draft.redacts,
            server_name=self._signer.server_name,
            key=self._signer.key,
            event_id=event_id,
            reference_hashes=hashes,
        )

    def _is_same(self, replaced: Event, draft: Draft) -> bool:
        """Whether the state has already what the draft would set."""
        if replaced.content != draft.content or replaced.sender != draft.sender:
            return False
        # What is remembered of an event may be what it was before another process redacted it.
        stored = events.of(self._tx, replaced.event_id)
        return stored is None or stored.redacted_by is None

    def _reference_hashes(self, event_ids: set[EventID]) -> dict[EventID, str]:
        """The hashes by which old room versions refer to events."""
        own = {event.event_id: event.pdu for event in self._own.values() if event.event_id in event_ids}
        stored = events.of_ids(self._tx, event_ids - own.keys())
        pdus = own | {event_id: decode_object(event.pdu) for event_id, event in stored.items()}
        return {event_id: encode_base64(reference_hash(pdu, self.version)) for event_id, pdu in pdus.items()}

    def _levels(self, power_levels: Event | None, create: Event) -> PowerLevels:
        """The power levels that these events set; read once per power levels event and process."""
        if power_levels is None:
            return PowerLevels.of(None, create)
        cache = self._tx.caches.power_levels
        levels: PowerLevels | None = cache.get(power_levels.event_id)
        if levels is None:
            levels = PowerLevels.of(power_levels, create)
            cache.put(power_levels.event_id, levels)
        return levels

    def _check(self, event: Event, found: Mapping[StateKey, Event], levels: PowerLevels) -> None:
        try:
            check_state(event, found, levels)
        except NotAllowed as error:
            raise Forbidden(str(error)) from error

    def _check_redaction(self, sender: UserID, target_id: EventID, levels: PowerLevels) -> None:
        """Who redacts redacts an own event, or has the power to redact those of others.

        Room versions from 3 on leave this to the moment at which a redaction is applied, which for our own is now.
        """
        target = events.of(self._tx, target_id)
        if target is None or target.room_nid != self.room.room_nid:
            raise NotFound("The event to redact is not in this room")
        if target.sender == sender:
            return
        if not levels.user_level(sender) >= levels.redact:
            raise Forbidden("You do not have the power to redact events of others")

    def _stage(
        self,
        draft: Draft,
        event: Event,
        event_nid: int,
        pdu: bytes,
        replaced: Event | None,
        levels: PowerLevels,
    ) -> None:
        tx = self._tx
        remote_before = self._remote
        if event.type == "m.room.member" and event.state_key is not None:
            self._count_members(event, replaced)
        notify = notifications_of(tx, event, self.room.room_nid, self._joined, levels, self.state_events)
        made = _Made(
            event,
            event_nid,
            events.INSERT,
            self._row(draft, event, event_nid, pdu, replaced, notify)
            | {"is_outbound": int(self._is_outbound(event, remote_before))},
            notifications.exceptions_rows(self.room.room_nid, notify.exceptions),
            [room_topic(event.room_id)],
        )
        self._own[event_nid] = event
        self._made.append(made)
        if event.state_key is not None:
            self._change_state(event, event_nid, made)
        if event.redacts is not None:
            self._redact(event.redacts, event)
        referenced = {event_id for event_id, _ in self._extremities[-MAX_PREV_EVENTS:]}
        self._extremities = [pair for pair in self._extremities if pair[0] not in referenced]
        self._extremities.append((event.event_id, event.depth))

    def _row(
        self,
        draft: Draft,
        event: Event,
        event_nid: int,
        pdu: bytes,
        replaced: Event | None,
        notify: Notifications,
    ) -> dict[str, object]:
        replaces_nid = None
        if replaced is not None:
            replaces_nid = state.get(self._tx, self._root, replaced.key)
        return {
            "event_nid": event_nid,
            "event_id": event.event_id,
            "room_nid": self.room.room_nid,
            "depth": event.depth,
            "origin_server_ts": event.origin_server_ts,
            "type": event.type,
            "state_key": event.state_key,
            "sender": event.sender,
            "membership": _membership_of(event),
            "state_root": self._root,
            "root_after": None,
            "generation": None,
            "status": events.ACCEPTED,
            "notify": notify.ordinary | (notifications.HAS_EXCEPTIONS if notify.exceptions else 0),
            "thread_id": thread_of(event.content, self._relation_of),
            "redacted_by": None,
            "device_id": draft.device_id,
            "txn_id": draft.txn_id,
            "replaces_nid": replaces_nid,
            "pdu": pdu,
        }

    def _relation_of(self, event_id: EventID) -> Relation | None:
        stored = events.of(self._tx, event_id)
        if stored is None or stored.room_nid != self.room.room_nid:
            return None
        content = decode_object(stored.pdu)["content"]
        return relation_of(content) if isinstance(content, dict) else None

    def _change_state(self, event: Event, event_nid: int, made: _Made) -> None:
        if event.type == "m.room.member":
            self._change_membership(event, event_nid, made)
        self._root = state.put(self._tx, self.room.room_nid, self._root, {event.key: event_nid})
        cited = self._cited(event)
        place = auth_edges.Place(event_nid, auth_edges.generation_above(cited))
        self._places[event.event_id] = place
        auth_edges.add(self._tx, self.room.room_nid, event_nid, cited)
        made.params |= {"root_after": self._root, "generation": place.generation}
        made.also.append((state.INSERT_ROOT, {"room_nid": self.room.room_nid, "state_root": self._root}))

    def _cited(self, event: Event) -> list[auth_edges.Place]:
        """The places of the event's auth events."""
        own = {event_id: self._places[event_id] for event_id in event.auth_events if event_id in self._places}
        stored = auth_edges.places(self._tx, set(event.auth_events) - own.keys())
        return [*own.values(), *stored.values()]

    def _is_outbound(self, event: Event, remote_before: int) -> bool:
        """Whether other servers are to be sent the event: those in the room, and the one whose user it is about."""
        if remote_before or self._remote:
            return True
        if event.type != "m.room.member" or event.state_key is None:
            return False
        return server_of(UserID(event.state_key)) != self._signer.server_name

    def _count_members(self, event: Event, before: Event | None) -> None:
        membership = event.content.get("membership")
        was = None if before is None else before.content.get("membership")
        joined = (membership == "join") - (was == "join")
        self._joined += joined
        self._invited += (membership == "invite") - (was == "invite")
        server_name = server_of(UserID(event.state_key or ""))
        if server_name is not None:
            room_servers.count(self._tx, self.room.room_nid, server_name, joined)
            if server_name != self._signer.server_name:
                self._remote += joined

    def _change_membership(self, event: Event, event_nid: int, made: _Made) -> None:
        user_id = UserID(event.state_key or "")
        membership = str(event.content.get("membership"))
        made.topics.append(user_topic(user_id))
        made.also.append(
            (
                memberships.SET,
                {
                    "room_nid": self.room.room_nid,
                    "user_id": user_id,
                    "membership": membership,
                    "event_nid": event_nid,
                    "event_id": event.event_id,
                    "sender": event.sender,
                    "was_joined": int(membership == "join"),
                    "forgotten": 0,
                    "is_local": int(server_of(user_id) == self._signer.server_name),
                },
            )
        )

    def _redact(self, target_id: EventID, redaction: Event) -> None:
        """Keep only the redacted form of the target."""
        target = events.of(self._tx, target_id)
        if target is None or target.redacted_by is not None:
            return
        event = events.parsed(self._tx, [target.event_nid], self.version)[target.event_nid]
        pdu = canonical(redact(event.pdu, self.version))
        events.redact(self._tx, target.event_nid, pdu=pdu, redaction_id=redaction.event_id)
        self._tx.caches.events.drop([target.event_nid])


def _digest_of(draft: Draft, prev_events: list[EventID]) -> str:
    """What no other event of the room shares that was made in the same millisecond."""
    parts: list[JsonValue] = [draft.sender, draft.type, draft.state_key, draft.content, list(prev_events)]
    return encode_base64_url_safe(hashlib.sha256(canonical(parts)).digest())


def _membership_of(event: Event) -> str | None:
    if event.type != "m.room.member" or event.state_key is None:
        return None
    return str(event.content.get("membership"))
