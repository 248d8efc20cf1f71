"""Sending over real connections: what a foreign server is sent, and what the operator sees of one that is away."""

import attrs
import pytest
from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from homeserver.cli.main import main
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.signing import verify_json
from homeserver.core.x_matrix import parse, signed_request
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from tests.api.server import Client, room_path
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.peer import Heard, Peer, Reply

TRANSACTIONS = "/_matrix/federation/v1/send/{txn_id}"


@attrs.frozen
class Shared:
    """A server of ours with alice in a room, in which a user of the peer is, too."""

    server: FederatedServer
    alice: Client
    room_id: RoomID

    async def say(self, text: str) -> None:
        await self.alice.send(self.room_id, text)


@pytest.fixture
async def shared(servers: Servers, peer: Peer) -> Shared:
    server = await servers.start()
    alice = await server.user("alice")
    room_id = RoomID(await alice.create_room(preset="public_chat"))
    signer = Signer(server.server_name, server.key)
    user_id = UserID(f"@mallory:{peer.server_name}")

    def join(tx: WriteTransaction, now_ts: int) -> None:
        # As a handshake would; who signed it does not matter here.
        appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
        appender.append(Draft(user_id, "m.room.member", {"membership": "join"}, state_key=user_id))
        appender.publish()

    peer.answer("PUT", TRANSACTIONS, {"pdus": {}})
    await server.running.server.database.write(join, 1_700_000_000_000)
    return Shared(server, alice, room_id)


def transactions(peer: Peer) -> list[Heard]:
    return peer.heard_at("/send/")


def texts(peer: Peer) -> list[str]:
    """The messages that the peer was sent."""
    return [
        pdu["content"]["body"]
        for each in transactions(peer)
        for pdu in each.json["pdus"]
        if pdu["type"] == "m.room.message"
    ]


async def sent(peer: Peer, *wanted: str) -> None:
    async def there() -> bool:
        return texts(peer) == [*wanted]

    await until(there, what=f"the peer is sent {wanted}")


async def test_a_transaction_is_signed_and_its_events_too(shared: Shared, peer: Peer) -> None:
    await shared.say("hello")
    await sent(peer, "hello")
    heard = transactions(peer)[-1]
    server = shared.server
    header = parse(heard.headers["authorization"])
    assert (header.origin, header.destination) == (server.server_name, peer.server_name)
    request = signed_request("PUT", heard.path, server.server_name, peer.server_name, heard.json)
    request["signatures"] = {server.server_name: {header.key: header.signature}}
    verify_json(request, server.server_name, server.key.key_id, server.key.verify_key)


async def test_typing_and_receipts_are_sent(shared: Shared, peer: Peer) -> None:
    await shared.say("hello")
    await sent(peer, "hello")
    path = room_path(shared.room_id, "typing", shared.alice.user_id)
    (await shared.alice.put(path, {"typing": True, "timeout": 5_000})).ok()

    async def typing() -> bool:
        edus = [edu for each in transactions(peer) for edu in each.json["edus"]]
        return {
            "edu_type": "m.typing",
            "content": {"room_id": shared.room_id, "user_id": shared.alice.user_id, "typing": True},
        } in edus

    await until(typing, what="the peer is told who types")


async def test_a_server_that_is_away_is_shown_and_caught_up(shared: Shared, peer: Peer) -> None:
    server = shared.server
    server.network.cut(peer.port)
    await shared.say("one")
    await shared.say("two")

    async def noted() -> bool:
        # Not just anywhere: what the server logs at the same time is in it, too.
        shown = await command(server, "status")
        return shown.startswith(f"{peer.server_name}\tfailing since ") and "events behind" in shown

    await until(noted, what="that the peer is away is noted")
    assert await command(server, "status", "other.example.org") == "other.example.org: nothing is amiss.\n"
    await shared.say("three")
    server.network.mend(peer.port)
    assert await command(server, "retry", peer.server_name) == f"{peer.server_name} will be tried.\n"
    await sent(peer, "one", "two", "three")

    async def recovered() -> bool:
        return "up to date since" in await command(server, "status", peer.server_name)

    await until(recovered, what="the peer is up to date")
    assert await command(server, "status") == ""
    assert (
        await command(server, "retry", peer.server_name) == f"{peer.server_name} has been sent everything.\n"
    )
    assert await command(server, "retry", "--all") == "0 servers will be tried.\n"


async def test_a_restart_loses_nothing(shared: Shared, peer: Peer) -> None:
    server = shared.server
    server.network.cut(peer.port)
    await shared.say("one")
    await server.stop()
    server.network.mend(peer.port)
    await server.start()
    server.reconnect(shared.alice)
    await shared.say("two")

    async def both() -> bool:
        await command(server, "retry", "--all")
        await deferLater(reactor, 0.05)
        return list(dict.fromkeys(texts(peer))) in (["one", "two"], ["two", "one"])

    await until(both, what="the peer has both messages")


async def test_a_server_that_makes_a_request_is_tried_at_once(shared: Shared, peer: Peer) -> None:
    server = shared.server
    server.network.cut(peer.port)
    await shared.say("one")

    async def noted() -> bool:
        return bool(server.running.server.services.outbox.queues.behind)

    await until(noted, what="that the peer is away is noted")
    server.network.mend(peer.port)
    peer.answer("GET", "/_matrix/key/v2/server", Reply(peer.server_keys()))
    server.running.server.services.outbox.heard_of(peer.server_name)
    await sent(peer, "one")


async def command(server: FederatedServer, *arguments: str) -> str:
    """What `homeserver federation` says about the server, which is running."""
    path = server._folder / "homeserver.yaml"
    key = server._folder / "signing.key"
    if not path.exists():
        key.write_text(server.key.to_file_line() + "\n")
        key.chmod(0o600)
        path.write_text(
            f"server_name: {server.server_name}\nsigning_key_path: {key}\ndatabase: {server._database_url}\n"
        )
    result = await deferToThread(CliRunner().invoke, main, ["federation", *arguments, f"--config={path}"])
    assert result.exit_code == 0, result.output
    return str(result.stdout)
