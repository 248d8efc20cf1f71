"""Appending new events of this server's users to a room: build, check, sign, store, publish.

All of it happens inside one write transaction that has locked the room. Several events may be appended in one go (a new
room is made of a handful); what the first of them change is carried in memory, since published
rows cannot be read back in their own transaction.
"""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.event import Event, StateKey
from homeserver.core.event_format import build_event
from homeserver.core.hashes import encode_base64, encode_base64_url_safe, reference_hash
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonValue, canonical, decode_object
from homeserver.core.policy_servers import POLICY
from homeserver.core.power_levels import PowerLevels
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import policies, relations
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.new_events import NewEvent
from homeserver.rooms.partial_states import check_known
from homeserver.rooms.room_changes import RoomChanges
from homeserver.rooms.stated_levels import levels_of
from homeserver.storage import events, rooms

MAX_PREV_EVENTS = 20
MAX_DEPTH = 2**53 - 1


class Appender:
    """Appends events to one locked room; `publish` when all are there.

    Errors of `append`: `Forbidden` with the rule that refuses; `TooLarge`, `BadJson` for what cannot be an event;
    those of `relations.check`; `StateWanted` if members must be known first.
    """

    def __init__(self, tx: WriteTransaction, room: rooms.Room, signer: Signer, *, now_ts: int) -> None:
        self._tx = tx
        self._signer = signer
        self._now_ts = now_ts
        self._changes = RoomChanges(tx, room, signer.server_name)

    @property
    def room(self) -> rooms.Room:
        """The room as its row stood when it was locked."""
        return self._changes.room

    @property
    def version(self) -> RoomVersion:
        """The room's version."""
        return self._changes.version

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
            create = msgspec.structs.replace(create, origin_server_ts=now_ts)
            while rooms.nid_of(tx, appender._build(create, 0, {}, has_policy=False)[0].room_id) is not None:
                create = msgspec.structs.replace(
                    create, origin_server_ts=(create.origin_server_ts or now_ts) + 1
                )
        event = appender.append(create)
        rooms.add(
            tx,
            room_nid=room.room_nid,
            room_id=event.room_id,
            version=version,
            creator=create.sender,
            created_ts=now_ts,
        )
        appender._changes.found(event.room_id)
        return appender

    def state_event(self, key: StateKey) -> Event | None:
        """What the room's state has for `key`, after the events appended so far."""
        return self.state_events((key,)).get(key)

    def state_events(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        """What the room's state has for those of `keys` that it holds."""
        return self._changes.state_events(keys)

    def append(self, draft: Draft, *, status: int = events.ACCEPTED) -> Event:
        """Make the event, unless it would set what the state has already: then that event is the result.

        One that is to stick is made in any case.
        `status` is ACCEPTED, or HIDDEN for what no client is to see.
        """
        auth_keys = select_auth_event_keys(
            draft.type, draft.sender, draft.state_key, draft.content, self.version
        )
        key = None if draft.state_key is None else (draft.type, draft.state_key)
        wanted = {CREATE, POWER_LEVELS, POLICY, *auth_keys}
        if key is not None:
            wanted.add(key)
        before = self._before()
        found = self._changes.state_events(wanted, before)
        check_known(self.room, auth_keys, found)
        replaced = None if key is None else found.get(key)
        if replaced is not None and draft.sticky_duration_ms is None and self._is_same(replaced, draft):
            return replaced
        event_nid = self._tx.new_nid()
        cited = {key: found[key].event_id for key in auth_keys if key in found}
        event, pdu = self._build(draft, event_nid, cited, has_policy=POLICY in found)
        levels = levels_of(self._tx, found.get(POWER_LEVELS), found.get(CREATE, event))
        self._check(event, found, levels)
        if event.redacts is not None:
            self._check_redaction(event.sender, event.redacts, levels)
        if "m.relates_to" in draft.content:
            relations.check(self._tx, self.room.room_nid, draft)
        policy_server = policies.named_by(self._tx, self.room.room_nid, found.get(POLICY))
        if policy_server is not None:
            event, pdu = policies.with_signature(self._tx, policy_server, event, pdu)
        self._changes.store(
            NewEvent(
                event,
                event_nid,
                pdu,
                before,
                levels,
                status=status,
                device_id=draft.device_id,
                txn_id=draft.txn_id,
                received_ts=self._now_ts,
            )
        )
        return event

    def publish(self) -> None:
        """Queue everything for the stream. Nothing may be appended afterwards."""
        self._changes.publish()

    def _before(self) -> int:
        """The state before the next event: the current one, unless there are too many extremities to name all."""
        extremities = self._changes.extremities
        if len(extremities) <= MAX_PREV_EVENTS:
            return self._changes.root
        return self._changes.root_after([event_id for event_id, _ in extremities[-MAX_PREV_EVENTS:]])

    def _build(
        self, draft: Draft, event_nid: int, cited: Mapping[StateKey, EventID], *, has_policy: bool
    ) -> tuple[Event, bytes]:
        extremities = self._changes.extremities[-MAX_PREV_EVENTS:]
        prev_events = [event_id for event_id, _ in extremities]
        auth_events = list(cited.values())
        event_id, hashes = None, None
        if self.version.event_id_format is EventIdFormat.SERVER_ISSUED:
            # A room with a policy server must be able to make the same event again.
            unique = _digest_of(draft, prev_events) if has_policy else event_nid
            event_id = EventID(f"${self._now_ts}-{unique}:{self._signer.server_name}")
        if self.version.event_references_with_hashes:
            hashes = self._reference_hashes({*prev_events, *auth_events})
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
            sticky_duration_ms=draft.sticky_duration_ms,
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
        made = self._changes.own
        own = {event_id: made[event_id].event.pdu for event_id in event_ids if event_id in made}
        stored = events.of_ids(self._tx, event_ids - own.keys())
        pdus = own | {event_id: decode_object(event.pdu) for event_id, event in stored.items()}
        return {event_id: encode_base64(reference_hash(pdu, self.version)) for event_id, pdu in pdus.items()}

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


def _digest_of(draft: Draft, prev_events: list[EventID]) -> str:
    """What no other event of the room shares that was made in the same millisecond."""
    parts: list[JsonValue] = [
        draft.sender,
        draft.type,
        draft.state_key,
        draft.content,
        list(prev_events),
        draft.sticky_duration_ms,
    ]
    return encode_base64_url_safe(hashlib.sha256(canonical(parts)).digest())
