"""MSC4306: subscribing to threads."""

from tests.api.client.sliding_sync.harness import subscription
from tests.api.server import Client, room_path

CONFLICT = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
NOT_IN_THREAD = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"


async def reply(client: Client, room: str, root: str) -> str:
    relation = {"rel_type": "m.thread", "event_id": root}
    content = {"msgtype": "m.text", "body": "reply", "m.relates_to": relation}
    return await client.send_event(room, "m.room.message", content)


async def test_subscribing_by_hand(alice: Client) -> None:
    room = await alice.create_room()
    path = subscription(room, await alice.send(room, "root"))
    (await alice.get(path)).error(404, "M_NOT_FOUND")
    for _ in range(2):
        assert (await alice.delete(path)).ok() == {}
    for _ in range(2):
        assert (await alice.put(path)).ok() == {}
        assert (await alice.get(path)).ok() == {"automatic": False}
    assert (await alice.delete(path)).ok() == {}
    (await alice.get(path)).error(404, "M_NOT_FOUND")


async def test_subscribing_because_of_an_event(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    root, other = await alice.send(room, "root"), await alice.send(room, "other root")
    path = subscription(room, root)
    first, elsewhere = await reply(bob, room, root), await reply(bob, room, other)
    for cause in (root, elsewhere, "$unknown"):
        (await alice.put(path, {"automatic": cause})).error(400, NOT_IN_THREAD)
    (await alice.put(path, {"automatic": "x"})).error(400, "M_INVALID_PARAM")
    (await alice.put(path, {"automatic": first})).ok()
    assert (await alice.get(path)).ok() == {"automatic": True}
    # By hand comes before by itself, in either order.
    (await alice.put(path)).ok()
    assert (await alice.get(path)).ok() == {"automatic": False}
    (await alice.put(path, {"automatic": first})).ok()
    assert (await alice.get(path)).ok() == {"automatic": False}
    # An old event does not subscribe again whom it has subscribed before; a new one does.
    (await alice.delete(path)).ok()
    (await alice.put(path, {"automatic": first})).error(409, CONFLICT)
    (await alice.get(path)).error(404, "M_NOT_FOUND")
    second = await reply(bob, room, root)
    (await alice.put(path, {"automatic": second})).ok()
    assert (await alice.get(path)).ok() == {"automatic": True}
    (await alice.put(path, {"automatic": first})).ok()
    (await bob.put(room_path(room, "redact", second, "t"), {})).ok()
    (await alice.put(path, {"automatic": second})).error(400, NOT_IN_THREAD)
    # Everybody has their own.
    (await bob.get(path)).error(404, "M_NOT_FOUND")


async def test_threads_that_are_not_there(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    root = await alice.send(room, "root")
    inside = await reply(alice, room, root)
    for client, room_id, event_id in (
        (bob, room, root),
        (alice, room, inside),
        (alice, room, "$unknown"),
        (alice, "!unknown:test.example", root),
        (alice, await alice.create_room(), root),
    ):
        path = subscription(room_id, event_id)
        (await client.put(path)).error(404, "M_NOT_FOUND")
        (await client.delete(path)).error(404, "M_NOT_FOUND")
        (await client.get(path)).error(404, "M_NOT_FOUND")
