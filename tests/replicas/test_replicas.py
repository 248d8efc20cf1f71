"""Two processes on one database are one server: whatever goes into one comes out of the other."""

import signal
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater

from tests.api.server import PASSWORD, path_of, room_path
from tests.processes import ServerProcess
from tests.replicas.conftest import Person, RedisLink, Replicas, person

T = TypeVar("T")

SOON_S = 2.5
"""With Redis. Without, nobody hears of anything before the next tick, 5 seconds after the last at most."""

TICK_S = 7.0


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all of it at the same time."""
    return await gatherResults([Deferred.fromCoroutine(each) for each in work], consumeErrors=True)


async def pause(seconds: float) -> None:
    """Let time go by, where something must not happen meanwhile."""
    await deferLater(reactor, seconds)


def bodies(answer: Any, room: str) -> list[str]:
    timeline = answer["rooms"]["join"][room]["timeline"]["events"]
    return [event["content"]["body"] for event in timeline if event["type"] == "m.room.message"]


async def test_sent_through_either_and_synced_from_either(alice: Person, bob: Person) -> None:
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    await alice.a.send(room, "one")
    await bob.b.send(room, "two")
    await alice.b.send(room, "three")
    await bob.a.send(room, "four")
    for client in (alice.a, alice.b, bob.a, bob.b):
        assert bodies(await client.sync(), room) == ["one", "two", "three", "four"]
        assert await client.messages_in(room) == ["one", "two", "three", "four"]


async def test_tokens_are_interchangeable(alice: Person, bob: Person) -> None:
    """A conversation that is followed through the two processes by turns."""
    room = await alice.a.create_room(preset="public_chat")
    await bob.a.join(room)
    since = (await bob.a.sync())["next_batch"]
    seen = []
    for number in range(12):
        sender, reader = ((alice.a, bob.b), (alice.b, bob.a), (alice.a, bob.a))[number % 3]
        await sender.send(room, f"m{number}")
        answer = await reader.sync(since, timeout=10_000)
        since = answer["next_batch"]
        seen += bodies(answer, room)
    assert seen == [f"m{number}" for number in range(12)]
    assert "rooms" not in await bob.a.sync(since)
    assert "rooms" not in await bob.b.sync(since)


async def test_pages_are_interchangeable(alice: Person) -> None:
    room = await alice.a.create_room()
    for number in range(30):
        await alice.a.send(room, f"m{number}")
    found: list[str] = []
    start: dict[str, str] = {}
    for client in (alice.a, alice.b) * 4:
        page = (await client.get(room_path(room, "messages"), dir="b", limit=8, **start)).ok()
        found += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if "end" not in page:
            break
        start = {"from": page["end"]}
    assert found == [f"m{number}" for number in range(29, -1, -1)]


async def test_a_transaction_id_counts_at_both(alice: Person) -> None:
    room = await alice.a.create_room()
    for number in range(3):
        path = room_path(room, "send", "m.room.message", f"t{number}")
        body = {"msgtype": "m.text", "body": f"m{number}"}
        answers = await together(*(client.put(path, body) for client in (alice.a, alice.b) * 5))
        assert len({answer.ok()["event_id"] for answer in answers}) == 1
    assert await alice.b.messages_in(room) == ["m0", "m1", "m2"]


async def test_many_senders_at_both(alice: Person, bob: Person) -> None:
    """The room's order is one, and everything is in it once."""
    room = await alice.a.create_room(preset="public_chat")
    await bob.a.join(room)
    since = (await bob.a.sync())["next_batch"]
    clients = (alice.a, alice.b, bob.a, bob.b)
    event_ids = await together(
        *(
            client.send(room, f"{place} {number}")
            for number in range(25)
            for place, client in enumerate(clients)
        )
    )
    at_a, at_b = await together(*(client.messages_in(room) for client in (alice.a, alice.b)))
    assert at_a == at_b
    assert sorted(at_a) == sorted(f"{place} {number}" for number in range(25) for place in range(4))
    assert len(set(event_ids)) == 100
    synced: list[str] = []
    for client in (bob.a, bob.b) * 10:
        answer = await client.sync(since, filter={"room": {"timeline": {"limit": 100}}})
        since = answer["next_batch"]
        synced += bodies(answer, room) if "rooms" in answer else []
    assert synced == at_a


async def test_state_set_at_both_is_one_state(alice: Person) -> None:
    room = await alice.a.create_room()
    await together(
        *(
            client.set_state(
                room, "org.example.counter", {"place": place, "number": number}, state_key=str(number)
            )
            for number in range(20)
            for place, client in enumerate((alice.a, alice.b))
        )
    )
    states = [(await client.get(room_path(room, "state"))).ok() for client in (alice.a, alice.b)]
    assert [event["event_id"] for event in states[0]] == [event["event_id"] for event in states[1]]
    assert sum(event["type"] == "org.example.counter" for event in states[0]) == 20


async def test_what_is_redacted_at_one_can_be_set_anew_at_the_other(alice: Person) -> None:
    """The other process may remember the event as it was."""
    room = await alice.a.create_room()
    topic = await alice.a.set_state(room, "m.room.topic", {"topic": "A topic"})
    assert await alice.b.set_state(room, "m.room.topic", {"topic": "A topic"}) == topic
    (await alice.a.put(room_path(room, "redact", topic, "r1"))).ok()
    assert (await alice.b.get(room_path(room, "state", "m.room.topic"))).ok() == {}
    assert await alice.b.set_state(room, "m.room.topic", {"topic": "A topic"}) != topic
    assert (await alice.a.get(room_path(room, "state", "m.room.topic"))).ok() == {"topic": "A topic"}


async def test_a_logout_at_one_counts_at_the_other_at_once(replicas: Replicas, alice: Person) -> None:
    other = await replicas.a.door().device(alice.a)
    (await replicas.b.client(other).get(path_of("account", "whoami"))).ok()
    (await other.post(path_of("logout"))).ok()
    (await replicas.b.client(other).get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    (await alice.b.get(path_of("account", "whoami"))).ok()
    (await alice.b.post(path_of("logout", "all"))).ok()
    (await alice.a.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")


async def test_user_interactive_authentication_may_change_its_process(
    replicas: Replicas, alice: Person
) -> None:
    """Started at one, finished at the other."""
    other = await replicas.b.door().device(alice.b)
    path = path_of("devices", other.device_id)
    asked = (await alice.a.delete(path, {})).json
    identifier = {"type": "m.id.user", "user": alice.user_id}
    auth = {
        "type": "m.login.password",
        "identifier": identifier,
        "password": PASSWORD,
        "session": asked["session"],
    }
    wrong = await alice.b.delete(path, {"auth": {**auth, "password": "wrong"}})
    assert (wrong.status, wrong.json["session"]) == (401, asked["session"])
    (await alice.b.delete(path, {"auth": auth})).ok()
    (await other.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    devices = (await alice.a.get(path_of("devices"))).ok()["devices"]
    assert [device["device_id"] for device in devices] == [alice.a.device_id]


async def test_typing_and_receipts_cross(alice: Person, bob: Person) -> None:
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    event_id = await alice.a.send(room, "one")
    since = (await bob.b.sync())["next_batch"]
    (await alice.a.put(room_path(room, "typing", alice.user_id), {"typing": True, "timeout": 30_000})).ok()
    answer = await bob.b.sync(since, timeout=10_000)
    (typing,) = answer["rooms"]["join"][room]["ephemeral"]["events"]
    assert typing["content"] == {"user_ids": [alice.user_id]}
    (await alice.a.post(room_path(room, "receipt", "m.read", event_id))).ok()
    answer = await bob.b.sync(answer["next_batch"], timeout=10_000)
    (receipt,) = answer["rooms"]["join"][room]["ephemeral"]["events"]
    assert alice.user_id in receipt["content"][event_id]["m.read"]
    (await bob.a.put(room_path(room, "typing", alice.user_id), {"typing": True})).error(403, "M_FORBIDDEN")


async def test_what_a_user_keeps_crosses(alice: Person) -> None:
    since = (await alice.b.sync())["next_batch"]
    data = path_of("user", alice.user_id, "account_data", "org.example.data")
    (await alice.a.put(data, {"a": 1})).ok()
    assert (await alice.b.get(data)).ok() == {"a": 1}
    answer = await alice.b.sync(since, timeout=10_000)
    assert {"type": "org.example.data", "content": {"a": 1}} in answer["account_data"]["events"]
    made = (
        await alice.a.post(path_of("user", alice.user_id, "filter"), {"room": {"timeline": {"limit": 1}}})
    ).ok()
    stored = await alice.b.get(path_of("user", alice.user_id, "filter", made["filter_id"]))
    assert stored.ok() == {"room": {"timeline": {"limit": 1}}}
    name = path_of("profile", alice.user_id, "displayname")
    (await alice.a.put(name, {"displayname": "Alice"})).ok()
    assert (await alice.b.get(name)).ok() == {"displayname": "Alice"}


async def wake(sender: Person, reader: Person, room: str, since: str, text: str) -> tuple[str, float]:
    """Send at A while a poll waits at B; the next token, and how long the poll took to hear of it."""
    poll = Deferred.fromCoroutine(reader.b.sync(since, timeout=30_000))
    # Its request has been taken up when another one on a new connection has been answered.
    await together(*(reader.b.get(path_of("account", "whoami")) for _ in range(3)))
    sent = time.monotonic()
    await sender.a.send(room, text)
    answer = await poll
    assert bodies(answer, room) == [text]
    return answer["next_batch"], time.monotonic() - sent


async def test_a_waiting_poll_is_woken_through_redis(alice: Person, bob: Person) -> None:
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.b.sync())["next_batch"]
    took = []
    for number in range(8):
        since, seconds = await wake(alice, bob, room, since, f"m{number}")
        took.append(seconds)
    assert sorted(took)[4] < 1.0, took
    assert max(took) < SOON_S, took


async def test_without_redis_a_waiting_poll_is_woken_by_the_tick(
    replicas: Replicas, redis: RedisLink, alice: Person, bob: Person
) -> None:
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.b.sync())["next_batch"]
    await redis.cut()
    for number in range(2):
        since, seconds = await wake(alice, bob, room, since, f"without {number}")
        assert seconds < TICK_S
    # All else goes on as well.
    assert await alice.b.messages_in(room) == ["without 0", "without 1"]
    redis.mend()
    await until_woken_quickly(alice, bob, room, since)
    for process in (replicas.a, replicas.b):
        assert len([record for record in process.complaints if record["event"].startswith("bus")]) <= 3
        assert not [record for record in process.complaints if record["level"] == "error"]


async def until_woken_quickly(alice: Person, bob: Person, room: str, since: str) -> None:
    """Redis is found again by itself, soon."""
    for number in range(10):
        since, seconds = await wake(alice, bob, room, since, f"again {number}")
        if seconds < 1.0:
            since, seconds = await wake(alice, bob, room, since, f"and again {number}")
            if seconds < 1.0:
                return
    raise AssertionError("Redis is not found again")


async def test_presence_crosses_without_redis(redis: RedisLink, alice: Person, bob: Person) -> None:
    """The tail does not follow presence: who waits for it is woken for any that came without a hint."""
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.b.sync())["next_batch"]
    await redis.cut()
    await pause(1.5)  # B has noticed
    started = time.monotonic()
    (
        await alice.a.put(
            path_of("presence", alice.user_id, "status"), {"presence": "online", "status_msg": "x"}
        )
    ).ok()
    while time.monotonic() - started < 3 * TICK_S:
        answer = await bob.b.sync(since, timeout=30_000)
        since = answer["next_batch"]
        events = answer.get("presence", {}).get("events", [])
        if any(event["content"].get("status_msg") == "x" for event in events):
            break
    assert time.monotonic() - started < TICK_S


async def test_a_killed_process_takes_nothing_with_it(replicas: Replicas, alice: Person, bob: Person) -> None:
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.b.sync())["next_batch"]
    for number in range(5):
        await alice.a.send(room, f"m{number}")
    await replicas.a.kill()
    for number in range(5, 8):
        await alice.b.send(room, f"m{number}")
    answer = await bob.b.sync(since)
    assert bodies(answer, room) == [f"m{number}" for number in range(8)]
    (await bob.b.put(room_path(room, "typing", bob.user_id), {"typing": True, "timeout": 2_000})).ok()

    await replicas.a.start()
    back = replicas.a.client(alice.a)
    assert await back.messages_in(room) == [f"m{number}" for number in range(8)]
    await back.send(room, "m8")
    assert bodies(await bob.b.sync(answer["next_batch"]), room) == ["m8"]


async def test_a_killed_process_in_the_middle_of_writes(
    replicas: Replicas, alice: Person, bob: Person
) -> None:
    """Whatever it held locked is free at once, and the others see no hole."""
    room = await alice.a.create_room(preset="public_chat")
    await bob.a.join(room)

    async def send(number: int) -> str | None:
        try:
            return await alice.a.send(room, f"a{number}")
        except Exception:  # noqa: BLE001 - the process is killed meanwhile
            return None

    doomed = [Deferred.fromCoroutine(send(number)) for number in range(60)]
    await alice.a.send(room, "some have been sent")
    await replicas.a.kill()
    acknowledged = {event_id for event_id in await gatherResults(doomed) if event_id}
    started = time.monotonic()
    await together(*(bob.b.send(room, f"b{number}") for number in range(20)))
    assert time.monotonic() - started < 10
    page = (await bob.b.get(room_path(room, "messages"), dir="f", limit=1000)).ok()
    stored = [event["event_id"] for event in page["chunk"]]
    assert acknowledged <= set(stored)
    assert len(set(stored)) == len(stored)


async def test_a_process_that_hangs_does_not_stop_the_others(
    replicas: Replicas, alice: Person, bob: Person
) -> None:
    """As when its machine is suspended; when it goes on, it catches up."""
    room = await alice.a.create_room(preset="public_chat")
    await bob.b.join(room)
    since = (await bob.a.sync())["next_batch"]
    replicas.a.signal(signal.SIGSTOP)
    try:
        for number in range(10):
            await bob.b.send(room, f"m{number}")
    finally:
        replicas.a.signal(signal.SIGCONT)
    answer = await bob.a.sync(since, timeout=10_000)
    assert bodies(answer, room) == [f"m{number}" for number in range(10)]


async def test_a_process_that_stops_answers_its_polls_and_the_client_goes_on_elsewhere(
    replicas: Replicas, alice: Person
) -> None:
    room = await alice.a.create_room()
    since = (await alice.a.sync())["next_batch"]
    poll = Deferred.fromCoroutine(alice.a.sync(since, timeout=60_000))
    await together(*(alice.a.get(path_of("account", "whoami")) for _ in range(3)))
    assert await replicas.a.stop() == 0
    assert problems(replicas.a) == []
    since = (await poll)["next_batch"]
    await alice.b.send(room, "hello")
    assert bodies(await alice.b.sync(since), room) == ["hello"]


def problems(process: ServerProcess) -> list[str]:
    return [str(record) for record in process.complaints]


async def test_users_made_at_both_at_once(replicas: Replicas) -> None:
    made = await together(*(person(replicas, f"user{number}") for number in range(6)))
    assert len({each.user_id for each in made}) == 6
    doors = [replicas.a.door(), replicas.b.door()]
    outcomes = await DeferredList(
        [Deferred.fromCoroutine(door.user("same")) for door in doors], consumeErrors=True
    )
    assert sorted(succeeded for succeeded, _ in outcomes) == [False, True], "one of the two gets the name"
    assert "M_USER_IN_USE" in repr(outcomes)
