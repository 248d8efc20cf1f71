"""Servers that get to know each other, over TLS on this machine."""

import pytest

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import federation_path
from homeserver.config.sections import Federation
from homeserver.core.server_keys import WantedKey
from tests.api.server import Client
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, cut, mend

VERSION = federation_path("v1", "version")


def anybody(server: FederatedServer) -> Client:
    running = server.running
    return Client(running.base_url, running.specification, running.pool)


async def test_servers_find_each_others_keys(two: Two) -> None:
    trust = two.one.running.server.services.trust
    wanted = WantedKey(two.other.server_name, two.other.key.key_id, None)
    assert await trust.server_keys.fetch([wanted]) == {wanted: two.other.key.verify_key}
    assert (
        await trust.server_keys.current(two.other.server_name, two.other.key.key_id)
        == two.other.key.verify_key
    )


async def test_a_server_witnesses_for_one_that_is_gone(servers: Servers) -> None:
    """And is believed by who has it for a notary."""
    notary, other = await servers.start(), await servers.start()
    federation = Federation(
        allow_private_addresses=True,
        trusted_ca_file=servers.authority.file,
        key_notaries=(notary.server_name,),
    )
    asking = await servers.start(federation=federation)
    answer = await anybody(notary).request("GET", f"/_matrix/key/v2/query/{other.server_name}")
    assert {notary.server_name, other.server_name} == answer.ok()["server_keys"][0]["signatures"].keys()
    await other.stop()
    wanted = WantedKey(other.server_name, other.key.key_id, asking.running.clock.now_ts())
    keys = asking.running.server.services.trust.server_keys
    assert await keys.fetch([wanted]) == {wanted: other.key.verify_key}


async def test_who_is_heard_of_is_called_again_at_once(two: Two) -> None:
    client = two.one.running.server.services.trust.client
    assert await client.get(two.other.server_name, VERSION)
    cut(two.one, two.other)
    with pytest.raises(RemoteError):
        await client.get(two.other.server_name, VERSION)
    mend(two.one, two.other)
    assert client.is_left_alone(two.other.server_name)
    for tell in two.one.running.server.services.trust.authentication.heard_of:
        tell(two.other.server_name)
    assert await client.get(two.other.server_name, VERSION)


async def test_a_server_that_is_denied_is_not_called(servers: Servers) -> None:
    other = await servers.start()
    federation = Federation(
        allow_private_addresses=True, trusted_ca_file=servers.authority.file, deny=("localhost:*",)
    )
    one = await servers.start(federation=federation)
    with pytest.raises(RemoteError, match="does not deal with"):
        await one.running.server.services.trust.client.get(other.server_name, VERSION)
