"""Requests that wait for news, and a session that ends meanwhile."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.api.client.sliding_sync.harness import STABLE, UNSTABLE, old_list, one_list
from tests.api.client.test_device_management import proof
from tests.api.server import Answer, Client, TestServer, path_of

Poll = Callable[[Client], Awaitable[Answer]]

TIMEOUT_MS = 50_000


async def sync(client: Client) -> Answer:
    since = (await client.sync())["next_batch"]
    return await client.get(path_of("sync"), since=since, timeout=TIMEOUT_MS, set_presence="offline")


async def sliding(client: Client) -> Answer:
    begun = (await client.post(STABLE, {"lists": one_list()})).ok()
    return await client.post(STABLE, {"pos": begun["pos"], "lists": one_list(), "timeout": TIMEOUT_MS})


async def unstable_sliding(client: Client) -> Answer:
    begun = (await client.post(UNSTABLE, {"lists": old_list()})).ok()
    return await client.post(UNSTABLE, {"lists": old_list()}, pos=begun["pos"], timeout=TIMEOUT_MS)


POLLS = pytest.mark.parametrize("poll", [sync, sliding, unstable_sliding])


async def waits(server: TestServer, poll: Poll, *clients: Client) -> "list[Deferred[Answer]]":
    """Polls of these clients, once all of them wait."""
    begun: list[Deferred[Answer]] = []
    for client in clients:
        begun.append(Deferred.fromCoroutine(as_coroutine(poll, client)))
        while len(server.server.services.syncing.waiters) < len(begun):
            await client.get(path_of("account", "whoami"))
    return begun


async def as_coroutine(poll: Poll, client: Client) -> Answer:
    return await poll(client)


@POLLS
async def test_who_logs_out_is_told_at_once(server: TestServer, alice: Client, poll: Poll) -> None:
    """And nothing else. The user's other device goes on waiting."""
    other = await server.device(alice)
    waiting, others = await waits(server, poll, alice, other)
    (await alice.post(path_of("logout"))).ok()
    assert (await waiting).error(401, "M_UNKNOWN_TOKEN")["soft_logout"] is False
    assert not others.called
    (await other.post(path_of("logout"))).ok()
    (await others).error(401, "M_UNKNOWN_TOKEN")
    assert len(server.server.services.syncing.open_polls) == 0


@POLLS
async def test_a_new_password_ends_what_others_wait_for(
    server: TestServer, alice: Client, bob: Client, poll: Poll
) -> None:
    """A thief hears nothing more; other users are not concerned."""
    thief = await server.device(alice)
    stolen, unconcerned = await waits(server, poll, thief, bob)
    changed = {"new_password": "another password", "auth": proof()}
    (await alice.post(path_of("account", "password"), changed)).ok()
    (await stolen).error(401, "M_UNKNOWN_TOKEN")
    assert not unconcerned.called
    (await bob.post(path_of("logout"))).ok()
    (await unconcerned).error(401, "M_UNKNOWN_TOKEN")


@POLLS
async def test_a_locked_account(server: TestServer, alice: Client, poll: Poll) -> None:
    admin = await server.user("admin", admin=True)
    (waiting,) = await waits(server, poll, alice)
    path = f"/_matrix/client/v1/admin/lock/{alice.user_id}"
    (await admin.put(path, {"locked": True})).ok()
    answer: Any = (await waiting).error(401, "M_USER_LOCKED")
    assert answer["soft_logout"] is True
