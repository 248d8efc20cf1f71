"""The harness itself: servers answer by TLS under their names, links can be cut, servers started again."""

from typing import Any, cast

import pytest
import treq
from twisted.internet import reactor
from twisted.internet.error import ConnectError
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ResponseNeverReceived

from homeserver.core.signing import verify_json
from tests.federation.harness import FederatedServer, Servers
from tests.federation.peer import Endless, Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom


async def fetched(servers: Servers, by: FederatedServer, url: str) -> Any:
    """The JSON at the URL, over the server's network."""
    trusted = trustRootFromCertificates([Certificate.loadPEM(servers.authority.file.read_bytes())])
    agent = Agent(by.network.as_reactor, BrowserLikePolicyForHTTPS(trustRoot=trusted))
    response = await treq.get(url, agent=agent)
    return await treq.json_content(response)


async def test_servers_answer_by_tls_under_their_names(servers: Servers) -> None:
    one = await servers.start()
    other = await servers.start()
    assert one.server_name != other.server_name
    assert one.key.verify_key != other.key.verify_key
    answer = await fetched(servers, one, f"https://{other.server_name}/_matrix/client/versions")
    assert "v1.16" in answer["versions"]
    alice = await one.user("alice")
    assert alice.user_id == f"@alice:{one.server_name}"


async def test_a_cut_link_carries_nothing_until_it_is_mended(servers: Servers) -> None:
    one = await servers.start()
    other = await servers.start()
    url = f"https://{other.server_name}/_matrix/client/versions"
    one.network.cut(other.port)
    with pytest.raises(ConnectError):
        await fetched(servers, one, url)
    await fetched(servers, other, url)
    one.network.mend(other.port)
    await fetched(servers, one, url)


async def test_a_cut_ends_what_is_connected(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    endless = Endless(b" ", every_s=0.01)
    peer.answer("GET", "/endless", endless)
    peer.answer("GET", "/short", Reply({"a": 1}))
    assert await fetched(servers, one, f"https://{peer.server_name}/short") == {"a": 1}
    cast("Any", reactor).callLater(0.1, one.network.cut, peer.port)
    with pytest.raises(Exception) as caught:
        await fetched(servers, one, f"https://{peer.server_name}/endless")
    assert isinstance(caught.value, ResponseNeverReceived | Exception)
    assert endless.sent


async def test_a_server_started_again_has_its_data(servers: Servers) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    room_id = await alice.create_room()
    await alice.send(room_id, "before")
    await one.stop()
    await one.start()
    one.reconnect(alice)
    await alice.send(room_id, "after")
    assert await alice.messages_in(room_id) == ["before", "after"]


async def test_the_peer_signs_its_keys_and_its_events(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    keys = await fetched(servers, one, f"https://{peer.server_name}/_matrix/key/v2/server")
    verify_json(keys, peer.server_name, peer.key.key_id, peer.key.verify_key)
    for version in ("1", "6", "11", "12"):
        room = PeerRoom.create(peer, version)
        event_id = room.append("m.room.message", {"body": "hello", "msgtype": "m.text"})
        answer = await fetched(
            servers, one, f"https://{peer.server_name}{federation('v1', 'event', event_id)}"
        )
        assert [room.id_of(pdu) for pdu in answer["pdus"]] == [event_id]
        assert peer.heard[-1].args == {"event_id": event_id}
