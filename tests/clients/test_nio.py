"""A conversation of two people with matrix-nio, a client library of the field that shares no code with the server."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import nio
from twisted.internet.defer import Deferred

from tests.api.server import PASSWORD, TestServer

T = TypeVar("T")


def on_the_loop(work: Awaitable[T]) -> Deferred[T]:
    """Await asyncio's way inside a test that runs Twisted's way: both are one loop."""
    return Deferred.fromFuture(asyncio.ensure_future(work))


async def done(work: Awaitable[Any], kind: type[T]) -> T:
    """The answer of a call, which must be of the good kind."""
    answer = await on_the_loop(work)
    assert isinstance(answer, kind), answer
    return answer


async def test_two_people_have_a_conversation(server: TestServer) -> None:
    """Register, create, invite, join, send, read back over 300 messages, type, receipts, leave."""
    alice, bob = nio.AsyncClient(server.base_url, "alice"), nio.AsyncClient(server.base_url, "bob")
    try:
        await _converse(alice, bob)
    finally:
        await on_the_loop(alice.close())
        await on_the_loop(bob.close())


async def _converse(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    for client, name in ((alice, "alice"), (bob, "bob")):
        await done(client.register(name, PASSWORD, device_name="nio"), nio.RegisterResponse)
    room_id = (
        await done(
            alice.room_create(name="A room", topic="Talk", invite=[bob.user_id]), nio.RoomCreateResponse
        )
    ).room_id
    first = await done(bob.sync(timeout=0), nio.SyncResponse)
    assert room_id in first.rooms.invite
    await done(bob.join(room_id), nio.JoinResponse)
    await done(bob.sync(timeout=0), nio.SyncResponse)
    assert bob.rooms[room_id].name == "A room"
    assert set(bob.rooms[room_id].users) == {alice.user_id, bob.user_id}

    for number in range(310):
        await done(
            alice.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": f"message {number}"}),
            nio.RoomSendResponse,
        )
    news = await done(bob.sync(timeout=0), nio.SyncResponse)
    timeline = news.rooms.join[room_id].timeline
    assert timeline.limited
    assert timeline.events[-1].body == "message 309"
    assert news.rooms.join[room_id].unread_notifications.notification_count == 310

    bodies = [event.body for event in timeline.events if isinstance(event, nio.RoomMessageText)][::-1]
    start: str | None = timeline.prev_batch
    while start:
        page = await done(bob.room_messages(room_id, start, limit=50), nio.RoomMessagesResponse)
        bodies += [event.body for event in page.chunk if isinstance(event, nio.RoomMessageText)]
        start = page.end
    assert bodies == [f"message {number}" for number in reversed(range(310))]

    waiting = on_the_loop(alice.sync(timeout=0))
    await waiting
    waiting = on_the_loop(alice.sync(timeout=30_000))
    await done(bob.room_typing(room_id, typing_state=True), nio.RoomTypingResponse)
    await waiting
    assert alice.rooms[room_id].typing_users == [bob.user_id]

    last = timeline.events[-1].event_id
    await done(bob.update_receipt_marker(room_id, last), nio.UpdateReceiptMarkerResponse)
    await done(bob.room_read_markers(room_id, last, last), nio.RoomReadMarkersResponse)
    while bob.user_id not in alice.rooms[room_id].read_receipts:
        await done(alice.sync(timeout=30_000), nio.SyncResponse)
    assert alice.rooms[room_id].read_receipts[bob.user_id].event_id == last
    counts = (await done(bob.sync(timeout=0), nio.SyncResponse)).rooms.join[room_id]
    assert counts.unread_notifications.notification_count == 0

    await done(bob.room_leave(room_id), nio.RoomLeaveResponse)
    left = await done(bob.sync(timeout=0), nio.SyncResponse)
    assert room_id in left.rooms.leave
    members = await done(alice.joined_members(room_id), nio.JoinedMembersResponse)
    assert [member.user_id for member in members.members] == [alice.user_id]
    await done(bob.logout(), nio.LogoutResponse)
    assert isinstance(await on_the_loop(bob.whoami()), nio.WhoamiError)


async def test_edits_reactions_and_threads(server: TestServer) -> None:
    """Sent with one client, listed page by page by another."""
    alice, bob = nio.AsyncClient(server.base_url, "alice"), nio.AsyncClient(server.base_url, "bob")
    try:
        for client, name in ((alice, "alice"), (bob, "bob")):
            await done(client.register(name, PASSWORD, device_name="nio"), nio.RegisterResponse)
        await _relate(alice, bob)
    finally:
        await on_the_loop(alice.close())
        await on_the_loop(bob.close())


async def _relate(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    created = await done(alice.room_create(preset=nio.RoomPreset.public_chat), nio.RoomCreateResponse)
    room_id = created.room_id
    await done(bob.join(room_id), nio.JoinResponse)

    async def send(sender: nio.AsyncClient, event_type: str, **content: Any) -> str:
        sent = await done(sender.room_send(room_id, event_type, content), nio.RoomSendResponse)
        return str(sent.event_id)

    def to(parent: str, rel_type: str, **more: str) -> dict[str, str]:
        return {"rel_type": rel_type, "event_id": parent, **more}

    text = {"msgtype": "m.text", "body": "text"}
    root = await send(alice, "m.room.message", **text)
    edit: dict[str, Any] = {"m.new_content": text, "m.relates_to": to(root, "m.replace")}
    edited = await send(alice, "m.room.message", **text, **edit)
    reaction = await send(bob, "m.reaction", **{"m.relates_to": to(root, "m.annotation", key="👍")})
    replies = []
    for _ in range(5):
        threaded: dict[str, Any] = {"m.relates_to": to(root, "m.thread")}
        replies.append(await send(bob, "m.room.message", **text, **threaded))

    async def listed(events: Any) -> list[str]:
        return [event.event_id async for event in events]

    related = bob.room_get_event_relations
    assert await on_the_loop(listed(related(room_id, root, limit=3))) == [*replies[::-1], reaction, edited]
    kinds = nio.api.RelationshipType
    assert await on_the_loop(listed(related(room_id, root, kinds.thread, limit=2))) == replies[::-1]
    assert await on_the_loop(listed(related(room_id, root, kinds.annotation, "m.reaction"))) == [reaction]
    assert await on_the_loop(listed(bob.room_get_threads(room_id))) == [root]
    participated = bob.room_get_threads(room_id, nio.api.ThreadInclusion.participated, limit=1)
    assert await on_the_loop(listed(participated)) == [root]
