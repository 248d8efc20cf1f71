"""Encrypted conversations of matrix-nio clients, on one server."""

from pathlib import Path

import nio

from tests.api.server import TestServer
from tests.clients.nio_harness import Device, all_step, close, done, encrypted_room
from tests.clients.nio_stories import converse

OFFLINE = 1_000


async def test_a_conversation(server: TestServer, tmp_path: Path) -> None:
    await converse(server.base_url, server.base_url, tmp_path)


async def test_a_device_that_was_offline(server: TestServer, database_url: str, tmp_path: Path) -> None:
    """It comes back to a thousand messages, and reads all of them."""
    # Most of the time is the clients': the second time fewer will do.
    offline = OFFLINE if database_url.startswith("sqlite") else OFFLINE // 10
    alice = await Device.of(server.base_url, tmp_path, "alice", is_new=True)
    bob = await Device.of(server.base_url, tmp_path, "bob", is_new=True)
    try:
        room_id = await encrypted_room(alice, bob)
        sent = [await alice.say(room_id, f"message {number}") for number in range(offline)]
        await bob.step()
        await all_step([bob], lambda: {*sent} <= bob.read.keys(), what="all messages")
        assert [bob.read[event_id] for event_id in sent] == [f"message {number}" for number in range(offline)]
        print(f"undecryptable messages: {len(bob.undecryptable)} of {offline}")
        assert not bob.undecryptable
    finally:
        await close(alice, bob)


async def test_logout_and_login(server: TestServer, tmp_path: Path) -> None:
    """The new device is sent what is said from then on, and the old one's keys are gone."""
    alice = await Device.of(server.base_url, tmp_path, "alice", is_new=True)
    bob = await Device.of(server.base_url, tmp_path, "bob", is_new=True)
    again: Device | None = None
    try:
        room_id = await encrypted_room(alice, bob)
        await alice.say(room_id, "before")
        await all_step([bob], lambda: "before" in bob.read.values(), what="the first message")
        old = bob.key
        await done(bob.client.logout(), nio.LogoutResponse)
        again = await Device.of(server.base_url, tmp_path, "bob", is_new=False)
        assert again.key != old
        devices = [alice, again]
        await all_step(devices, lambda: again is not None and alice.knows(again), what="the new device")
        assert not alice.knows(bob)
        sent = await alice.say(room_id, "after")
        await all_step(devices, lambda: again is not None and sent in again.read, what="the message")
    finally:
        await close(*[each for each in (alice, bob, again) if each is not None])
