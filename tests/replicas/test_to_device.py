"""Messages to devices with several processes: each device gets each message, whichever process it asks."""

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import path_of
from tests.replicas.conftest import Person
from tests.to_device import put_messages, send_all, send_to, texts_in


async def test_sent_to_either_and_waited_for_at_the_other(alice: Person, bob: Person) -> None:
    since = (await bob.a.sync())["next_batch"]
    for number in range(10):
        sender, receiver = (alice.a, bob.b) if number % 2 else (alice.b, bob.a)
        waiting = Deferred.fromCoroutine(receiver.sync(since, timeout=20_000))
        await send_to(sender, bob.a, number)
        answer = await waiting
        assert texts_in(answer) == [number]
        since = answer["next_batch"]
    assert texts_in(await bob.a.sync(since)) == []
    assert texts_in(await bob.b.sync()) == []


async def test_what_is_acknowledged_at_one_is_not_given_by_the_other(alice: Person, bob: Person) -> None:
    """Whatever each process believes of the inbox."""
    before = (await bob.a.sync())["next_batch"]
    await bob.b.sync(before)
    for number in range(5):
        await send_to(alice.b, bob.a, number)
        answer = await bob.a.sync(before, timeout=20_000)
        assert texts_in(answer) == [number]
        assert texts_in(await bob.b.sync(before, timeout=20_000)) == [number]
        await (bob.b if number % 2 else bob.a).sync(answer["next_batch"])
        for client in (bob.a, bob.b):
            assert texts_in(await client.sync(before)) == []
            assert texts_in(await client.sync()) == []


async def test_batches_from_both_by_turns(alice: Person, bob: Person) -> None:
    since = (await bob.a.sync())["next_batch"]
    await send_all(alice.a, bob.a, range(250))
    seen: list[Any] = []
    for client in (bob.a, bob.b, bob.a):
        answer = await client.sync(since, timeout=20_000)
        seen += texts_in(answer)
        since = answer["next_batch"]
    assert seen == [*range(250)]


async def test_a_transaction_that_comes_to_both_is_done_once(alice: Person, bob: Person) -> None:
    messages = {bob.user_id: {"*": {"text": "once"}}}
    for number in range(10):
        sent = [
            Deferred.fromCoroutine(put_messages(client, messages, txn_id=f"both{number}"))
            for client in (alice.a, alice.b, alice.a, alice.b)
        ]
        for answer in await gatherResults(sent):
            answer.ok()
    assert texts_in(await bob.b.sync()) == ["once"] * 10


async def test_a_device_that_is_removed_at_one_is_sent_nothing_at_the_other(
    alice: Person, bob: Person
) -> None:
    await send_to(alice.a, bob.a, "waits")
    (await bob.a.post(path_of("logout"))).ok()
    await send_to(alice.b, bob.a, "late")
    (await bob.b.get(path_of("sync"))).error(401, "M_UNKNOWN_TOKEN")
