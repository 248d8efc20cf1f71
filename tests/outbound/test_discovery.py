"""Server-server API, "Resolving server names", case by case."""

from collections.abc import AsyncIterator
from functools import partial
from operator import truediv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.clients.discovery import Discovery, in_order, split
from homeserver.clients.resolver import Service
from homeserver.clients.routes import Route, Target
from homeserver.core.identifiers import ServerName
from tests.federation.certificates import Authority
from tests.outbound.scripted import Caller, FakeResolver, ScriptedServer, caller, certify, ok, scripted_server


@pytest.fixture
async def web(authority: Authority) -> AsyncIterator[ScriptedServer]:
    """Stands on the port of HTTPS, as it were, of hub.test."""
    async with scripted_server(certify(authority, "hub.test"), lambda _: ok({}, status="404 No")) as running:
        yield running


@pytest.fixture
async def remote(authority: Authority, web: ScriptedServer) -> AsyncIterator[Caller]:
    resolver = FakeResolver({"hub.test": ["127.0.0.1"]})
    made = caller(authority, resolver=resolver, well_known_port=web.port)
    yield made
    made.transport.close()


async def route(remote: Caller, name: str) -> Route:
    return await Discovery(remote.resolver, remote.well_known, lambda: 0.0).route(ServerName(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1.2.3.4", Route((Target("1.2.3.4", 8448),), "1.2.3.4", "1.2.3.4")),
        ("1.2.3.4:5", Route((Target("1.2.3.4", 5),), "1.2.3.4:5", "1.2.3.4")),
        ("[2001:db8::1]", Route((Target("2001:db8::1", 8448),), "[2001:db8::1]", "2001:db8::1")),
        ("[2001:db8::1]:5", Route((Target("2001:db8::1", 5),), "[2001:db8::1]:5", "2001:db8::1")),
        ("hub.test:5", Route((Target("hub.test", 5),), "hub.test:5", "hub.test")),
        ("hub.test:8448", Route((Target("hub.test", 8448),), "hub.test:8448", "hub.test")),
    ],
)
async def test_literals_and_ports_leave_nothing_to_look_up(
    remote: Caller, web: ScriptedServer, name: str, expected: Route
) -> None:
    """Steps 1 and 2."""
    assert await route(remote, name) == expected
    assert not web.requests
    assert not remote.resolver.asked


@pytest.mark.parametrize(
    ("delegated", "expected"),
    [
        ("1.2.3.4", Route((Target("1.2.3.4", 8448),), "1.2.3.4", "1.2.3.4")),
        ("[2001:db8::1]:5", Route((Target("2001:db8::1", 5),), "[2001:db8::1]:5", "2001:db8::1")),
        ("other.test:5", Route((Target("other.test", 5),), "other.test:5", "other.test")),
        ("other.test", Route((Target("other.test", 8448),), "other.test", "other.test")),
        ("fed.test", Route((Target("srv.test", 1),), "fed.test", "fed.test")),
        ("old.test", Route((Target("old-srv.test", 2),), "old.test", "old.test")),
        ("mute.test", Route((Target("mute.test", 8448),), "mute.test", "mute.test")),
    ],
)
async def test_delegation(remote: Caller, web: ScriptedServer, delegated: str, expected: Route) -> None:
    """Steps 3.1 to 3.5."""
    web.answer = lambda _: ok({"m.server": delegated})
    remote.resolver.records = {
        "_matrix-fed._tcp.fed.test": [Service("srv.test", 1, 0, 0)],
        "_matrix._tcp.fed.test": [Service("wrong.test", 9, 0, 0)],
        "_matrix._tcp.old.test": [Service("old-srv.test", 2, 0, 0)],
        "_matrix-fed._tcp.hub.test": [Service("wrong.test", 9, 0, 0)],
    }
    remote.resolver.silent = {"_matrix-fed._tcp.mute.test", "_matrix._tcp.mute.test"}
    assert await route(remote, "hub.test") == expected
    assert [(each.target, each.sni) for each in web.requests] == [("/.well-known/matrix/server", "hub.test")]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({}, Target("hub.test", 8448)),
        ({"_matrix._tcp.hub.test": [Service("b.test", 2, 0, 0)]}, Target("b.test", 2)),
        (
            {
                "_matrix-fed._tcp.hub.test": [Service("a.test.", 1, 0, 0)],
                "_matrix._tcp.hub.test": [Service("b.test", 2, 0, 0)],
            },
            Target("a.test", 1),
        ),
    ],
)
async def test_without_delegation(
    remote: Caller, web: ScriptedServer, records: dict[str, list[Service]], expected: Target
) -> None:
    """Steps 4 to 6; the certificate must be that of the server's name, whatever the DNS says."""
    remote.resolver.records = records
    assert await route(remote, "hub.test") == Route((expected,), "hub.test", "hub.test")
    assert len(web.requests) == 1


async def test_a_service_that_is_not_offered(remote: Caller) -> None:
    remote.resolver.records = {"_matrix-fed._tcp.hub.test": [Service(".", 0, 0, 0)]}
    assert (await route(remote, "hub.test")).targets == ()


async def test_a_delegated_server_is_called_by_its_own_name(
    authority: Authority, web: ScriptedServer, remote: Caller
) -> None:
    """The signature names the server that is meant, `Host` and certificate the one that it delegates to."""
    async with scripted_server(certify(authority, "other.test"), lambda _: ok({"other": True})) as other:
        remote.resolver.hosts["other.test"] = ["127.0.0.1"]
        web.answer = lambda _: ok({"m.server": f"other.test:{other.port}"})
        assert await remote.client.get(ServerName("hub.test"), "/x") == {"other": True}
        (received,) = other.requests
        assert received.headers["host"] == f"other.test:{other.port}"
        assert received.sni == "other.test"
        assert 'destination="hub.test"' in received.headers["authorization"]


async def test_delegation_does_not_lead_into_private_networks(
    authority: Authority, server: ScriptedServer
) -> None:
    """What a stranger's well-known says is checked as everything else."""
    remote = caller(authority, allow_private=False)
    with pytest.raises(Exception, match="must not be connected to"):
        await remote.client.get(ServerName(f"127.0.0.1:{server.port}"), "/x")
    assert not server.connections


async def test_another_certificate_than_that_of_the_delegated_name_does_not_do(
    authority: Authority, web: ScriptedServer, remote: Caller
) -> None:
    async with scripted_server(certify(authority, "hub.test"), lambda _: ok({})) as other:
        remote.resolver.hosts["other.test"] = ["127.0.0.1"]
        web.answer = lambda _: ok({"m.server": f"other.test:{other.port}"})
        with pytest.raises(Exception, match=r"not for other\.test"):
            await remote.client.get(ServerName("hub.test"), "/x")
        assert not other.requests


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.test", ("a.test", None)),
        ("a.test:1", ("a.test", 1)),
        ("[::1]", ("::1", None)),
        ("[::1]:1", ("::1", 1)),
    ],
)
def test_splitting(name: str, expected: tuple[str, int | None]) -> None:
    assert split(ServerName(name)) == expected


SERVICES = st.lists(
    st.builds(
        Service, st.sampled_from(["a", "b", "c"]), st.integers(1, 9), st.integers(0, 3), st.integers(0, 9)
    )
)


@given(SERVICES, st.lists(st.floats(0, 1, exclude_max=True), min_size=40, max_size=40))
def test_every_service_is_tried_once_by_priority(services: list[Service], chances: list[float]) -> None:
    draws = iter(chances * 2)
    ordered = in_order(services, lambda: next(draws))
    assert sorted(ordered, key=str) == sorted((Target(each.host, each.port) for each in services), key=str)
    priorities = sorted(each.priority for each in services)
    for target, priority in zip(ordered, priorities, strict=True):
        assert priority in {each.priority for each in services if Target(each.host, each.port) == target}


def test_weights_are_chances() -> None:
    services = [Service("light.test", 1, 0, 1), Service("heavy.test", 1, 0, 9)]
    firsts = [in_order(services, partial(truediv, chance, 100))[0].host for chance in range(1, 100)]
    assert 5 <= firsts.count("light.test") <= 15
