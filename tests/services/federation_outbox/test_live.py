"""Sending to servers that answer: everything, once, in order, in few transactions."""

from twisted.internet import reactor
from twisted.internet.task import deferLater

from homeserver.core import topics
from homeserver.core.identifiers import UserID
from homeserver.services.federation_outbox import reading
from homeserver.services.federation_outbox.queues import shard_of
from tests.room_stories import say_many
from tests.services.federation_outbox.scene import ALICE, OWN, OutboxScene

BOB, CAROL, DAN = UserID("@bob:b"), UserID("@carol:c"), UserID("@dan:x")


async def test_a_message_goes_to_the_servers_in_the_room(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL)
    other = await scene.room(BOB, seed="other")
    await room.say("to both")
    await other.say("to b alone")
    await scene.settle()
    assert scene.network.texts("b") == ["to both", "to b alone"]
    assert scene.network.texts("c") == ["to both"]
    assert OWN not in {each.to for each in scene.network.received}


async def test_a_transaction_is_as_the_specification_says(scene: OutboxScene) -> None:
    """Server-server API, `PUT /send/{txnId}`."""
    room = await scene.room(BOB)
    await room.say("hello")
    await scene.settle()
    (transaction,) = scene.network.received
    content = transaction.content
    assert content.keys() == {"origin", "origin_server_ts", "pdus", "edus"}
    assert content["origin"] == OWN
    assert content["origin_server_ts"] == scene.clock.now_ts()
    (pdu,) = transaction.pdus
    assert pdu["room_id"] == room.room_id
    assert pdu["signatures"].keys() == {OWN}  # type: ignore[union-attr]  # JSON
    assert "unsigned" not in pdu


async def test_a_room_without_other_servers_is_nobodys_business(scene: OutboxScene) -> None:
    room = await scene.room(DAN)
    await room.say("hello")
    await scene.settle()
    assert scene.network.attempts == []
    assert len(scene.outbox.queues) == 0


async def test_one_transaction_at_a_time_and_what_comes_meanwhile_goes_together(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.held["b"] = []
    for number in range(60):
        await room.say(f"n{number}")
        await scene.settle()
    assert len(scene.network.attempts) == 1
    scene.network.let_go("b")
    await scene.settle()
    assert [len(each.texts) for each in scene.network.received] == [1, 50, 9]
    assert scene.network.texts("b") == [f"n{number}" for number in range(60)]
    assert len({each.txn_id for each in scene.network.received}) == 3


async def test_nothing_is_held_when_all_is_sent(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL)
    await room.say("hello")
    await scene.settle()
    assert len(scene.outbox.queues) == 0
    assert scene.outbox.queues.bytes == 0


async def test_the_server_of_a_user_who_is_put_out_is_told(scene: OutboxScene) -> None:
    """Although it is no longer in the room."""
    room = await scene.room(BOB, CAROL)
    await room.member(BOB, "leave", by=ALICE)
    await room.say("without b")
    await scene.settle()
    assert scene.network.texts("b") == ["m.room.member"]
    assert scene.network.texts("c") == ["m.room.member", "without b"]


async def test_an_event_of_another_server_does_not_go_back_there(scene: OutboxScene) -> None:
    """Such as a join that came by a handshake: the others are told, and who made it knows."""
    room = await scene.room(BOB)
    await room.member(CAROL, "join")
    await scene.settle()
    assert scene.network.texts("b") == ["m.room.member"]
    assert scene.network.texts("c") == []


async def test_a_newcomer_gets_nothing_from_before(scene: OutboxScene) -> None:
    """Even if what was said before is read together with the join."""
    room = await scene.room(BOB)
    scene.outbox._feed._reading = True  # what comes now is read later
    await room.say("before")
    await room.member(CAROL, "join")
    await room.say("after")
    scene.outbox._feed._reading = False
    await scene.settle()
    assert scene.network.texts("b") == ["before", "m.room.member", "after"]
    assert scene.network.texts("c") == ["after"]


async def test_a_profile_change_is_no_joining(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.outbox._feed._reading = True
    await room.say("before")
    await room.set("m.room.member", {"membership": "join", "displayname": "B"}, state_key=ALICE)
    scene.outbox._feed._reading = False
    await scene.settle()
    assert scene.network.texts("b") == ["before", "m.room.member"]


async def test_an_event_is_serialised_once_for_all(scene: OutboxScene) -> None:
    room = await scene.room(*(f"@u:server{number}" for number in range(100)))
    held = [f"server{number}" for number in range(100)]
    for name in held:
        scene.network.held[name] = []
    await room.say("first")
    await scene.settle()
    await room.say("second")
    await scene.settle()
    queues = list(scene.outbox.queues)
    assert len(queues) == 100
    # A few wait for their turn with both.
    assert len({id(pdu.data) for queue in queues for pdu in queue.pdus}) <= 2
    for name in held:
        if name in scene.network.held:
            scene.network.let_go(name)
    await scene.settle()
    assert all(scene.network.texts(name) == ["first", "second"] for name in held)


async def test_a_slow_server_keeps_nobody_waiting(scene: OutboxScene) -> None:
    slow = [f"slow{number}" for number in range(70)]
    room = await scene.room(*(f"@u:{name}" for name in slow))
    quick = await scene.room(BOB, seed="quick")
    for name in slow:
        scene.network.held[name] = []
    await room.say("to the slow")
    await scene.settle()
    await quick.say("to the quick")
    await scene.settle()
    assert scene.network.texts("b") == []
    scene.timers.advance(5.0)
    await scene.settle()
    assert scene.network.texts("b") == ["to the quick"]


async def test_small_queues_do_not_wait_for_long_ones(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    small = await scene.room(CAROL, seed="small")
    scene.outbox._live._most = 1
    scene.network.held["b"] = []
    await say_many(room, [f"n{number}" for number in range(300)], ALICE)
    await scene.settle()
    await small.say("one")
    await scene.settle()
    scene.network.let_go("b")
    await scene.settle()
    order = [each.to for each in scene.network.received]
    assert order == ["b", "c", "b", "b", "b", "b", "b"]


async def test_sending_asks_for_reading_at_once(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    told: list[str] = []
    scene.outbox.hint = told.extend  # type: ignore[method-assign, assignment]  # a test puts its own in the place
    await room.say("hello")
    await deferLater(reactor, 0)  # who sends is answered first
    assert topics.OUTBOX in told
    alone = await scene.room(seed="alone")
    await deferLater(reactor, 0)
    told.clear()
    await alone.say("hello")
    await deferLater(reactor, 0)
    assert told
    assert topics.OUTBOX not in told


async def test_much_is_read_in_several_batches(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.outbox._feed._reading = True
    texts = [f"n{number}" for number in range(reading.MOST_EVENTS + 20)]
    await say_many(room, texts, ALICE)
    scene.outbox._feed._reading = False
    await scene.settle()
    assert scene.network.texts("b") == texts


def test_shards_are_even() -> None:
    counts = [0] * 8
    for number in range(8_000):
        counts[shard_of(f"server{number}.example.org")] += 1  # type: ignore[arg-type]  # what the test wants to be taken
    assert min(counts) > 800
