"""Rooms that a peer is in: valid events of its own, and the honest answers about them, which a test may overrule.

The peer's notion of state is simple: each event has the state of its `prev_events`, the later of two winning. Tests
that fork a room make forks of which that is the truth.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from homeserver.core.auth_events import select_auth_event_keys
from homeserver.core.event import StateKey
from homeserver.core.hashes import encode_base64, event_id_of, reference_hash
from homeserver.core.identifiers import EventID
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.signing import SigningKey, add_signature, sign_event
from homeserver.runtime.clock import SystemClock
from tests.federation.peer import Heard, Peer, Reply, federation

Pdu = dict[str, Any]

CREATE: StateKey = ("m.room.create", "")


@attrs.define(eq=False)
class PeerRoom:
    """A room as a peer sees it; `events` in the order in which it got them."""

    peer: Peer
    version: RoomVersion
    room_id: str = ""
    events: dict[EventID, Pdu] = attrs.field(factory=dict)
    before: dict[EventID, dict[StateKey, EventID]] = attrs.field(factory=dict)
    """The state before each event."""
    state: dict[StateKey, EventID] = attrs.field(factory=dict)
    extremities: list[EventID] = attrs.field(factory=list)

    @classmethod
    def create(
        cls, peer: Peer, version: str = "11", *, localpart: str = "mallory", join_rule: str = "public"
    ) -> "PeerRoom":
        """A new room with its first events, whose creator is a user of the peer."""
        room = cls(peer, get_room_version(version))
        creator = f"@{localpart}:{peer.server_name}"
        content: Pdu = {"room_version": version}
        if not room.version.implicit_room_creator:
            content["creator"] = creator
        if not room.version.room_id_is_create_hash:
            room.room_id = f"!{SystemClock().now_ts()}{len(peer.heard)}:{peer.server_name}"
        create = room.append("m.room.create", content, "", sender=creator)
        if room.version.room_id_is_create_hash:
            room.room_id = "!" + create[1:]
        room.append("m.room.member", {"membership": "join"}, creator, sender=creator)
        levels: Pdu = {"users": {} if room.version.room_id_is_create_hash else {creator: 100}}
        room.append("m.room.power_levels", levels, "", sender=creator)
        room.append("m.room.join_rules", {"join_rule": join_rule}, "", sender=creator)
        room.append("m.room.history_visibility", {"history_visibility": "shared"}, "", sender=creator)
        room.serve()
        return room

    @property
    def creator(self) -> str:
        """Who made the room."""
        return cast("str", self.events[self.state[CREATE]]["sender"])

    def make(
        self,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        sender: str | None = None,
        prev_events: Sequence[str] | None = None,
        auth_events: Sequence[str] | None = None,
        state: Mapping[StateKey, EventID] | None = None,
        key: SigningKey | None = None,
        **fields: object,
    ) -> Pdu:
        """A hashed and signed event, which is not yet in the room.

        By default it follows the extremities and cites what it should of `state`, by default the current one.
        `fields` replace top-level ones before hashing and signing; what is to be wrong afterwards the test changes.
        """
        sender = sender or self.creator
        state = self.state if state is None else state
        prevs = list(self.extremities if prev_events is None else prev_events)
        if auth_events is None:
            keys = select_auth_event_keys(event_type, sender, state_key, cast("Any", content), self.version)
            auth_events = [state[each] for each in keys if each in state]
        depths = [self.events[EventID(each)]["depth"] for each in prevs if each in self.events]
        pdu: Pdu = {
            "type": event_type,
            "sender": sender,
            "content": dict(content),
            "origin_server_ts": SystemClock().now_ts(),
            "depth": 1 + max(depths, default=0),
            "prev_events": self.refer_to(prevs),
            "auth_events": self.refer_to(auth_events),
            **fields,
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        if event_type != "m.room.create" or not self.version.room_id_is_create_hash:
            pdu.setdefault("room_id", self.room_id)
        if self.version.event_references_with_hashes:
            pdu.setdefault(
                "event_id", f"${len(self.events)}-{SystemClock().monotonic_ms()}:{self.peer.server_name}"
            )
        return self.seal(pdu, key=key)

    def seal(self, pdu: Mapping[str, Any], *, key: SigningKey | None = None) -> Pdu:
        """The event, hashed and signed by the peer anew."""
        bare = {name: value for name, value in pdu.items() if name not in ("signatures", "hashes")}
        return sign_event(bare, self.version, self.peer.server_name, key or self.peer.key)

    def id_of(self, pdu: Mapping[str, Any]) -> EventID:
        """The ID of an event."""
        return event_id_of(cast("JsonObject", pdu), self.version)

    def accept(self, pdu: Mapping[str, Any]) -> EventID:
        """The event becomes a part of the room; gives its ID."""
        event_id = self.id_of(pdu)
        prevs = self.ids_in(pdu["prev_events"])
        before: dict[StateKey, EventID] = {}
        for prev in prevs:
            before |= self.state_after(prev)
        self.events[event_id] = dict(pdu)
        self.before[event_id] = before
        self.extremities = [each for each in self.extremities if each not in prevs] + [event_id]
        if "state_key" in pdu:
            self.state[pdu["type"], pdu["state_key"]] = event_id
        return event_id

    def append(
        self, event_type: str, content: Mapping[str, Any], state_key: str | None = None, **options: Any
    ) -> EventID:
        """`make` and `accept`."""
        return self.accept(self.make(event_type, content, state_key, **options))

    def message(self, text: str, **options: Any) -> Pdu:
        """A message of the creator, which is not yet in the room."""
        return self.make("m.room.message", {"msgtype": "m.text", "body": text}, **options)

    def state_after(self, event_id: EventID) -> dict[StateKey, EventID]:
        """The state after an event, as far as the peer knows."""
        state = dict(self.before.get(event_id, {}))
        pdu = self.events.get(event_id)
        if pdu is not None and "state_key" in pdu:
            state[pdu["type"], pdu["state_key"]] = event_id
        return state

    def auth_chain(self, event_ids: Iterable[EventID]) -> list[EventID]:
        """What these events cite, and so on, without them."""
        found: dict[EventID, None] = {}
        waiting = list(event_ids)
        while waiting:
            for cited in self.cited_by(waiting.pop()):
                if cited not in found:
                    found[cited] = None
                    waiting.append(cited)
        return list(found)

    def cited_by(self, event_id: EventID) -> list[EventID]:
        """The auth events of an event; the create event too where that is implied."""
        pdu = self.events[event_id]
        cited = [each for each in self.ids_in(pdu["auth_events"]) if each in self.events]
        if self.version.room_id_is_create_hash and pdu["type"] != "m.room.create":
            cited.append(self.state[CREATE])
        return cited

    def ids_in(self, references: Iterable[Any]) -> list[EventID]:
        """The IDs in `prev_events` or `auth_events`."""
        return [EventID(each if isinstance(each, str) else each[0]) for each in references]

    def refer_to(self, event_ids: Iterable[str]) -> list[Any]:
        """What stands in `prev_events` or `auth_events` for these events, known or not."""
        if not self.version.event_references_with_hashes:
            return list(event_ids)
        return [[each, {"sha256": self._reference_hash(each)}] for each in event_ids]

    def _reference_hash(self, event_id: str) -> str:
        pdu = self.events.get(EventID(event_id))
        return "" if pdu is None else encode_base64(reference_hash(pdu, self.version))

    def pdus(self, event_ids: Iterable[EventID]) -> list[Pdu]:
        """The events with these IDs."""
        return [self.events[each] for each in event_ids]

    # The honest answers.

    def serve(self) -> None:
        """Answer all that servers ask about the room."""
        room = "{room_id}"
        for method, version, parts, said in (
            ("GET", "v1", ("make_join", room, "{user_id}"), self._make_join),
            ("PUT", "v2", ("send_join", room, "{event_id}"), self._send_join),
            ("GET", "v1", ("make_leave", room, "{user_id}"), self._make_leave),
            ("PUT", "v2", ("send_leave", room, "{event_id}"), self._send_leave),
            ("PUT", "v1", ("send", "{txn_id}"), self._send),
            ("GET", "v1", ("state", room), self._state),
            ("GET", "v1", ("state_ids", room), self._state_ids),
            ("GET", "v1", ("event", "{event_id}"), self._event),
            ("GET", "v1", ("event_auth", room, "{event_id}"), self._event_auth),
            ("POST", "v1", ("get_missing_events", room), self._missing_events),
            ("GET", "v1", ("backfill", room), self._backfill),
        ):
            self.peer.answer(method, federation(version) + "/".join(parts), _if_known(said))

    def _make_join(self, heard: Heard) -> Reply:
        return self._template(heard.args["user_id"], "join")

    def _make_leave(self, heard: Heard) -> Reply:
        return self._template(heard.args["user_id"], "leave")

    def _template(self, user_id: str, membership: str) -> Reply:
        template = self.make("m.room.member", {"membership": membership}, user_id, sender=user_id)
        for field in ("signatures", "hashes"):
            del template[field]
        return Reply({"room_version": self.version.identifier, "event": template})

    def _send_join(self, heard: Heard) -> Reply:
        state = dict(self.state)
        joined = add_signature(heard.json, self.version, self.peer.server_name, self.peer.key)
        self.accept(joined)
        return Reply(
            {
                "origin": self.peer.server_name,
                "event": joined,
                "members_omitted": False,
                "state": self.pdus(state.values()),
                "auth_chain": self.pdus(self.auth_chain(state.values())),
            }
        )

    def _send_leave(self, heard: Heard) -> Reply:
        self.accept(heard.json)
        return Reply({})

    def _send(self, heard: Heard) -> Reply:
        results: dict[str, Any] = {}
        for pdu in heard.json["pdus"]:
            if pdu.get("room_id") == self.room_id:
                results[self.accept(pdu)] = {}
        return Reply({"pdus": results})

    def _state(self, heard: Heard) -> Reply:
        state = list(self.before[EventID(heard.query["event_id"][0])].values())
        return Reply({"pdus": self.pdus(state), "auth_chain": self.pdus(self.auth_chain(state))})

    def _state_ids(self, heard: Heard) -> Reply:
        state = list(self.before[EventID(heard.query["event_id"][0])].values())
        return Reply({"pdu_ids": state, "auth_chain_ids": self.auth_chain(state)})

    def _event(self, heard: Heard) -> Reply:
        return self._transaction([self.events[EventID(heard.args["event_id"])]])

    def _event_auth(self, heard: Heard) -> Reply:
        return Reply({"auth_chain": self.pdus(self.auth_chain([EventID(heard.args["event_id"])]))})

    def _missing_events(self, heard: Heard) -> Reply:
        asked = heard.json
        stop = set(asked["earliest_events"])
        found: list[EventID] = []
        level = [EventID(each) for each in asked["latest_events"]]
        while level and len(found) < asked.get("limit", 10):
            prevs = [
                prev
                for each in level
                if each in self.events
                for prev in self.ids_in(self.events[each]["prev_events"])
            ]
            level = [each for each in dict.fromkeys(prevs) if each in self.events and each not in stop]
            level = [each for each in level if each not in found]
            found += level
        return Reply({"events": self.pdus(reversed(found[: asked.get("limit", 10)]))})

    def _backfill(self, heard: Heard) -> Reply:
        order = list(self.events)
        upto = max(
            (order.index(EventID(each)) for each in heard.query["v"] if each in self.events), default=-1
        )
        newest_first = order[: upto + 1][::-1][: int(heard.query["limit"][0])]
        return self._transaction(self.pdus(newest_first))

    def _transaction(self, pdus: Sequence[Pdu]) -> Reply:
        now_ts = SystemClock().now_ts()
        return Reply({"origin": self.peer.server_name, "origin_server_ts": now_ts, "pdus": list(pdus)})


def _if_known(said: Callable[[Heard], Reply]) -> Callable[[Heard], Reply]:
    """The answer, or that there is no such event."""

    def say(heard: Heard) -> Reply:
        try:
            return said(heard)
        except KeyError as error:
            return Reply({"errcode": "M_NOT_FOUND", "error": f"The peer knows no event {error}"}, 404)

    return say


async def join(peer: Peer, destination: str, room_id: str, localpart: str = "mallory") -> PeerRoom:
    """A user of the peer joins a room of another server; gives the room as the peer then knows it."""
    user_id = f"@{localpart}:{peer.server_name}"
    versions = [str(number) for number in range(1, 13)]
    made = (
        await peer.request(
            "GET", destination, federation("v1", "make_join", room_id, user_id), query={"ver": versions}
        )
    ).ok()
    room = PeerRoom(peer, get_room_version(made["room_version"]), room_id)
    fields: Pdu = {**made["event"], "origin_server_ts": SystemClock().now_ts()}
    if room.version.event_references_with_hashes:
        fields["event_id"] = f"$join-{localpart}-{SystemClock().monotonic_ms()}:{peer.server_name}"
    event = room.seal(fields)
    event_id = room.id_of(event)
    answer = await peer.request("PUT", destination, federation("v2", "send_join", room_id, event_id), event)
    joined = answer.ok()
    for pdu in [*joined["auth_chain"], *joined["state"]]:
        room.events[room.id_of(pdu)] = pdu
    room.state = {(pdu["type"], pdu["state_key"]): room.id_of(pdu) for pdu in joined["state"]}
    state = dict(room.state)
    room.accept(joined.get("event", event))
    room.before[event_id] = state
    room.extremities = [event_id]
    room.serve()
    return room
