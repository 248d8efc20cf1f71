"""Client-server API, "Receiving notifications": the counts after any sequence of what changes them.

What a client is told step by step, from memory as from the database, is what a new client is told, and what the
specification says.
"""

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from tests.api.client.relations_harness import redact
from tests.api.client.sliding_sync.harness import Sliding, old_list
from tests.api.server import Client, path_of, room_path

BY_THREAD = {"room": {"timeline": {"unread_thread_notifications": True}}}
STEPS = 25

Counts = dict[str | None, tuple[int, int]]
"""Notifications and highlights by thread; `None` is the main timeline."""


@attrs.define
class Said:
    """A message, and what it means to Bob."""

    event_id: str
    sender: Client
    thread: str | None
    notifies: bool
    highlights: bool
    is_reply: bool
    is_redacted: bool = False

    @property
    def shown_in(self) -> str | None:
        return None if self.is_redacted else self.thread


@attrs.define
class Story:
    """What three people do in a room, at random, and what Bob has to be told of it."""

    alice: Client
    bob: Client
    carol: Client
    room: str
    draw: random.Random
    roots: list[str]
    said: list[Said] = attrs.field(factory=list)
    read: dict[str | None, int] = attrs.field(factory=lambda: defaultdict(int))
    """How many of the messages Bob has read, by thread; the empty one stands for all threads."""
    is_carol_ignored: bool = False
    is_muted: bool = False

    async def step(self) -> None:
        actions: list[Callable[[], Awaitable[None]]] = [
            *[self.others_say] * 6,
            *[self.bob_says] * 2,
            *[self.bob_reads] * 3,
            *[self.somebody_redacts] * 2,
            self.bob_ignores,
            self.bob_mutes,
        ]
        await self.draw.choice(actions)()

    async def say(self, sender: Client) -> str:
        thread = self.draw.choice([None, None, *self.roots])
        replies = [each for each in self.said if each.is_reply]
        is_reply = False
        extra: dict[str, Any] = {}
        if is_mention := self.draw.random() < 0.3:
            extra["m.mentions"] = {"user_ids": [self.bob.user_id]}
        if thread is not None and replies and self.draw.random() < 0.3:
            # In the thread of the reply that it refers to, if that still is in one.
            parent = self.draw.choice(replies)
            thread = parent.shown_in
            extra["m.relates_to"] = {"rel_type": "m.reference", "event_id": parent.event_id}
            event_id = await sender.send(self.room, "on that", **extra)
        elif thread is None:
            event_id = await sender.send(self.room, "x", **extra)
        else:
            is_reply = True
            extra["m.relates_to"] = {"rel_type": "m.thread", "event_id": thread}
            event_id = await sender.send(self.room, "x", **extra)
        is_heard = sender is self.alice or (sender is self.carol and not self.is_carol_ignored)
        self.said.append(
            Said(
                event_id,
                sender,
                thread,
                is_heard and (is_mention or not self.is_muted),
                is_heard and is_mention,
                is_reply,
            )
        )
        if sender is self.bob:
            self.read[thread] = len(self.said)
        return event_id

    async def others_say(self) -> None:
        await self.say(self.draw.choice([self.alice, self.carol]))

    async def bob_says(self) -> None:
        await self.say(self.bob)

    async def bob_reads(self) -> None:
        if not self.said:
            return
        number = self.draw.randrange(len(self.said))
        target = self.said[number]
        thread, body = self.draw.choice(
            [("", {}), (target.shown_in, {"thread_id": target.shown_in or "main"})]
        )
        kind = self.draw.choice(["m.read", "m.read.private"])
        (await self.bob.post(room_path(self.room, "receipt", kind, target.event_id), body)).ok()
        self.read[thread] = max(self.read[thread], number + 1)

    async def somebody_redacts(self) -> None:
        left = [each for each in self.said if not each.is_redacted]
        if left:
            target = self.draw.choice(left)
            await redact(self.draw.choice([self.alice, target.sender]), self.room, target.event_id)
            target.is_redacted = True

    async def bob_ignores(self) -> None:
        self.is_carol_ignored = not self.is_carol_ignored
        ignored: dict[str, Any] = {self.carol.user_id: {}} if self.is_carol_ignored else {}
        path = path_of("user", self.bob.user_id, "account_data", "m.ignored_user_list")
        (await self.bob.put(path, {"ignored_users": ignored})).ok()

    async def bob_mutes(self) -> None:
        self.is_muted = not self.is_muted
        path = path_of("pushrules", "global", "room", self.room)
        if self.is_muted:
            (await self.bob.put(path, {"actions": []})).ok()
        else:
            (await self.bob.delete(path)).ok()

    def expected(self) -> Counts:
        counts: Counts = {None: (0, 0)}
        for number, each in enumerate(self.said):
            is_ignored = each.sender is self.carol and self.is_carol_ignored
            is_read = number < max(self.read[""], self.read[each.thread])
            if each.notifies and not (each.is_redacted or is_ignored or is_read):
                notifications, highlights = counts.get(each.thread, (0, 0))
                counts[each.thread] = notifications + 1, highlights + each.highlights
        return counts


def told(section: Any) -> Counts:
    threads = {None: section["unread_notifications"], **section.get("unread_thread_notifications", {})}
    return {thread: (each["notification_count"], each["highlight_count"]) for thread, each in threads.items()}


@pytest.mark.parametrize("seed", range(5))
async def test_counts_after_any_sequence(alice: Client, bob: Client, carol: Client, seed: int) -> None:
    room = await alice.create_room(preset="public_chat")
    roots = [await alice.send(room, "root") for _ in range(2)]
    for client in (bob, carol):
        await client.join(room)
    story = Story(alice, bob, carol, room, random.Random(seed), roots)
    since = (await bob.sync(filter=BY_THREAD))["next_batch"]
    for _ in range(STEPS):
        for _ in range(story.draw.randrange(4)):
            await story.step()
        last, shown = await story.say(alice), list[str]()
        while last not in shown:
            answer = await bob.sync(since, timeout=10_000, filter=BY_THREAD)
            since = answer["next_batch"]
            section = answer.get("rooms", {}).get("join", {}).get(room, {})
            shown = [event["event_id"] for event in section.get("timeline", {}).get("events", ())]
        assert told(section) == story.expected()
        fresh = (await bob.sync(filter=BY_THREAD))["rooms"]["join"][room]
        assert told(fresh) == story.expected()
        sliding = (await Sliding(bob).ask_old(lists=old_list()))["rooms"][room]
        sums = (sliding["notification_count"], sliding["highlight_count"])
        assert sums == tuple(map(sum, zip(*story.expected().values(), strict=True)))
