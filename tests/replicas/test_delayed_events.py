"""MSC4140 with two processes: what is scheduled at one is sent once, by whichever is there."""

from typing import Any

from tests.api.server import Client
from tests.replicas.conftest import Person, Replicas
from tests.replicas.test_replicas import bodies, together

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"


async def schedule(client: Client, room: str, text: str, delay_ms: int) -> str:
    path = f"{UNSTABLE}/rooms/{room}/delayed_event/m.room.message/{text}"
    body = {"delay_ms": delay_ms, "content": {"msgtype": "m.text", "body": text}}
    return str((await client.put(path, body)).ok()["delay_id"])


async def sent_since(client: Client, room: str, since: str, wanted: int) -> tuple[list[str], str]:
    """The next messages of a room, as many as are wanted, and the token after them."""
    found: list[str] = []
    while len(found) < wanted:
        answer: Any = await client.sync(since, timeout=30_000)
        since = answer["next_batch"]
        if "rooms" in answer:
            found += bodies(answer, room)
    return found, since


async def test_each_is_sent_once_also_if_the_process_that_was_asked_dies(
    replicas: Replicas, alice: Person, bob: Person
) -> None:
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.b.sync())["next_batch"]
    texts = [f"m{number}" for number in range(24)]
    ids = await together(
        *(schedule((alice.a, alice.b)[number % 2], room, text, 600) for number, text in enumerate(texts))
    )
    found, since = await sent_since(bob.b, room, since, len(texts))
    assert sorted(found) == sorted(texts)
    outcomes = [(await alice.b.get(f"{UNSTABLE}/delayed_events/{delay_id}")).ok() for delay_id in ids]
    assert len({each["finalised"]["event_id"] for each in outcomes}) == len(texts)
    assert sorted(await bob.a.messages_in(room)) == sorted(texts)

    await schedule(alice.a, room, "sent", 1_500)
    restarted = await schedule(alice.a, room, "restarted", 1_500)
    cancelled = await schedule(alice.a, room, "cancelled", 1_500)
    await replicas.a.kill()
    (await alice.b.post(f"{UNSTABLE}/delayed_events/{cancelled}/cancel")).ok()
    (await alice.b.post(f"{UNSTABLE}/delayed_events/{restarted}/restart")).ok()
    found, _ = await sent_since(bob.b, room, since, 2)
    assert found == ["sent", "restarted"]
    assert (await bob.b.messages_in(room))[len(texts) :] == ["sent", "restarted"]
