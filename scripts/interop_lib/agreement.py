"""Several servers in one room, whose users do things at the same time: in the end all must have the same state.

On each server the first user, its anchor, stays in the room; nobody can put it out. What the others do may well be
forbidden: then the servers must agree on that, too.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from interop_lib.clients import Client, RefusedError, StepError

SETTLE_S = 60.0
State = dict[tuple[str, str], str]


@dataclass
class Place:
    """One server's part: its anchor, and another user."""

    name: str
    anchor: Client
    other: Client


@dataclass
class Conversation:
    """A room, and what has been said in it by those who always may."""

    version: str
    chance: Random
    places: list[Place]
    room_id: str = ""
    said: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    async def begin(self) -> None:
        """All join, and get their power levels."""
        home, *others = self.places
        self.room_id = await home.anchor.create_room(self.version, preset="public_chat")
        for place in self.places:
            for client in (place.anchor, place.other):
                if client is not home.anchor:
                    await client.join(self.room_id, via=home.anchor.server_name)
        levels = await home.anchor.state(self.room_id, "m.room.power_levels")
        users = levels.setdefault("users", {})
        users |= {place.anchor.user_id: 100 for place in others}
        users |= {place.other.user_id: 50 for place in self.places}
        event_id = await home.anchor.set_state(self.room_id, "m.room.power_levels", levels)
        for place in self.places:
            room = place.anchor.room(self.room_id)
            await place.anchor.until(lambda room=room: room.has(event_id), "the power levels", SETTLE_S)

    async def live(self, bursts: int) -> None:
        """Things happen on all servers at the same time."""
        for _ in range(bursts):
            await asyncio.gather(*(self._deed() for _ in range(self.chance.randint(2, 6))))
            await asyncio.sleep(self.chance.choice([0, 0, 0, 0.05, 0.3]))

    async def end(self) -> str:
        """Wait until all have heard from all, and compare. Errors: StepError."""
        for place in self.places:
            self.said.append(await place.anchor.send(self.room_id, f"the end of {place.name}"))
        await self._until_all_have_it()
        self.said.append(await self.places[0].anchor.send(self.room_id, "the very end"))
        await self._until_all_have_it()
        states = [await self._state(place.anchor) for place in self.places]
        self._compare(states)
        counted = ", ".join(f"{count} x {what}" for what, count in sorted(self.answers.items()))
        return f"{len(states[0])} state events, {len(self.said)} messages; {counted}"

    async def _until_all_have_it(self) -> None:
        for place in self.places:
            room = place.anchor.room(self.room_id)
            await place.anchor.until(
                lambda room=room: room.has(self.said[-1]), f"the end, on {place.name}", SETTLE_S
            )
            deadline = asyncio.get_running_loop().time() + SETTLE_S
            while missing := [each for each in self.said if not await self._is_there(place.anchor, each)]:
                if asyncio.get_running_loop().time() > deadline:
                    raise StepError(f"{place.name} lacks {len(missing)} of {len(self.said)} messages")
                await place.anchor.sync()

    async def _is_there(self, client: Client, event_id: str) -> bool:
        if client.room(self.room_id).has(event_id):
            return True
        try:
            await client.get("rooms", self.room_id, "event", event_id)
        except RefusedError:
            return False
        return True

    async def _state(self, client: Client) -> State:
        events: list[Any] = await client.get("rooms", self.room_id, "state")
        return {(event["type"], event["state_key"]): event["event_id"] for event in events}

    def _compare(self, states: list[State]) -> None:
        first = states[0]
        for place, state in zip(self.places, states, strict=True):
            differing = [key for key in first.keys() | state.keys() if first.get(key) != state.get(key)]
            if differing:
                raise StepError(f"the state on {place.name} differs in {sorted(differing)}")

    async def _deed(self) -> None:
        place = self.chance.choice(self.places)
        deeds: dict[Callable[[Place], Awaitable[object]], int] = {
            self._say: 8,
            self._set: 6,
            self._move: 5,
            self._come_or_go: 3,
            self._empower: 3,
        }
        deed = self.chance.choices(list(deeds), list(deeds.values()))[0]
        try:
            await deed(place)
        except RefusedError as error:
            if error.status >= 500:
                raise
            self.answers[f"{error.status} {error.errcode}"] += 1
        else:
            self.answers["200"] += 1

    async def _say(self, place: Place) -> None:
        self.said.append(await place.anchor.send(self.room_id, f"message {self.chance.randrange(10**9)}"))

    async def _set(self, place: Place) -> None:
        client = self.chance.choice([place.anchor, place.other])
        event_type, key = self.chance.choice(
            [("m.room.topic", ""), ("m.room.name", ""), ("org.example.s", "a"), ("org.example.s", "b")]
        )
        value = f"value {self.chance.randrange(10**9)}"
        await client.set_state(self.room_id, event_type, {"topic": value, "name": value, "value": value}, key)

    async def _move(self, place: Place) -> None:
        client = self.chance.choice([place.anchor, place.other])
        target = self.chance.choice(self.places).other
        await client.act(self.room_id, self.chance.choice(["kick", "ban", "unban", "invite"]), target.user_id)

    async def _come_or_go(self, place: Place) -> None:
        what = "join" if self.chance.random() < 0.6 else "leave"
        await place.other.post("rooms", self.room_id, what)

    async def _empower(self, place: Place) -> None:
        levels = await place.anchor.state(self.room_id, "m.room.power_levels")
        target = self.chance.choice(self.places).other
        levels.setdefault("users", {})[target.user_id] = self.chance.choice([0, 25, 50, 75])
        await place.anchor.set_state(self.room_id, "m.room.power_levels", levels)
