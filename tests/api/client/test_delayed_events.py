"""MSC4140: events that are sent later, over its own endpoints and the query parameter from before."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from homeserver.config.sections import DelayedEvents
from homeserver.runtime.clock import SystemClock
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"
LIST = f"{UNSTABLE}/delayed_events"
TOPIC = "m.room.topic"
WEEK_MS = 604_800_000


@attrs.define
class MovableClock(SystemClock):
    """The time stands still until a test moves it by `ahead_ms`."""

    ahead_ms: int = 0
    begun_ts: int = attrs.field(factory=SystemClock().now_ts)

    def now_ts(self) -> int:
        return self.begun_ts + self.ahead_ms


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A server whose time tests move."""
    limits = DelayedEvents(max_scheduled=5)
    clock = MovableClock()
    async with running_server(
        database_url, tmp_path, specification, clock=clock, delayed_events=limits
    ) as running:
        yield running


async def wait(server: TestServer, ms: int) -> None:
    """Let time go by, and what is due be sent."""
    clock = server.clock
    assert isinstance(clock, MovableClock)
    clock.ahead_ms += ms
    await settle(server)


async def settle(server: TestServer) -> None:
    service = server.server.services.delayed_events
    await service.work()
    await service.finish()


def message(text: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": text}


async def schedule(
    client: Client, room: str, content: Any, delay_ms: int = 8_000, txn_id: str = "t", **more: Any
) -> Any:
    """Schedule a message, or with a state key a topic."""
    kind = TOPIC if "state_key" in more else "m.room.message"
    path = f"{UNSTABLE}/rooms/{room}/delayed_event/{kind}/{txn_id}"
    return await client.put(path, {"delay_ms": delay_ms, "content": content, **more})


async def scheduled(client: Client, room: str, content: Any, *args: Any, **more: Any) -> str:
    delay_id = (await schedule(client, room, content, *args, **more)).ok()["delay_id"]
    assert isinstance(delay_id, str)
    return delay_id


async def put_off(client: Client, path: str, content: object, delay: object = 8_000, **query: object) -> Any:
    """Schedule by the query parameter, of which the specification's answers know nothing."""
    query = {"org.matrix.msc4140.delay": delay} | query
    return await client.request("PUT", path, content, query=query, check=False)


async def act(client: Client, delay_id: str, action: str) -> Any:
    return await client.post(f"{LIST}/{delay_id}/{action}")


async def one(client: Client, delay_id: str) -> Any:
    return (await client.get(f"{LIST}/{delay_id}")).ok()


async def topic_of(client: Client, room: str) -> Any:
    return (await client.get(room_path(room, "state", TOPIC, ""))).json.get("topic")


async def test_an_event_is_sent_when_it_is_due_and_not_before(
    server: TestServer, alice: Client, bob: Client
) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    tokens = [(await client.sync())["next_batch"] for client in (alice, bob)]
    delay_id = await scheduled(alice, room, message("later"))
    found = await one(alice, delay_id)
    assert found == {
        "delay_id": delay_id,
        "room_id": room,
        "type": "m.room.message",
        "delay_ms": 8_000,
        "delayed_since_ts": found["delayed_since_ts"],
        "content": message("later"),
    }
    assert (await alice.get(LIST)).ok() == {"delayed_events": [found]}
    assert (await bob.get(LIST)).ok() == {"delayed_events": []}
    await wait(server, 7_000)
    assert await bob.messages_in(room) == []
    await wait(server, 1_000)
    shown = []
    for client, since in zip((alice, bob), tokens, strict=True):
        (event,) = (await client.sync(since))["rooms"]["join"][room]["timeline"]["events"]
        assert event["content"] == message("later")
        shown.append(event)
    # The sender, and nobody else, is told which one it is.
    assert shown[0]["unsigned"]["org.matrix.msc4140.delay_id"] == delay_id
    assert shown[0]["unsigned"]["delay_id"] == delay_id
    assert "transaction_id" not in shown[0]["unsigned"]
    assert not any("delay_id" in key for key in shown[1]["unsigned"])
    event_id = shown[0]["event_id"]
    for client in (alice, bob):
        event = (await client.get(room_path(room, "event", event_id))).ok()
        assert (event["unsigned"].get("delay_id") == delay_id) is (client is alice)
    sent = await one(alice, delay_id)
    assert sent.pop("finalised") == {"finalised_ts": event["origin_server_ts"], "event_id": event_id}
    assert sent == found
    assert event["origin_server_ts"] >= found["delayed_since_ts"] + 8_000
    assert (await alice.get(LIST)).ok() == {"delayed_events": []}
    await wait(server, 100_000)
    assert await bob.messages_in(room) == ["later"]


async def test_the_query_parameter_of_most_clients(server: TestServer, alice: Client) -> None:
    """What Element Call sends: state that says goodbye, put off for as long as the device is there."""
    room = await alice.create_room()
    kind, key = "org.matrix.msc3401.call.member", f"_{alice.user_id}_{alice.device_id}"
    await alice.set_state(room, kind, {"application": "m.call"}, key)
    goodbye = (await put_off(alice, room_path(room, "state", kind, key), {})).ok()
    assert goodbye.keys() == {"delay_id"}
    said = (await put_off(alice, room_path(room, "send", "m.room.message", "t"), message("x"))).ok()
    for _ in range(3):
        await wait(server, 5_000)
        assert (await act(alice, goodbye["delay_id"], "restart")).ok() == {}
    assert await alice.messages_in(room) == ["x"]
    assert "event_id" in (await one(alice, said["delay_id"]))["finalised"]
    assert (await alice.get(room_path(room, "state", kind, key))).ok() == {"application": "m.call"}
    await wait(server, 8_000)
    assert (await alice.get(room_path(room, "state", kind, key))).ok() == {}
    state = room_path(room, "state", kind, key)
    for delay in ("0", "-5", "soon"):
        (await put_off(alice, state, {"a": 1}, delay)).error(400, "M_INVALID_PARAM")
    query = {"org.matrix.msc4140.parent_delay_id": "x"}
    (await put_off(alice, state, {"a": 1}, **query)).error(400, "M_INVALID_PARAM")
    (await alice.put(state, {"a": 1}, **query)).error(400, "M_INVALID_PARAM")
    told = (await put_off(alice, state, {"a": 1}, WEEK_MS + 1)).error(400, "M_UNKNOWN")
    assert told["org.matrix.msc4140.errcode"] == "M_MAX_DELAY_EXCEEDED"
    assert told["org.matrix.msc4140.max_delay"] == WEEK_MS
    assert (await alice.get(room_path(room, "state", kind, key))).ok() == {}


async def test_send_cancel_restart(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    ids = {
        action: await scheduled(alice, room, message(action), txn_id=action) for action in ("send", "cancel")
    }
    ids["restart"] = await scheduled(alice, room, {"topic": "restart"}, state_key="")
    for action, delay_id in ids.items():
        (await act(bob, delay_id, action)).error(404, "M_NOT_FOUND")
        (await bob.get(f"{LIST}/{delay_id}")).error(404, "M_NOT_FOUND")
        (await alice.post(f"{LIST}/{delay_id}", {"action": "explode"})).error(400, "M_BAD_JSON")
        (await act(alice, delay_id, "explode")).error(400, "M_INVALID_PARAM")
    await wait(server, 5_000)
    # All forms of the endpoint do the same.
    assert (await act(alice, ids["send"], "send")).ok() == {}
    assert (await alice.post(f"{LIST}/{ids['cancel']}", {"action": "cancel"})).ok() == {}
    stable = path_of("delayed_events", ids["restart"], version="v1")
    assert (await alice.post(f"{stable}/restart")).ok() == {}
    assert (await alice.get(stable)).ok() == await one(alice, ids["restart"])
    assert await alice.messages_in(room) == ["send"]
    await wait(server, 7_999)
    assert await topic_of(alice, room) is None
    await wait(server, 1)
    assert await topic_of(alice, room) == "restart"
    assert await alice.messages_in(room) == ["send"]
    outcomes = {action: (await one(alice, delay_id))["finalised"] for action, delay_id in ids.items()}
    assert outcomes["cancel"].keys() == {"finalised_ts"}
    assert all(outcomes[action].keys() == {"finalised_ts", "event_id"} for action in ("send", "restart"))
    # What has been done may be asked for again; the opposite comes too late.
    for action, fitting in (("send", "send"), ("cancel", "cancel"), ("restart", "send")):
        for other in ("send", "cancel", "restart"):
            answer = await act(alice, ids[action], other)
            if other == fitting:
                assert answer.ok() == {}
            else:
                answer.error(409, "M_UNKNOWN")
    (await act(alice, "unknown", "send")).error(404, "M_NOT_FOUND")
    assert await alice.messages_in(room) == ["send"]


async def test_whether_it_may_be_sent_is_judged_when_it_is(
    server: TestServer, alice: Client, bob: Client
) -> None:
    room = await alice.create_room(preset="public_chat")
    refused = await scheduled(bob, room, message("not in the room"))
    allowed = await scheduled(bob, room, message("in the room by then"), 20_000, "t2")
    # Sent at once it fails as it would without a delay, and stays scheduled.
    (await act(bob, refused, "send")).error(403, "M_FORBIDDEN")
    assert "finalised" not in await one(bob, refused)
    await wait(server, 8_000)
    error = (await one(bob, refused))["finalised"]["error"]
    assert error["errcode"] == "M_FORBIDDEN"
    assert error["error"]
    (await act(bob, refused, "send")).error(409, "M_UNKNOWN")
    assert (await act(bob, refused, "cancel")).ok() == {}
    await bob.join(room)
    await wait(server, 12_000)
    assert await alice.messages_in(room) == ["in the room by then"]
    assert "event_id" in (await one(bob, allowed))["finalised"]


async def test_what_is_set_meanwhile_does_not_cancel_it(server: TestServer, alice: Client) -> None:
    """MSC4140, "Conflicting delayed state events"."""
    room = await alice.create_room()
    delay_id = await scheduled(alice, room, {"topic": "delayed"}, state_key="")
    await alice.set_state(room, TOPIC, {"topic": "meanwhile"})
    await wait(server, 8_000)
    assert await topic_of(alice, room) == "delayed"
    event_id = (await one(alice, delay_id))["finalised"]["event_id"]
    (event,) = [event for event in (await alice.get(room_path(room, "state"))).ok() if event["type"] == TOPIC]
    assert (event["event_id"], event["unsigned"]["delay_id"]) == (event_id, delay_id)


async def test_memberships_and_redactions(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    secret = await alice.send(room, "will vanish")
    path = f"{UNSTABLE}/rooms/{room}/delayed_event"
    kick = {"delay_ms": 1_000, "state_key": bob.user_id, "content": {"membership": "leave"}}
    kicking = (await alice.put(f"{path}/m.room.member/a", kick)).ok()["delay_id"]
    redact = {"delay_ms": 1_000, "content": {"redacts": secret, "reason": "old"}}
    (await alice.put(f"{path}/m.room.redaction/b", redact)).ok()
    (await alice.put(f"{path}/m.room.redaction/c", {"delay_ms": 1, "content": {}})).error(
        400, "M_INVALID_PARAM"
    )
    invite = {"delay_ms": 1, "state_key": "@x:elsewhere.example", "content": {"membership": "invite"}}
    (await alice.put(f"{path}/m.room.member/d", invite)).error(403, "M_FORBIDDEN")
    await wait(server, 1_000)
    event = (await alice.get(room_path(room, "event", secret))).ok()
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["content"]["reason"] == "old"
    (member,) = [
        event
        for event in (await alice.get(room_path(room, "state"))).ok()
        if event.get("state_key") == bob.user_id
    ]
    assert member["content"]["membership"] == "leave"
    assert member["unsigned"]["delay_id"] == kicking


async def test_a_repeated_request_schedules_one_event(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    first = await scheduled(alice, room, message("once"))
    assert await scheduled(alice, room, message("once")) == first
    path = room_path(room, "send", "m.room.message", "t")
    assert (await put_off(alice, path, message("once"))).ok()["delay_id"] == first
    await wait(server, 8_000)
    assert await scheduled(alice, room, message("once")) == first
    # Sending at once is another request.
    (await alice.put(path, message("now"))).ok()
    assert await alice.messages_in(room) == ["once", "now"]


async def test_there_are_limits(server: TestServer, alice: Client, guest: Client) -> None:
    room = await alice.create_room()
    (await schedule(alice, room, message("x"), WEEK_MS + 1)).error(403, "M_FORBIDDEN")
    for delay_ms in (0, -1):
        (await schedule(alice, room, message("x"), delay_ms)).error(400, "M_INVALID_PARAM")
    (await schedule(alice, room, {"body": "x" * 70_000})).error(413, "M_TOO_LARGE")
    (await schedule(alice, room, {}, state_key="\0")).error(400, "M_INVALID_PARAM")
    ids = [await scheduled(alice, room, message(f"{n}"), 60_000, f"{n}") for n in range(5)]
    refused = await schedule(alice, room, message("one too many"), txn_id="5")
    told = refused.error(429, "M_LIMIT_EXCEEDED")
    assert told["retry_after_ms"] == 60_000
    assert refused.headers["retry-after"] == "60"
    # Others, guests among them, have limits of their own.
    await scheduled(guest, room, message("a guest"))
    (await act(alice, ids[0], "cancel")).ok()
    await scheduled(alice, room, message("now there is room"), txn_id="5")


async def test_accounts_that_may_not_send(
    server: TestServer, alice: Client, bob: Client, carol: Client
) -> None:
    room = await alice.create_room(preset="public_chat")
    ids = {}
    for client in (bob, carol):
        await client.join(room)
        ids[client.user_id] = await scheduled(client, room, message("no"))
    await server.restrict(bob, "is_suspended")
    (await schedule(bob, room, message("no"), txn_id="t2")).error(403, "M_USER_SUSPENDED")
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": carol.user_id}}
    body = {"auth": {**auth, "password": "a password of the tests"}}
    (await carol.post(path_of("account", "deactivate"), body)).ok()
    locked = await scheduled(alice, room, message("no"))
    await server.restrict(alice, "is_locked")
    await wait(server, 8_000)
    assert (await one(bob, ids[bob.user_id]))["finalised"]["error"]["errcode"] == "M_USER_SUSPENDED"
    assert await bob.messages_in(room) == []
    assert locked


async def test_where_nothing_can_be_delayed(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    limits = DelayedEvents(max_scheduled=0)
    async with running_server(database_url, tmp_path, specification, delayed_events=limits) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        (await schedule(alice, room, message("x"))).error(403, "M_FORBIDDEN")
        capabilities = (await alice.get(path_of("capabilities"))).ok()["capabilities"]
        assert not any("delayed_events" in name for name in capabilities)
        features = (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]
        assert not any("msc4140" in name for name in features)


async def test_a_restart_of_the_server_loses_nothing(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """What fell due while the server was away is sent at once, in its order."""
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        for number, delay_ms in enumerate((30_000, 10_000, 20_000, 90_000)):
            await scheduled(alice, room, message(str(delay_ms)), delay_ms, str(number))
    clock.ahead_ms += 40_000
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice = attrs.evolve(alice, base_url=server.base_url, pool=server.pool)
        await settle(server)
        assert await alice.messages_in(room) == ["10000", "20000", "30000"]
        await wait(server, 50_000)
        assert await alice.messages_in(room) == ["10000", "20000", "30000", "90000"]
