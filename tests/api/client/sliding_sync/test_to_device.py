"""MSC3885: messages to the device, with tokens of their own."""

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from tests.api.client.sliding_sync.harness import STABLE, UNSTABLE, Sliding, one_list
from tests.api.server import Client, TestServer
from tests.to_device import send_all, send_to, texts_in


@attrs.define
class Inbox:
    """A connection that asks for messages, and the token that they came with last."""

    client: Sliding
    since: str | None = None

    async def ask(self, *, timeout: int = 0, **wanted: Any) -> list[Any]:  # noqa: ASYNC109 - as the harness has it
        """What is new; the next request proves that it was received."""
        self.since, texts = await self.repeat(timeout=timeout, **wanted)
        return texts

    async def repeat(self, *, timeout: int = 0, **wanted: Any) -> tuple[str, list[Any]]:  # noqa: ASYNC109 - as the harness has it
        """As `ask`, but the answer is lost, apart from its `pos`."""
        given = {"enabled": True, **({} if self.since is None else {"since": self.since}), **wanted}
        answer = await self.client.ask(timeout=timeout, lists=one_list(), extensions={"to_device": given})
        found = answer["extensions"]["to_device"]
        return found["next_batch"], texts_in({"to_device": found})


@pytest.fixture
def inbox(bob: Client) -> Inbox:
    return Inbox(Sliding(bob))


async def test_messages_come_until_their_own_token_proves_receipt(alice: Client, inbox: Inbox) -> None:
    assert await inbox.ask() == []
    await send_all(alice, inbox.client.client, range(3))
    assert (await inbox.repeat())[1] == [0, 1, 2]
    before = inbox.since
    assert await inbox.ask() == [0, 1, 2], "`pos` has come further, the messages' token has not"
    await send_to(alice, inbox.client.client, 3)
    assert await inbox.ask() == [3]
    inbox.since = before
    assert await inbox.ask() == [3], "what has been received is not given again for an older token"
    assert await inbox.ask() == []


async def test_another_connection_gets_them_too(alice: Client, bob: Client, inbox: Inbox) -> None:
    """Such as an app and its extension for notifications, which share the token."""
    other = Inbox(Sliding(bob, conn_id="other"))
    await send_to(alice, bob, "hello")
    assert await inbox.ask() == ["hello"]
    assert await other.ask() == ["hello"]
    assert await other.ask() == []
    assert texts_in(await bob.sync()) == []


async def test_no_more_than_are_wanted_and_the_rest_at_once(alice: Client, inbox: Inbox) -> None:
    await send_all(alice, inbox.client.client, range(250))
    assert await inbox.ask(limit=3) == [0, 1, 2]
    assert await inbox.ask(limit=3, timeout=20_000) == [3, 4, 5]
    assert await inbox.ask(limit=1_000, timeout=20_000) == [*range(6, 106)]
    assert await inbox.ask(timeout=20_000) == [*range(106, 206)]
    assert await inbox.ask(timeout=20_000) == [*range(206, 250)]
    assert await inbox.ask() == []


async def test_a_waiting_request_is_answered_at_once(server: TestServer, alice: Client, bob: Client) -> None:
    inbox, other = Inbox(Sliding(bob)), Inbox(Sliding(await server.device(bob)))
    for each in (inbox, other):
        await each.ask()
        await each.ask()
    not_mine = Deferred.fromCoroutine(other.ask(timeout=20_000))
    for number in range(3):
        waiting = Deferred.fromCoroutine(inbox.ask(timeout=20_000))
        await send_to(alice, bob, number)
        assert await waiting == [number]
    assert not not_mine.called
    await send_to(alice, other.client.client, "yours")
    assert await not_mine == ["yours"]


async def test_who_does_not_ask_for_them_leaves_them(alice: Client, bob: Client, inbox: Inbox) -> None:
    await send_to(alice, bob, "waits")
    client = Sliding(bob)
    for _ in range(2):
        answer = await client.ask(lists=one_list())
        assert answer["extensions"] == {}
    # The token of sliding sync says nothing of messages, wherever it is used.
    assert texts_in(await bob.sync(client.pos)) == ["waits"]
    assert await inbox.ask() == ["waits"]


@pytest.mark.parametrize("path", [STABLE, UNSTABLE])
async def test_what_is_no_token_is_refused(bob: Client, path: str) -> None:
    body = {"extensions": {"to_device": {"enabled": True, "since": "d5"}}}
    (await bob.post(path, body)).error(400, "M_INVALID_PARAM")
    body = {"extensions": {"to_device": {"enabled": True, "limit": 0}}}
    (await bob.post(path, body)).error(400, "M_BAD_JSON")
    body = {"extensions": {"to_device": {"enabled": True}}}
    found = (await bob.post(path, body)).ok()["extensions"]["to_device"]
    assert found.keys() == {"next_batch"}
