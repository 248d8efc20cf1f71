"""A connection of sliding sync is the server's, not a process's."""

from twisted.internet.defer import Deferred

from tests.api.client.sliding_sync.harness import STABLE, Sliding, bodies, one_list
from tests.replicas.conftest import Person


async def test_a_connection_through_either_process(alice: Person, bob: Person) -> None:
    rooms = [await alice.a.create_room(preset="public_chat") for _ in range(3)]
    for room in rooms:
        await bob.b.join(room)
    client = Sliding(bob.a)
    assert set((await client.ask(lists=one_list(last=0)))["rooms"]) == {rooms[2]}
    client.client = bob.b
    assert set((await client.ask(lists=one_list(last=1)))["rooms"]) == {rooms[1]}
    seen = []
    for number in range(6):
        sender = (alice.a, alice.b)[number // 2 % 2]
        client.client = (bob.a, bob.b)[number % 2]
        waiting = Deferred.fromCoroutine(client.ask(lists=one_list(last=1), timeout=20_000))
        await sender.send(rooms[2], f"m{number}")
        seen += bodies((await waiting)["rooms"][rooms[2]])
    assert seen == [f"m{number}" for number in range(6)]
    # What one process ends, the other knows of.
    anew = Sliding(bob.a)
    await anew.ask(lists=one_list())
    (await bob.b.post(STABLE, {"pos": client.pos})).error(400, "M_UNKNOWN_POS")
    await alice.b.send(rooms[0], "new")
    anew.client = bob.b
    assert bodies((await anew.ask(lists=one_list()))["rooms"][rooms[0]]) == ["new"]
