"""The foreign servers' events: a large room of their own, and messages in a room of the measured server."""

import json
import time
from dataclasses import dataclass, field

from homeserver.core.event import Event
from homeserver.core.event_format import build_event
from homeserver.core.hashes import event_id_of
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.signing import SigningKey, sign_event


@dataclass(frozen=True)
class Identity:
    """One of the foreign servers."""

    server_name: str
    key: SigningKey

    def user(self, localpart: str) -> UserID:
        return UserID(f"@{localpart}:{self.server_name}")


@dataclass
class Thread:
    """A growing line of events, each after the one before."""

    room_id: RoomID
    version: RoomVersion
    last: EventID | None = None
    depth: int = 0
    started_ts: int = field(default_factory=lambda: int(time.time() * 1000))

    def add(
        self,
        by: Identity,
        localpart: str,
        event_type: str,
        content: JsonObject,
        auth_events: list[EventID],
        state_key: str | None = None,
    ) -> tuple[Event, bytes]:
        self.depth += 1
        event, data = build_event(
            room_version=self.version,
            room_id=self.room_id,
            sender=by.user(localpart),
            type=event_type,
            state_key=state_key,
            content=content,
            origin_server_ts=self.started_ts + self.depth,
            depth=self.depth,
            prev_events=[] if self.last is None else [self.last],
            auth_events=auth_events,
            redacts=None,
            server_name=by.server_name,
            key=by.key,
        )
        self.last = event.event_id
        return event, data


class BigRoom:
    """A public room with many members from many servers, which the first of the servers answers for."""

    def __init__(self, identities: list[Identity], members: int, version: str) -> None:
        self._resident = resident = identities[0]
        self.version = version
        self.room_id = RoomID(f"!big{time.time_ns()}:{resident.server_name}")
        self._thread = thread = Thread(self.room_id, get_room_version(version))
        creator = resident.user("creator")
        create, create_data = thread.add(
            resident, "creator", "m.room.create", {"room_version": version}, [], ""
        )
        self._create = create.event_id
        joined: JsonObject = {"membership": "join"}
        first, first_data = thread.add(resident, "creator", "m.room.member", joined, [self._create], creator)
        levels, levels_data = thread.add(
            resident,
            "creator",
            "m.room.power_levels",
            {"users": {creator: 100}},
            [self._create, first.event_id],
            "",
        )
        self._levels = levels.event_id
        cited = [self._create, first.event_id, self._levels]
        rules, rules_data = thread.add(
            resident, "creator", "m.room.join_rules", {"join_rule": "public"}, cited, ""
        )
        self._rules = rules.event_id
        visibility: JsonObject = {"history_visibility": "shared"}
        shown, visibility_data = thread.add(
            resident, "creator", "m.room.history_visibility", visibility, cited, ""
        )
        chain = [create_data, first_data, levels_data, rules_data]
        chain_ids = [create.event_id, first.event_id, levels.event_id, rules.event_id]
        state, state_ids = [*chain, visibility_data], [*chain_ids, shown.event_id]
        for number in range(members - 1):
            identity = identities[number % len(identities)]
            localpart = f"member{number}"
            content: JsonObject = {"membership": "join", "displayname": f"Member {number}"}
            member, data = thread.add(
                identity, localpart, "m.room.member", content, self._join_auth(), identity.user(localpart)
            )
            state.append(data)
            state_ids.append(member.event_id)
        names = json.dumps([identity.server_name for identity in identities]).encode()

        def answer(omitted: bytes, listed: list[bytes]) -> bytes:
            return (
                b'{"origin":"%s","members_omitted":%s,"servers_in_room":%s,"auth_chain":[%s],"state":[%s],"event":'
                % (resident.server_name.encode(), omitted, names, b",".join(chain), b",".join(listed))
            )

        self._answers = {
            False: answer(b"false", state),
            # Nobody but who made the room: whoever cites that membership needs it.
            True: answer(b"true", [chain[0], *chain[2:], visibility_data]),
        }
        self.state = b'{"pdus":[%s],"auth_chain":[%s]}' % (b",".join(state), b",".join(chain))
        self.state_ids = json.dumps({"pdu_ids": state_ids, "auth_chain_ids": chain_ids}).encode()

    def _join_auth(self) -> list[EventID]:
        return [self._create, self._levels, self._rules]

    def make_join(self, user_id: str) -> bytes:
        event = {
            "type": "m.room.member",
            "room_id": self.room_id,
            "sender": user_id,
            "state_key": user_id,
            "content": {"membership": "join"},
            "depth": self._thread.depth + 1,
            "prev_events": [self._thread.last],
            "auth_events": self._join_auth(),
            "origin": self._resident.server_name,
            "origin_server_ts": int(time.time() * 1000),
        }
        return json.dumps({"room_version": self.version, "event": event}).encode()

    def send_join(self, event: bytes, *, omit_members: bool) -> bytes:
        return self._answers[omit_members] + event + b"}"


@dataclass
class Guest:
    """A foreign user in a room of the measured server, who says something."""

    identity: Identity
    localpart: str
    thread: Thread
    auth_events: list[EventID]
    state: list[EventID]
    """The room's state after the join, which messages leave as it is."""
    auth_chain: list[EventID]
    said: dict[EventID, bytes] = field(default_factory=dict)

    @classmethod
    def from_join(cls, identity: Identity, localpart: str, sent: JsonObject, answer: JsonObject) -> "Guest":
        """`answer` is that to `send_join`, by which the event `sent` became a part of the room."""
        create = next(pdu for pdu in answer["state"] if pdu["type"] == "m.room.create")
        version = get_room_version(create["content"]["room_version"])
        levels = next(pdu for pdu in answer["state"] if pdu["type"] == "m.room.power_levels")
        own = event_id_of(sent, version)
        thread = Thread(RoomID(sent["room_id"]), version, own, sent["depth"])
        cited = [event_id_of(create, version), event_id_of(levels, version), own]
        before = [event_id_of(pdu, version) for pdu in answer["state"]]
        chain = [event_id_of(pdu, version) for pdu in answer["auth_chain"]]
        return cls(identity, localpart, thread, cited, [*before, own], [*chain, own])

    def say(self, text: str) -> tuple[EventID, bytes]:
        content: JsonObject = {"msgtype": "m.text", "body": text}
        event, data = self.thread.add(
            self.identity, self.localpart, "m.room.message", content, self.auth_events
        )
        self.said[event.event_id] = data
        return event.event_id, data

    def missing_events(self, asked: JsonObject) -> bytes:
        """What was said before the latest events that are asked about, oldest first."""
        order = list(self.said)
        places = {event_id: place for place, event_id in enumerate(order)}
        end = max((places[event_id] for event_id in asked["latest_events"] if event_id in places), default=0)
        earliest = (places[event_id] for event_id in asked["earliest_events"] if event_id in places)
        begin = max([end - asked["limit"], *(place + 1 for place in earliest), 0])
        return b'{"events":[%s]}' % b",".join(self.said[event_id] for event_id in order[begin:end])

    def state_ids(self) -> bytes:
        return json.dumps({"pdu_ids": self.state, "auth_chain_ids": self.auth_chain}).encode()

    def event(self, event_id: str) -> bytes:
        """Errors: KeyError."""
        head = json.dumps({"origin": self.identity.server_name, "origin_server_ts": self.thread.started_ts})
        return head[:-1].encode() + b',"pdus":[%s]}' % self.said[EventID(event_id)]


def signed_join(identity: Identity, made: JsonObject) -> tuple[JsonObject, EventID]:
    """Complete and sign the template that `make_join` gave."""
    version = get_room_version(made["room_version"])
    pdu: JsonObject = {**made["event"], "origin_server_ts": int(time.time() * 1000)}
    pdu.pop("event_id", None)
    pdu = sign_event(pdu, version, identity.server_name, identity.key)
    return pdu, event_id_of(pdu, version)
