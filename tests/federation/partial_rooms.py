"""Rooms of a peer that leaves members out when it is joined, and tells the rest when the test wants."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, memberships, partial_joins, room_servers, rooms, state
from tests.api.server import Client, path_of
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.peer import Heard, Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom

MEMBER = "m.room.member"

LAZY = {"room": {"state": {"lazy_load_members": True}}}


@attrs.define(eq=False)
class Gate:
    """Who comes waits until it is open."""

    is_open: bool = False
    came: int = 0
    _waiting: list[Deferred[None]] = attrs.field(factory=list)

    def open(self) -> None:
        """Let everybody through, now and later."""
        self.is_open = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def passed(self) -> None:
        """Wait."""
        self.came += 1
        if not self.is_open:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting


@attrs.frozen(eq=False)
class PartialRoom:
    """A room of the peer with members `@m0:…` to `@m<n>:…`; their memberships are told when the gate is open."""

    room: PeerRoom
    gate: Gate
    members: list[str]

    @property
    def room_id(self) -> str:
        """The room's ID."""
        return self.room.room_id

    @classmethod
    def create(cls, peer: Peer, version: str = "11", *, members: int = 6) -> "PartialRoom":
        """A new room, in which Mallory is the creator."""
        room = PeerRoom.create(peer, version)
        room.append("m.room.name", {"name": "Club"}, "")
        found = cls(room, Gate(), [])
        for number in range(members):
            found.enter(f"@m{number}:{peer.server_name}")
        found.serve(peer)
        return found

    def enter(self, user_id: str, membership: str = "join", *, sender: str | None = None) -> EventID:
        """A member more, or somebody who is none."""
        if membership == "join":
            self.members.append(user_id)
        content = {"membership": membership}
        return self.room.append(MEMBER, content, user_id, sender=sender or user_id)

    def serve(self, peer: Peer) -> None:
        """Have a peer answer so; it may be another than that whose room it is."""
        answer_join, room = self.room._send_join, "{room_id}"

        def join(heard: Heard) -> Reply:
            servers = [self.room.peer.server_name, *self.others]
            whole = answer_join(heard)
            assert isinstance(whole.body, dict)
            body = dict(whole.body)
            if heard.query.get("omit_members") == ["true"]:
                kept = [
                    pdu for pdu in body["state"] if pdu["type"] != MEMBER or pdu["state_key"] in self.heroes
                ]
                kept_ids = [self.room.id_of(pdu) for pdu in kept]
                cited = self.room.ids_in(heard.json["auth_events"])
                chain = dict.fromkeys([*self.room.auth_chain(kept_ids), *cited, *self.room.auth_chain(cited)])
                body |= {
                    "members_omitted": True,
                    "state": kept,
                    "auth_chain": self.room.pdus(each for each in chain if each not in kept_ids),
                    "servers_in_room": servers,
                }
            return Reply(body)

        peer.answer("PUT", federation("v2") + f"send_join/{room}/{{event_id}}", join)
        peer.answer("GET", federation("v1") + f"state_ids/{room}", self.held(self.room._state_ids))
        peer.answer("GET", federation("v1") + "event/{event_id}", self.room._event)
        peer.answer("GET", federation("v1") + f"state/{room}", self.held(self.room._state))

    others: list[str] = attrs.field(factory=list)
    """Further servers in the room, by the peer's word."""

    heroes: list[str] = attrs.field(factory=list)
    """Members who are told at once."""

    def held(self, said: Callable[[Heard], Reply]) -> Callable[[Heard], Awaitable[Reply]]:
        """The answer, when the gate is open."""

        async def say(heard: Heard) -> Reply:
            await self.gate.passed()
            return said(heard)

        return say

    async def join(self, client: Client) -> None:
        """Join by way of the peer."""
        (await client.post(path_of("join", self.room_id), via=[self.room.peer.server_name])).ok()

    async def say(self, server: FederatedServer, text: str, *, sender: str, **options: Any) -> str:
        """A message of a member, sent to the server; gives its ID."""
        pdu = self.room.message(text, sender=sender, **options)
        event_id = self.room.accept(pdu)
        (await self.room.peer.send(server.server_name, [pdu])).ok()
        return event_id


async def is_partial(server: FederatedServer, room_id: str) -> bool:
    """Whether the server lacks members of the room."""
    room = await server.running.server.database.read(rooms.of, RoomID(room_id))
    return room is not None and room.is_partial


async def until_whole(server: FederatedServer, room_id: str) -> None:
    """Wait until the server lacks nobody."""

    async def is_whole() -> bool:
        return not await is_partial(server, room_id)

    await until(is_whole, what=f"the members of {room_id}")


async def check_consistent(server: FederatedServer, partial: PartialRoom, join: str | None = None) -> None:
    """All that the server has of the room fits together, and with the peer's notion of it: since `join`, if given."""
    told = await server.running.server.database.read(_told, RoomID(partial.room_id), join)
    assert told["state"] == partial.room.state
    for event_id, before in told["before"].items():
        if EventID(event_id) in partial.room.before:
            assert before == partial.room.before[EventID(event_id)], event_id


def _told(tx: ReadTransaction, room_id: RoomID, join: str | None) -> Mapping[str, Any]:
    """The room's state, and the states before its events since the join; with a check of rows and counts."""
    room = rooms.of(tx, room_id)
    assert room is not None
    version = get_room_version(room.version)

    def state_of(root: int) -> dict[tuple[str, str], str]:
        whole = state.whole(tx, root)
        ids = events.ids_of(tx, whole.values())
        return {key: ids[nid] for key, nid in whole.items()}

    current = state_of(room.state_root)
    assert state_of(state.root_at(tx, room.room_nid, tx.stream_row().position)) == current
    joined: dict[str, int] = {}
    for key, nid in state.whole(tx, room.state_root).items():
        if key[0] != MEMBER:
            continue
        row = memberships.of(tx, room.room_nid, key[1])
        assert row is not None, key
        content = events.parsed(tx, [nid], version)[nid].content
        assert (row.event_nid, row.membership) == (nid, content["membership"]), key
        if row.membership == "join":
            server_name = key[1].partition(":")[2]
            joined[server_name] = joined.get(server_name, 0) + 1
    assert room_servers.of_room(tx, room.room_nid) == joined
    assert room.joined_members == sum(joined.values())
    assert partial_joins.underway(tx, room.room_nid) is None
    joined_at = None if join is None else events.of(tx, join)
    after = (joined_at.position or 1) - 1 if joined_at is not None else 0
    before = {}
    for event in events.placed_after(tx, room.room_nid, after=after, most=10_000):
        assert event.state_root is not None
        before[event.event_id] = state_of(event.state_root)
    return {"state": current, "before": before}


@attrs.frozen
class Stage:
    """A server of ours, its user Alice, and a room that she has joined by way of the peer, without its members."""

    server: FederatedServer
    alice: Client
    peer: Peer
    partial: PartialRoom

    @classmethod
    async def set(cls, servers: Servers, peer: Peer, *, heroes: int = 0, encrypted: bool = False) -> "Stage":
        """A new server, and a new room; the first members are its `heroes`."""
        server = await servers.start()
        alice = await server.user("alice")
        partial = PartialRoom.create(peer)
        partial.heroes.extend(partial.members[:heroes])
        if encrypted:
            partial.room.append("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, "")
        await partial.join(alice)
        assert await is_partial(server, partial.room_id)
        return cls(server, alice, peer, partial)

    @property
    def room(self) -> str:
        """The room's ID."""
        return self.partial.room_id

    async def seen(self, event_id: str, client: Client | None = None) -> None:
        """Wait until Alice has got the event by `/sync`."""

        async def is_there() -> bool:
            return event_id in {each["event_id"] for each in await self.timeline(client or self.alice)}

        await until(is_there, what=f"that {event_id} is seen")

    async def timeline(self, client: Client, since: str | None = None) -> list[Any]:
        """The newest events of the room."""
        wide = {"room": {"timeline": {"limit": 50}, **LAZY["room"]}}
        synced = await client.sync(since, filter=wide)
        found: list[Any] = (
            synced.get("rooms", {}).get("join", {}).get(self.room, {}).get("timeline", {}).get("events", [])
        )
        return found

    async def heard(self, event_id: str) -> None:
        """Wait until the peer has got an event of ours."""

        async def is_there() -> bool:
            return event_id in self.partial.room.events

        await until(is_there, what=f"that the peer gets {event_id}")

    async def complete(self) -> None:
        """Let the rest come, and check that all is as it should be."""
        self.partial.gate.open()
        await until_whole(self.server, self.room)
        await self.settled()
        await check_consistent(self.server, self.partial)

    async def settled(self) -> None:
        """Wait until the server has all that the peer knows."""

        async def is_so() -> bool:
            database = self.server.running.server.database
            room = await database.read(rooms.of, RoomID(self.room))
            assert room is not None
            return {each for each, _ in room.extremities} == set(self.partial.room.extremities)

        await until(is_so, what="that the servers agree")
