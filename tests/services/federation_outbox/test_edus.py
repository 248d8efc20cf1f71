"""Typing, receipts and presence: only the latest word, only to whom it concerns, and receipts even after an outage."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import cast

import attrs
import pytest

from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject, canonical, decode_object
from homeserver.core.presence import UserPresence
from homeserver.core.receipts import READ, READ_PRIVATE, Receipt
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.federation_outbox.edus import (
    DurableEdu,
    PresenceEdu,
    ReceiptEdu,
    TypingEdu,
    WaitingEdus,
)
from homeserver.storage import account_data, presence, receipts, rooms, typing
from tests.room_stories import Story
from tests.services.conftest import MovableClock
from tests.services.federation_outbox.scene import ALICE, OutboxScene, opened_scene
from tests.services.federation_outbox.test_failing import HOUR_MS, fail_twice

BOB, CAROL, DAN = UserID("@bob:b"), UserID("@carol:c"), UserID("@dan:x")


async def type_in(scene: OutboxScene, room: Story, user_id: UserID, *, is_typing: bool = True) -> None:
    def write(tx: WriteTransaction, now_ts: int) -> None:
        nid = rooms.nid_of(tx, room.room_id) or 0
        if is_typing:
            typing.start(tx, nid, room.room_id, user_id, now_ts=now_ts, expires_ts=now_ts + 30_000)
        else:
            typing.stop(tx, nid, room.room_id, user_id, now_ts=now_ts)

    await scene.database.write_soon(write, scene.clock.now_ts())
    await scene.settle()


async def read_upto(
    scene: OutboxScene,
    room: Story,
    user_id: UserID,
    text: str,
    *,
    receipt_type: str = READ,
    thread_id: str = "",
) -> None:
    event_id = room.said[text]
    position = await room.position_of(event_id)

    def write(tx: WriteTransaction) -> None:
        nid = rooms.nid_of(tx, room.room_id) or 0
        receipt = Receipt(user_id, receipt_type, thread_id, event_id, 1_234)
        receipts.move(tx, nid, room.room_id, receipt, event_position=position)

    await scene.database.write(write)
    await scene.settle()


async def be(scene: OutboxScene, user_id: UserID, state: str, status_msg: str | None = None) -> None:
    def write(tx: WriteTransaction, now_ts: int) -> None:
        shown = UserPresence(state, status_msg, now_ts, currently_active=state == "online")  # type: ignore[arg-type]  # what the test wants to be taken
        presence.put(tx, user_id, shown)

    await scene.database.write_soon(write, scene.clock.now_ts())
    await scene.settle()


def told(scene: OutboxScene, to: str) -> list[tuple[object, object]]:
    """The presence of users that a server was told of."""
    pushes = [cast("list[JsonObject]", each["push"]) for each in scene.network.edus(to, "m.presence")]
    return [(item["user_id"], item["presence"]) for push in pushes for item in push]


async def test_typing_is_sent_at_once(scene: OutboxScene) -> None:
    """Server-server API, `m.typing`."""
    room = await scene.room(BOB)
    await type_in(scene, room, ALICE)
    await type_in(scene, room, ALICE, is_typing=False)
    assert scene.network.edus("b", "m.typing") == [
        {"room_id": room.room_id, "user_id": ALICE, "typing": True},
        {"room_id": room.room_id, "user_id": ALICE, "typing": False},
    ]


async def test_nothing_is_said_for_users_of_other_servers_nor_in_rooms_of_ours(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    ours = await scene.room(DAN, seed="ours")
    await ours.say("hello")
    await type_in(scene, room, BOB)
    await type_in(scene, ours, ALICE)
    await read_upto(scene, ours, ALICE, "hello")
    await be(scene, BOB, "online")
    await scene.tick()
    assert scene.network.attempts == []


async def test_while_a_server_is_busy_only_the_latest_word_is_kept(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    scene.network.held["b"] = []
    for number in range(5):
        await room.say(f"n{number}")
        await scene.settle()
        await read_upto(scene, room, ALICE, f"n{number}")
        await type_in(scene, room, ALICE, is_typing=number % 2 == 0)
        await be(scene, ALICE, "online", f"status {number}")
    scene.network.let_go("b")
    await scene.settle()
    assert len(scene.network.received) == 2
    assert [each["typing"] for each in scene.network.edus("b", "m.typing")] == [True]
    (receipt,) = scene.network.edus("b", "m.receipt")
    assert receipt == {room.room_id: {READ: {ALICE: {"event_ids": [room.said["n4"]], "data": {"ts": 1_234}}}}}
    (shown,) = scene.network.edus("b", "m.presence")
    assert shown == {
        "push": [
            {
                "user_id": ALICE,
                "presence": "online",
                "status_msg": "status 4",
                "last_active_ago": 0,
                "currently_active": True,
            }
        ]
    }


async def test_receipts_and_presence_wait_a_moment_for_company(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    await room.say("one")
    await scene.settle()
    scene.forget()
    await read_upto(scene, room, ALICE, "one")
    await be(scene, ALICE, "online")
    assert scene.network.attempts == []
    await scene.tick()
    assert len(scene.network.received) == 1
    assert len(scene.network.received[0].edus) == 2


async def test_private_receipts_stay_here(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    await room.say("one")
    await scene.settle()
    scene.forget()
    await read_upto(scene, room, ALICE, "one", receipt_type=READ_PRIVATE)
    await scene.tick()
    assert scene.network.attempts == []


async def test_presence_goes_to_servers_that_share_a_room(scene: OutboxScene) -> None:
    await scene.room(BOB)
    await scene.room(CAROL, seed="other")
    await be(scene, ALICE, "unavailable")
    await scene.tick()
    assert {each.to for each in scene.network.received} == {"b", "c"}
    await be(scene, DAN, "online")
    await scene.tick()
    assert len(scene.network.received) == 2, "nobody shares a room with dan"


async def test_who_comes_into_a_room_is_told_who_is_there(scene: OutboxScene) -> None:
    """Once, when the server comes; not when the next of its users does."""
    room = await scene.room(DAN)
    await be(scene, ALICE, "online")
    await be(scene, DAN, "offline")
    await scene.tick()
    assert scene.network.attempts == []
    await room.member(BOB, "join")
    await scene.settle()
    await scene.tick()
    assert told(scene, "b") == [(ALICE, "online")]
    await room.member(UserID("@bert:b"), "join")
    await scene.settle()
    await scene.tick()
    assert told(scene, "b") == [(ALICE, "online")]


async def test_who_comes_into_a_room_of_others_is_announced(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    await be(scene, DAN, "unavailable")
    await scene.tick()
    assert scene.network.edus("b", "m.presence") == []
    await room.member(DAN, "join")
    await scene.settle()
    await scene.tick()
    assert told(scene, "b") == [(DAN, "unavailable")]
    # A new name is no arrival.
    scene.forget()
    await room.member(DAN, "join")
    await scene.settle()
    await scene.tick()
    assert scene.network.edus("b", "m.presence") == []


async def test_after_an_outage_receipts_come_and_typing_does_not(scene: OutboxScene) -> None:
    room = await scene.room(BOB, CAROL)
    await room.say("one")
    await scene.settle()
    scene.network.down.add("b")
    await room.say("two")
    await fail_twice(scene)
    await read_upto(scene, room, ALICE, "one")
    await read_upto(scene, room, ALICE, "two")
    await type_in(scene, room, ALICE)
    await be(scene, ALICE, "online")
    await scene.tick()
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    await scene.tick()
    (receipt,) = scene.network.edus("b", "m.receipt")
    assert receipt[room.room_id][READ][ALICE]["event_ids"] == [room.said["two"]]  # type: ignore[call-overload, index]  # JSON
    assert scene.network.edus("b", "m.typing") == []
    assert scene.network.edus("b", "m.presence") == []


async def test_a_receipt_that_failed_is_not_lost(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    await room.say("one")
    await scene.settle()
    await read_upto(scene, room, ALICE, "one")
    scene.network.down.add("b")
    await scene.tick()
    await fail_twice(scene)
    assert scene.network.edus("b", "m.receipt") == []
    scene.network.down.clear()
    await scene.pass_ms(HOUR_MS)
    assert len(scene.network.edus("b", "m.receipt")) == 1


async def test_a_receipt_survives_a_crash(scene: OutboxScene) -> None:
    room = await scene.room(BOB)
    await room.say("one")
    await scene.settle()
    await scene.tick()
    await read_upto(scene, room, ALICE, "one")
    await scene.crash()
    await scene.settle()
    await scene.tick()
    assert len(scene.network.edus("b", "m.receipt")) == 1


ROOM = RoomID("!r:x")


def receipt(position: int, user: str, event: str, thread_id: str = "") -> ReceiptEdu:
    return ReceiptEdu.of(position, ROOM, Receipt(UserID(user), READ, thread_id, EventID(event), 1))


def test_receipts_of_one_user_in_several_threads_need_an_edu_each() -> None:
    waiting = WaitingEdus()
    waiting.add_receipt(receipt(1, "@a:x", "$1"))
    waiting.add_receipt(receipt(2, "@a:x", "$2", "main"))
    waiting.add_receipt(receipt(3, "@b:x", "$3", "main"))
    waiting.add_receipt(receipt(4, "@a:x", "$4"))
    assert waiting.lowest() == 2
    taken = waiting.take(100)
    assert taken.lowest == 2
    contents = [decode_object(each)["content"] for each in taken.data]
    assert contents == [
        {
            ROOM: {
                READ: {
                    "@a:x": {"event_ids": ["$4"], "data": {"ts": 1}},
                    "@b:x": {"event_ids": ["$3"], "data": {"ts": 1, "thread_id": "main"}},
                }
            }
        },
        {ROOM: {READ: {"@a:x": {"event_ids": ["$2"], "data": {"ts": 1, "thread_id": "main"}}}}},
    ]
    assert len(waiting) == 0


def test_an_older_receipt_does_not_overtake() -> None:
    waiting = WaitingEdus()
    waiting.add_receipt(receipt(5, "@a:x", "$new"))
    waiting.add_receipt(receipt(3, "@a:x", "$old"))
    assert b"$new" in waiting.take(1).data[0]


def test_what_waits_is_bounded_and_taken_in_portions() -> None:
    waiting = WaitingEdus()
    for number in range(1_500):
        user_id = UserID(f"@u{number}:x")
        waiting.add_typing(TypingEdu.of(ROOM, user_id, is_typing=True))
        shown = UserPresence("online", None, 1, currently_active=True)
        waiting.add_presence(PresenceEdu.of(user_id, shown, now_ts=2))
    assert len(waiting) == 2_000
    taken = waiting.take(100)
    assert len(taken.data) == 100
    assert len(waiting) == 2_000 - 100 - 99
    assert all(canonical(decode_object(each)) == each for each in taken.data)


@attrs.frozen
class Notes:
    """Durable EDUs for tests: each of alice's global account data is one for server b."""

    kind: Kind = Kind.ACCOUNT_DATA
    given: dict[int, JsonObject] = attrs.field(factory=dict)
    done: set[int] = attrs.field(factory=set)

    def concerned(self, tx: ReadTransaction, *, after: int, upto: int) -> Collection[ServerName]:
        del tx, after, upto
        return [ServerName("b")]

    def waiting(self, tx: ReadTransaction, server_name: ServerName, *, most: int) -> Sequence[DurableEdu]:
        del tx
        assert server_name == "b"
        left = [number for number in sorted(self.given) if number not in self.done]
        return [
            DurableEdu(number, canonical({"content": self.given[number], "edu_type": "m.note"}))
            for number in left[:most]
        ]

    def delivered(self, tx: WriteTransaction, server_name: ServerName, numbers: Collection[int]) -> None:
        del tx, server_name
        self.done.update(numbers)

    async def add(self, scene: OutboxScene, *numbers: int) -> None:
        self.given.update({number: {"n": number} for number in numbers})

        def write(tx: WriteTransaction) -> None:
            account_data.put(tx, ALICE, RoomID(""), f"note{numbers[0]}", b"{}")

        await scene.database.write(write)
        await scene.settle()


@attrs.frozen
class WithNotes:
    scene: OutboxScene
    notes: Notes

    @property
    def received(self) -> list[object]:
        return [each["n"] for each in self.scene.network.edus("b", "m.note")]


@pytest.fixture
async def with_notes(database_url: str, clock: MovableClock) -> AsyncIterator[WithNotes]:
    notes = Notes()
    async with opened_scene(database_url, clock, (notes,)) as scene:
        yield WithNotes(scene, notes)


async def test_durable_edus_are_sent_in_order_a_hundred_at_a_time(with_notes: WithNotes) -> None:
    await with_notes.notes.add(with_notes.scene, *range(1, 251))
    assert with_notes.received == list(range(1, 251))
    assert [len(each.edus) for each in with_notes.scene.network.received] == [100, 100, 50]
    assert len(with_notes.scene.outbox.queues) == 0


async def test_durable_edus_survive_an_outage_and_a_crash(with_notes: WithNotes) -> None:
    scene = with_notes.scene
    scene.network.down.add("b")
    await with_notes.notes.add(scene, 1, 2)
    await fail_twice(scene)
    await with_notes.notes.add(scene, 3)
    scene.network.down.clear()
    await scene.crash()
    await scene.pass_ms(HOUR_MS)
    assert with_notes.received == [1, 2, 3]
    assert scene.outbox.queues.behind == {}


async def test_a_durable_edu_that_is_refused_holds_up_nothing(with_notes: WithNotes) -> None:
    scene = with_notes.scene
    scene.network.refuses = lambda each: 400 if b'"n":2}' in each.body else None
    await with_notes.notes.add(scene, 1, 2, 3, 4)
    assert with_notes.received == [1, 3, 4]
    assert with_notes.notes.done == {1, 2, 3, 4}
