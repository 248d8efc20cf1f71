"""Servers whose users do things at random in rooms that they share, over links that are cut and mended at random.

Everything is drawn from one seed. What runs at the same time, and how long it takes, is up to the machine: a seed
gives the same deeds, not the same history. On every server one user, its anchor, stays in every room, so that all
servers are in all rooms all the time and must agree on everything.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, cast

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.api.server import Answer, Client, path_of, room_path
from tests.federation.clocks import MovableClock
from tests.federation.followers import Follower
from tests.federation.harness import FederatedServer, Servers, cut, mend
from tests.federation.views import RoomContents, room_contents, undone

LOOK_AGAIN_S = 0.1

_numbers = itertools.count(1)


@attrs.define
class SharedRoom:
    """A room, and what the users know about it."""

    room_id: str
    version: str
    sent: list[str] = attrs.field(factory=list)
    """Events that a server has acknowledged: none may get lost."""
    beginning: frozenset[str] = frozenset()
    """Events from before all were there, which not every server needs to have in full."""


@attrs.define
class Site:
    """A server with its users; the first of them is the anchor."""

    server: FederatedServer
    users: list[Client]
    follower: Follower

    @property
    def anchor(self) -> Client:
        """Who is always there."""
        return self.users[0]


@attrs.define
class Simulation:
    """`build`, then `live` as long as wanted, then `settle`; then all must be the same everywhere."""

    chance: Random
    clock: MovableClock
    sites: list[Site]
    rooms: list[SharedRoom]
    answers: Counter[str] = attrs.field(factory=Counter)
    _cut: set[tuple[int, int]] = attrs.field(factory=set)
    _alone: int | None = None

    @classmethod
    async def build(
        cls, servers: Servers, chance: Random, *, sites: int = 3, versions: tuple[str, ...], people: int = 2
    ) -> "Simulation":
        """Servers with users who are all in all rooms, one of each version."""
        clock = MovableClock()
        made: list[Site] = []
        for _ in range(sites):
            server = await servers.start(clock=clock)
            users = [await server.user(f"user{number}") for number in range(people)]
            made.append(Site(server, users, Follower(users[0])))
        simulation = cls(chance, clock, made, [])
        for number, version in enumerate(versions):
            home = made[number % sites]
            room_id = await home.anchor.create_room(preset="public_chat", room_version=version)
            simulation.rooms.append(SharedRoom(room_id, version))
            for site in made:
                for user in site.users:
                    if user is not home.anchor:
                        path = path_of("join", room_id)
                        (await user.request("POST", path, {}, query={"via": home.server.server_name})).ok()
            await simulation._empower_all(home.anchor, room_id)
        await simulation._hear_of_all_joins()
        await simulation.until_all_agree(40, on_events=False)
        for room in simulation.rooms:
            contents = await simulation.contents(room)
            room.beginning = frozenset().union(*(each.statuses for each in contents))
        for site in made:
            await site.follower.sync()
        return simulation

    async def _hear_of_all_joins(self) -> None:
        """Every server says something in every room, again and again until all have the same state.

        Of a join that two others made at the same time a third may hear only by what stands on both.
        """
        for _ in range(20):
            for room in self.rooms:
                for site in self.sites:
                    await site.anchor.send(room.room_id, "here")
            if await self.difference(on_events=False) is None:
                return
            await deferLater(cast("Any", reactor), 0.2)

    def isolate(self) -> None:
        """One of the servers is alone until the end."""
        self._alone = alone = self.chance.randrange(len(self.sites))
        for other in range(len(self.sites)):
            if other != alone:
                self._cut.add((min(alone, other), max(alone, other)))
                cut(self.sites[alone].server, self.sites[other].server)

    async def live(self, bursts: int, *, restarts: int = 0) -> None:
        """Let things happen: up to five at the same time, then the next, without waiting for other servers."""
        restart_at = set(self.chance.sample(range(bursts // 4, bursts), restarts))
        for burst in range(bursts):
            if burst in restart_at:
                await self._restart(self.chance.choice(self.sites))
            if self.chance.random() < 0.4:
                await self._change_link()
            deeds = [self._deed() for _ in range(self.chance.randint(1, 5))]
            await gatherResults([Deferred.fromCoroutine(cast("Any", deed)) for deed in deeds])
            if self.chance.random() < 0.3:
                await self.chance.choice(self.sites).follower.sync()
            if self.chance.random() < 0.2:
                # Something gets through before the next.
                await deferLater(cast("Any", reactor), self.chance.random() * 0.3)

    async def settle(self, patience_s: float) -> None:
        """All links work again, and all back-offs are over; wait until all servers have everything."""
        for one, other in sorted(self._cut):
            mend(self.sites[one].server, self.sites[other].server)
        self._cut.clear()
        await self._pass(hours=25)
        await self.until_all_agree(patience_s, on_state=False)
        # What one server has soft-failed, another may have accepted: it counts for all once that one says something.
        for site in [*self.sites[1:], self.sites[0]]:
            for room in self.rooms:
                room.sent.append(await site.anchor.send(room.room_id, "the end"))
            await self.until_all_agree(patience_s, on_state=site is self.sites[0])
        for site in self.sites:
            await site.follower.sync()

    async def until_all_agree(
        self, patience_s: float, *, on_events: bool = True, on_state: bool = True
    ) -> None:
        """Wait until all servers have the same events of all rooms, nothing left to do, and the same state."""
        deadline = cast("Any", reactor).seconds() + patience_s
        while True:
            difference = await self.difference(on_events=on_events, on_state=on_state)
            if difference is None:
                return
            assert cast("Any", reactor).seconds() < deadline, difference
            await self._pass(hours=0.02)
            await deferLater(cast("Any", reactor), LOOK_AGAIN_S)

    async def difference(self, *, on_events: bool = True, on_state: bool = True) -> str | None:
        """What the servers do not agree on."""
        for site in self.sites:
            waiting = await site.server.running.server.database.read(undone)
            if waiting:
                return f"{site.server.server_name} has {waiting} events to process"
        for room in self.rooms:
            contents = await self.contents(room)
            missing = [set(room.sent) - set(each.statuses) for each in contents]
            if any(missing):
                return f"{room.version}: sent and not there: {[len(each) for each in missing]}"
            # An invitation, which the invited's server gets first, may come to nothing: then only that one has it,
            # and if it has soft-failed it, nobody will ever hear of it.
            union = set().union(*(each.known for each in contents)) - room.beginning
            lacking = [len(union - each.statuses.keys()) for each in contents]
            if on_events and any(lacking):
                stories = [_stories(union - each.statuses.keys(), contents) for each in contents]
                return f"{room.version}: events that some server has and this one lacks: {stories}"
            if on_state and any(each.state != contents[0].state for each in contents):
                return f"{room.version}: {_state_difference(contents)}"
            if on_state and any(each.extremities != contents[0].extremities for each in contents):
                return f"{room.version}: extremities {[sorted(each.extremities) for each in contents]}"
        return None

    async def contents(self, room: SharedRoom) -> list[RoomContents]:
        """The room on each server."""
        found = []
        for site in self.sites:
            contents = await site.server.running.server.database.read(room_contents, room.room_id)
            assert contents is not None, f"{site.server.server_name} does not know {room.room_id}"
            found.append(contents)
        return found

    async def _empower_all(self, creator: Client, room_id: str) -> None:
        """At first anchors may do everything, and the others more or less."""
        levels = (await creator.get(room_path(room_id, "state", "m.room.power_levels", ""))).ok()
        users = {
            user.user_id: 100 if user is site.anchor else self.chance.choice([0, 50, 75])
            for site in self.sites
            for user in site.users
            if user is not creator
        }
        changed = {**levels, "users": {**levels.get("users", {}), **users}}
        await creator.set_state(room_id, "m.room.power_levels", changed)

    async def _change_link(self) -> None:
        """Cut a link that works, or mend one that does not; rather the latter."""
        if len(self.sites) < 2:
            return
        one, other = self.chance.sample(range(len(self.sites)), 2)
        if self._alone in {one, other}:
            return
        link = min(one, other), max(one, other)
        ends = self.sites[link[0]].server, self.sites[link[1]].server
        if link in self._cut:
            self._cut.discard(link)
            mend(*ends)
            await self._pass(hours=self.chance.choice([0, 0, 1]))
        elif self.chance.random() < 0.7:
            self._cut.add(link)
            cut(*ends)

    async def _pass(self, *, hours: float) -> None:
        """Let time pass. Connections that have been idle for so long would be closed: the clients do that."""
        self.clock.advance(hours=hours)
        for site in self.sites:
            await cast("Deferred[None]", site.server.running.pool.closeCachedConnections())

    async def _restart(self, site: Site) -> None:
        await site.server.stop()
        await site.server.start()
        for user in site.users:
            site.server.reconnect(user)

    # What users do.

    def _deed(self) -> Awaitable[None]:
        deeds: dict[Callable[[Site, Client, SharedRoom], Awaitable[Answer]], int] = {
            self._say: 10,
            self._set: 5,
            self._redact: 3,
            self._move: 5,
            self._come_or_go: 3,
            self._empower: 3,
            self._rename: 1,
        }
        deed = self.chance.choices(list(deeds), list(deeds.values()))[0]
        site = self.chance.choice(self.sites)
        return self._do(deed(site, self.chance.choice(site.users), self.chance.choice(self.rooms)))

    async def _do(self, deed: Awaitable[Answer]) -> None:
        """Whether it is allowed is not asked before; a server must always know what to say."""
        answer = await deed
        self.answers[f"{answer.status} {answer.json.get('errcode', '')}".strip()] += 1
        # Somebody on a server that cannot be reached cannot be invited.
        assert answer.status in {200, 400, 403, 404, 502}, (answer.status, answer.json)

    async def _send(self, room: SharedRoom, request: Awaitable[Answer]) -> Answer:
        """A request whose answer names the event that it has made."""
        answer = await request
        if answer.status == 200 and "event_id" in answer.json:
            room.sent.append(answer.json["event_id"])
        return answer

    async def _say(self, _: Site, user: Client, room: SharedRoom) -> Answer:
        path = room_path(room.room_id, "send", "m.room.message", f"s{next(_numbers)}")
        text = f"message {self.chance.randrange(10**9)}"
        return await self._send(room, user.put(path, {"msgtype": "m.text", "body": text}))

    async def _set(self, _: Site, user: Client, room: SharedRoom) -> Answer:
        event_type, key = self.chance.choice(
            [("m.room.topic", ""), ("m.room.name", ""), ("org.example.s", "a"), ("org.example.s", "b")]
        )
        value = f"value {self.chance.randrange(10**9)}"
        body = {"topic": value, "name": value, "value": value}
        return await self._send(room, user.put(room_path(room.room_id, "state", event_type, key), body))

    async def _redact(self, _: Site, user: Client, room: SharedRoom) -> Answer:
        if not room.sent:
            return await self._say(_, user, room)
        target = self.chance.choice(room.sent[-20:])
        path = room_path(room.room_id, "redact", target, f"s{next(_numbers)}")
        return await self._send(room, user.put(path, {}))

    async def _move(self, _: Site, user: Client, room: SharedRoom) -> Answer:
        """Kick, ban, unban or invite somebody who is no anchor."""
        target = self.chance.choice([each for site in self.sites for each in site.users[1:]])
        what = self.chance.choice(["kick", "ban", "unban", "invite"])
        return await user.post(room_path(room.room_id, what), {"user_id": target.user_id})

    async def _come_or_go(self, site: Site, _: Client, room: SharedRoom) -> Answer:
        user = self.chance.choice(site.users[1:])
        if self.chance.random() < 0.6:
            return await user.post(path_of("join", room.room_id))
        return await user.post(room_path(room.room_id, "leave"))

    async def _empower(self, site: Site, _: Client, room: SharedRoom) -> Answer:
        """An anchor gives somebody another power level, as far as it knows the present ones."""
        path = room_path(room.room_id, "state", "m.room.power_levels", "")
        levels = (await site.anchor.get(path)).ok()
        target = self.chance.choice([each for other in self.sites for each in other.users])
        level = self.chance.choice([0, 25, 50, 50, 75, 100])
        changed = {**levels, "users": {**levels.get("users", {}), target.user_id: level}}
        return await self._send(room, site.anchor.put(path, changed))

    async def _rename(self, _: Site, user: Client, __: SharedRoom) -> Answer:
        path = path_of("profile", user.user_id, "displayname")
        return await user.put(path, {"displayname": f"Name {self.chance.randrange(10**9)}"})


def _stories(event_ids: set[str], contents: list[RoomContents]) -> list[str]:
    """What those who have these events know about them."""
    return [
        f"{event_id}: {each.statuses[event_id]}, {each.stories[event_id]}"
        for event_id in sorted(event_ids)
        for each in contents
        if event_id in each.statuses
    ]


def _state_difference(contents: list[RoomContents]) -> str:
    keys = sorted({key for each in contents for key in each.state})
    differing = {
        key: [each.state.get(key) for each in contents]
        for key in keys
        if len({each.state.get(key) for each in contents}) > 1
    }
    return f"states differ: {differing}"
