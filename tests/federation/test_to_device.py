"""Messages to devices of other servers: server-server API, "Send-to-device messaging"."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.config.sections import Federation
from homeserver.services import to_device_inboxes
from tests.api.server import Client
from tests.api.tables import count
from tests.federation.clocks import MovableClock
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, cut, mend, until
from tests.federation.peer import Peer, Reply
from tests.to_device import TYPE, events_in, put_messages, send_all, send_to, texts_in


async def receive(client: Client, since: str | None, number: int) -> tuple[list[Any], str]:
    """So many messages, and the token that they led to."""
    found: list[Any] = []
    while len(found) < number:
        answer = await client.sync(since, timeout=20_000)
        found += texts_in(answer)
        since = answer["next_batch"]
    assert since is not None
    return found, since


async def sent_all(server: FederatedServer) -> None:
    """Wait until nothing waits for other servers any more."""

    async def is_sent() -> bool:
        return await server.running.server.database.read(count, "outbound_to_device") == 0

    await until(is_sent, what="that all has been sent")


async def test_messages_arrive_once_and_in_order(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    carol = await two.other.user("carol")
    bobs_other = await two.other.running.device(bob)
    since = (await bob.sync())["next_batch"]
    messages = {
        bob.user_id: {bob.device_id: {"text": 0}, "GONE": {}},
        carol.user_id: {"*": {"text": "carol"}},
        alice.user_id: {"*": {"text": "alice"}},
        f"@nobody:{two.other.server_name}": {"*": {}},
    }
    (await put_messages(alice, messages, txn_id="t")).ok()
    (await put_messages(alice, messages, txn_id="t")).ok()
    await send_all(alice, bob, range(1, 150))
    found, since = await receive(bob, since, 150)
    assert found == [*range(150)]
    await sent_all(two.one)
    assert texts_in(await bob.sync(since)) == []
    (event,) = events_in(await carol.sync())
    assert event == {"type": TYPE, "sender": alice.user_id, "content": {"text": "carol"}}
    assert texts_in(await alice.sync()) == ["alice"]
    await send_to(alice, bob, "all", device_id="*")
    assert (await receive(bob, since, 1))[0] == ["all"]
    assert texts_in(await bobs_other.sync()) == ["all"]


async def test_what_is_sent_while_the_link_is_down_arrives_later(servers: Servers) -> None:
    """Also if the sending server is started anew meanwhile."""
    clock = MovableClock()
    here, there = await servers.start(clock=clock), await servers.start(clock=clock)
    alice, bob = await here.user("alice"), await there.user("bob")
    since = (await bob.sync())["next_batch"]
    await send_all(alice, bob, range(3))
    found, since = await receive(bob, since, 3)
    cut(here, there)
    await send_all(alice, bob, range(3, 60))
    await here.stop()
    await here.start()
    here.reconnect(alice)
    await send_all(alice, bob, range(60, 130))
    assert texts_in(await bob.sync(since)) == []
    mend(here, there)
    clock.advance(hours=1)
    rest, since = await receive(bob, since, 127)
    assert found + rest == [*range(130)]
    await sent_all(here)
    assert texts_in(await bob.sync(since)) == []


async def test_a_server_that_stops_while_it_is_sent_to_gets_each_message_once(servers: Servers) -> None:
    clock = MovableClock()
    here, there = await servers.start(clock=clock), await servers.start(clock=clock)
    alice, bob = await here.user("alice"), await there.user("bob")
    sending = Deferred.fromCoroutine(send_all(alice, bob, range(100)))
    for _ in range(3):
        await there.stop()
        await there.start()
        clock.advance(hours=1)
    await sending
    there.reconnect(bob)
    clock.advance(hours=24)
    found, since = await receive(bob, None, 100)
    assert found == [*range(100)]
    await sent_all(here)
    assert texts_in(await bob.sync(since)) == []


async def test_a_large_request_is_split(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    others = [await two.other.running.device(bob) for _ in range(3)]
    messages = {
        bob.user_id: {
            each.device_id: {"text": f"{number}" + "x" * 40_000} for number, each in enumerate((bob, *others))
        }
    }
    (await put_messages(alice, messages)).ok()
    for number, each in enumerate((bob, *others)):
        ((text,), _) = await receive(each, None, 1)
        assert text[0] == str(number)


async def test_a_server_that_is_not_dealt_with_is_sent_nothing(servers: Servers, peer: Peer) -> None:
    server = await servers.start(
        federation=Federation(
            deny=(peer.server_name,), trusted_ca_file=servers.authority.file, allow_private_addresses=True
        )
    )
    alice = await server.user("alice")
    (await put_messages(alice, {f"@bob:{peer.server_name}": {"*": {}}})).ok()
    assert await server.running.server.database.read(count, "outbound_to_device") == 0


async def test_what_is_sent_has_the_form_of_the_specification(servers: Servers, peer: Peer) -> None:
    server = await servers.start()
    alice = await server.user("alice")
    peer.answer("PUT", "/_matrix/federation/v1/send/{txn_id}", Reply({"pdus": {}}))
    content = {"text": "hello", "b": [1, None], "a": {"ü": True}}
    (await put_messages(alice, {f"@bob:{peer.server_name}": {"*": content, "D": {}}})).ok()
    await sent_all(server)
    edus = [edu for heard in peer.heard_at("/send/") for edu in heard.json["edus"]]
    (edu,) = [each for each in edus if each["edu_type"] == "m.direct_to_device"]
    assert 1 <= len(edu["content"].pop("message_id")) <= 32
    assert edu["content"] == {
        "sender": alice.user_id,
        "type": TYPE,
        "messages": {f"@bob:{peer.server_name}": {"*": content, "D": {}}},
    }


async def test_a_server_that_refuses_one_message_gets_the_others(servers: Servers, peer: Peer) -> None:
    """What is never taken is given up, so that it does not hold up what comes after it."""
    server = await servers.start()
    alice = await server.user("alice")

    def answer(heard: Any) -> Reply:
        texts = [
            message["text"]
            for edu in heard.json["edus"]
            if edu["edu_type"] == "m.direct_to_device"
            for message in edu["content"]["messages"][f"@bob:{peer.server_name}"].values()
        ]
        if "bad" in texts:
            return Reply({"errcode": "M_UNKNOWN", "error": "no"}, 400)
        taken.extend(texts)
        return Reply({"pdus": {}})

    taken: list[str] = []
    peer.answer("PUT", "/_matrix/federation/v1/send/{txn_id}", answer)
    for text in ("one", "bad", "two", "three"):
        (await put_messages(alice, {f"@bob:{peer.server_name}": {"*": {"text": text}}})).ok()
    await sent_all(server)
    assert list(dict.fromkeys(taken)) == ["one", "two", "three"]


# A hostile server


def direct(peer: Peer, to: Client, text: object, *, message_id: str, **changes: Any) -> dict[str, Any]:
    """An EDU of the peer's."""
    content = {
        "sender": f"@mallory:{peer.server_name}",
        "type": TYPE,
        "message_id": message_id,
        "messages": {to.user_id: {to.device_id: {"text": text}}},
        **changes,
    }
    return {"edu_type": "m.direct_to_device", "content": content}


async def test_what_a_server_repeats_is_taken_once(servers: Servers, peer: Peer) -> None:
    """In a transaction, in another one, and after a restart."""
    server = await servers.start()
    alice = await server.user("alice")
    one, two = (direct(peer, alice, text, message_id=text) for text in ("one", "two"))
    (await peer.send(server.server_name, edus=[one, one, two])).ok()
    (await peer.send(server.server_name, edus=[two, one])).ok()
    await server.stop()
    await server.start()
    server.reconnect(alice)
    (await peer.send(server.server_name, edus=[one])).ok()
    answer = await alice.sync()
    assert texts_in(answer) == ["one", "two"]
    await alice.sync(answer["next_batch"])
    (await peer.send(server.server_name, edus=[one])).ok()
    assert texts_in(await alice.sync()) == []


async def test_another_server_may_use_the_same_id(servers: Servers, peer: Peer, numeric_peer: Peer) -> None:
    server = await servers.start()
    alice = await server.user("alice")
    for each in (peer, numeric_peer):
        (await each.send(server.server_name, edus=[direct(each, alice, "hi", message_id="1")])).ok()
    assert texts_in(await alice.sync()) == ["hi", "hi"]


async def test_what_is_wrong_harms_only_itself(servers: Servers, peer: Peer) -> None:
    server = await servers.start()
    alice, closed = await server.user("alice"), await server.user("closed")

    def edu(message_id: str, **changes: Any) -> dict[str, Any]:
        return direct(peer, alice, message_id, message_id=message_id, **changes)

    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": closed.user_id},
        "password": "a password of the tests",
    }
    (await closed.post("/_matrix/client/v3/account/deactivate", {"auth": auth})).ok()
    bad = [
        edu("another's", sender="@mallory:elsewhere.example"),
        edu("ours", sender=alice.user_id),
        edu("no user", sender="mallory"),
        edu("number", sender=5),
        edu("no type", type=None),
        edu("long type", type="x" * 256),
        edu("nul", type="\0"),
        edu("x" * 256),
        edu("\0"),
        edu("no messages", messages=None),
        edu("no content", messages={alice.user_id: {alice.device_id: "text"}}),
        edu("huge", messages={alice.user_id: {alice.device_id: {"text": "x" * 300_000}}}),
        edu("nobody", messages={"alice": {"*": {"text": "nobody"}}}),
        edu("elsewhere", messages={"@bob:elsewhere.example": {"*": {}}}),
        edu("gone", messages={alice.user_id: {"GONE": {}}, "@nobody:" + server.server_name: {"*": {}}}),
        edu("closed", messages={closed.user_id: {"*": {}, closed.device_id: {}}}),
        edu("none", messages={}),
        {"edu_type": "m.direct_to_device", "content": None},
        {"edu_type": "m.direct_to_device"},
    ]
    for number, each in enumerate(bad):
        (await peer.send(server.server_name, edus=[each, edu(f"good {number}")])).ok()
    assert texts_in(await alice.sync()) == [f"good {number}" for number in range(len(bad))]
    database = server.running.server.database
    assert await database.read(count, "to_device_messages") == len(bad)
    assert await database.read(count, "received_to_device") == len(bad), "what was for nobody is not kept"


async def test_a_flood_keeps_out_nobody_else(
    servers: Servers, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever users it invents, beyond a server's share there is a bound for all together."""
    monkeypatch.setattr(to_device_inboxes, "SHARE_OF_SERVER", to_device_inboxes.Bounds(10, 100_000))
    monkeypatch.setattr(to_device_inboxes, "ALL", to_device_inboxes.Bounds(30, 100_000))
    server = await servers.start()
    alice, bob = await server.user("alice"), await server.user("bob")
    for start in range(0, 60, 20):
        edus = [
            direct(peer, alice, n, message_id=str(n), sender=f"@mallory{n}:{peer.server_name}")
            for n in range(start, start + 20)
        ]
        (await peer.send(server.server_name, edus=edus)).ok()
    await send_to(bob, alice, "from bob")
    answer = await alice.sync()
    assert texts_in(answer) == [*range(30), "from bob"]
    await alice.sync(answer["next_batch"])
    (await peer.send(server.server_name, edus=[direct(peer, alice, "later", message_id="later")])).ok()
    assert texts_in(await alice.sync()) == ["later"]


async def test_one_user_of_a_server_keeps_out_no_other(
    servers: Servers, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those who come when the server's share is used up some messages are let in, each time until they are read."""
    monkeypatch.setattr(to_device_inboxes, "SHARE_OF_SERVER", to_device_inboxes.Bounds(10, 100_000))
    monkeypatch.setattr(to_device_inboxes, "LITTLE", to_device_inboxes.Bounds(3, 5_000))
    server = await servers.start()
    alice = await server.user("alice")
    since = (await alice.sync())["next_batch"]
    nice = f"@nice:{peer.server_name}"
    for first in (0, 100):
        # What the device has is gone.
        await alice.sync(since)
        flood = [direct(peer, alice, n, message_id=str(n)) for n in range(first, first + 30)]
        (await peer.send(server.server_name, edus=flood)).ok()
        keys = [
            direct(peer, alice, text, message_id=f"{text[:5]} {first}", sender=nice)
            for text in ("key 1", "key 2" + "x" * 5_000, "key 3", "key 4", "key 5")
        ]
        (await peer.send(server.server_name, edus=keys)).ok()
        answer = await alice.sync(since)
        assert texts_in(answer) == [*range(first, first + 13), "key 1", "key 3", "key 4"]
        since = answer["next_batch"]
