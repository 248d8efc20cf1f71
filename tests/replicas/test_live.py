"""Delayed events and streams with two processes: MSC4140, `docs/streaming.md`."""

import time
from typing import Any

from tests.api.client.stream_harness import event_source
from tests.api.server import Client
from tests.replicas.conftest import Person, Replicas, person
from tests.replicas.test_replicas import bodies, together

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"


ALL = {"room": {"timeline": {"limit": 1000}}}
"""Many may come at once, of which a sync would show the last ten."""


async def schedule(client: Client, room: str, text: str, delay_ms: int) -> str:
    path = f"{UNSTABLE}/rooms/{room}/delayed_event/m.room.message/{text}"
    body = {"delay_ms": delay_ms, "content": {"msgtype": "m.text", "body": text}}
    return str((await client.put(path, body)).ok()["delay_id"])


async def sent_since(client: Client, room: str, since: str, wanted: int) -> tuple[list[str], str]:
    """The next messages of a room, as many as are wanted, and the token after them."""
    found: list[str] = []
    while len(found) < wanted:
        answer: Any = await client.sync(since, timeout=30_000, filter=ALL)
        since = answer["next_batch"]
        if "rooms" in answer:
            found += bodies(answer, room)
    return found, since


async def check_logout(carol: Person) -> None:
    """A stream ends at once; after the pause of a heartbeat it would end by itself, so the time is taken."""
    async with event_source(carol.a) as source:
        await source.answer()
        started = time.monotonic()
        (await carol.b.post("/_matrix/client/v3/logout")).ok()
        assert (await source.end())[-1].data["errcode"] == "M_UNKNOWN_TOKEN"
        assert time.monotonic() - started < 10


async def test_what_is_told_to_one_counts_at_both_also_when_one_dies(
    replicas: Replicas, alice: Person, bob: Person
) -> None:
    """One test, since two processes take their time to start."""
    await check_logout(await person(replicas, "carol"))
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.b.sync())["next_batch"]
    restarted = await schedule(alice.a, room, "restarted", 2_000)
    cancelled = await schedule(alice.a, room, "cancelled", 2_000)
    texts = [f"m{number}" for number in range(48)]
    ids = await together(
        *(schedule((alice.a, alice.b)[number % 2], room, text, 600) for number, text in enumerate(texts))
    )
    found, since = await sent_since(bob.b, room, since, 1)
    await replicas.a.kill()
    (await alice.b.post(f"{UNSTABLE}/delayed_events/{cancelled}/cancel")).ok()
    (await alice.b.post(f"{UNSTABLE}/delayed_events/{restarted}/restart")).ok()
    rest, since = await sent_since(bob.b, room, since, len(texts) + 1 - len(found))
    assert sorted(found + rest) == sorted([*texts, "restarted"])
    outcomes = [(await alice.b.get(f"{UNSTABLE}/delayed_events/{delay_id}")).ok() for delay_id in ids]
    assert len({each["finalised"]["event_id"] for each in outcomes}) == len(texts)
    assert sorted(await bob.b.messages_in(room)) == sorted([*texts, "restarted"])
