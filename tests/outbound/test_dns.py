"""The resolver, against a name server on loopback."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import DNSNameError, DNSServerError
from twisted.names.server import DNSServerFactory
from twisted.python.failure import Failure

from homeserver.clients.dns import LONGEST_MS, SHORTEST_MS, DnsResolver
from homeserver.clients.resolver import ResolutionError, Service
from tests.outbound.scripted import REACTOR
from tests.services.conftest import MovableClock


class Zone(ResolverBase):
    """Answers from `records`; a name that is missing does not exist, one that is None breaks the server."""

    def __init__(self) -> None:
        cast("Any", super()).__init__()
        self.records: dict[tuple[bytes, int], list[Any] | None] = {}
        self.asked: list[tuple[bytes, int]] = []
        self.ttl = 600

    def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
        key = (query.name.name.lower(), query.type)
        self.asked.append(key)
        if key not in self.records:
            if any(name == key[0] for name, _ in self.records):
                return succeed(([], [], []))
            return fail(DNSNameError(key[0]))
        found = self.records[key]
        if found is None:
            return fail(DNSServerError(key[0]))
        headers = [dns.RRHeader(key[0], payload.TYPE, dns.IN, self.ttl, payload) for payload in found]
        return succeed((headers, [], []))


class Server(DNSServerFactory):
    """Twisted's says of every failure that the name does not exist."""

    noisy = False

    def gotResolverError(self, failure: Failure, protocol: Any, message: Any, address: Any) -> None:  # noqa: N802 - Twisted's name
        code = dns.ESERVER if failure.check(DNSServerError) else dns.ENAME
        us = cast("Any", self)
        us.sendReply(protocol, us._responseFromMessage(message=message, rCode=code), address)


@attrs.frozen
class Names:
    """A name server and who asks it."""

    zone: Zone
    resolver: DnsResolver


@pytest.fixture
async def names(clock: MovableClock, tmp_path: Path) -> AsyncIterator[Names]:
    zone = Zone()
    protocol = dns.DNSDatagramProtocol(controller=cast("Any", Server)(clients=[zone], verbose=0))
    protocol.noisy = False
    port = cast("Any", REACTOR).listenUDP(0, protocol, interface="127.0.0.1")
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n10.0.0.7 Listed.test other  # remark\n::7 listed.test\nx listed.test\n"
    )
    servers = [("127.0.0.1", port.getHost().port)]
    yield Names(zone, DnsResolver(REACTOR, clock, hosts_file=str(hosts), servers=servers))
    await port.stopListening()


def a(address: str) -> dns.Record_A:
    return dns.Record_A(address)


async def test_addresses_of_both_kinds(names: Names) -> None:
    names.zone.records = {
        (b"a.test", dns.A): [a("1.2.3.4"), a("1.2.3.5")],
        (b"a.test", dns.AAAA): [dns.Record_AAAA("2001:db8::1")],
    }
    assert await names.resolver.addresses("A.test") == ["1.2.3.4", "1.2.3.5", "2001:db8::1"]


async def test_names_that_do_not_exist_and_names_without_addresses(names: Names) -> None:
    names.zone.records = {(b"b.test", dns.MX): []}
    assert await names.resolver.addresses("a.test") == []
    assert await names.resolver.addresses("b.test") == []
    assert await names.resolver.services("_x._tcp.b.test") == []


async def test_the_file_of_hosts_goes_before(names: Names) -> None:
    assert await names.resolver.addresses("localhost") == ["127.0.0.1"]
    assert await names.resolver.addresses("listed.TEST") == ["10.0.0.7", "::7"]
    assert await names.resolver.addresses("remark") == []
    assert all(name == b"remark" for name, _ in names.zone.asked)


async def test_aliases_are_followed(names: Names) -> None:
    names.zone.records = {
        (b"whole.test", dns.A): [dns.Record_CNAME(b"x.test"), a("1.2.3.4")],
        (b"bare.test", dns.A): [dns.Record_CNAME(b"x.test")],
        (b"x.test", dns.A): [a("1.2.3.5")],
        (b"loop.test", dns.A): [dns.Record_CNAME(b"loop.test")],
        (b"loop.test", dns.AAAA): [dns.Record_CNAME(b"loop.test")],
    }
    assert await names.resolver.addresses("whole.test") == ["1.2.3.4"]
    assert await names.resolver.addresses("bare.test") == ["1.2.3.5"]
    with pytest.raises(ResolutionError, match="alias"):
        await names.resolver.addresses("loop.test")


async def test_services(names: Names) -> None:
    names.zone.records = {
        (b"_m._tcp.a.test", dns.SRV): [
            dns.Record_SRV(10, 5, 8443, b"b.test"),
            dns.Record_SRV(20, 0, 1, b"c.test"),
        ]
    }
    assert await names.resolver.services("_m._tcp.a.test") == [
        Service("b.test", 8443, 10, 5),
        Service("c.test", 1, 20, 0),
    ]


async def test_trouble_is_not_taken_for_absence(names: Names) -> None:
    names.zone.records = {(b"a.test", dns.A): None, (b"a.test", dns.AAAA): None, (b"b.test", dns.AAAA): None}
    with pytest.raises(ResolutionError):
        await names.resolver.addresses("a.test")
    # Half an answer is one.
    names.zone.records[b"b.test", dns.A] = [a("1.2.3.4")]
    assert await names.resolver.addresses("b.test") == ["1.2.3.4"]


@pytest.mark.parametrize("name", ["x" * 70 + ".test", "a..test", "." * 200, "a.test."])
async def test_names_that_are_none(names: Names, name: str) -> None:
    with contextlib.suppress(ResolutionError):
        assert await names.resolver.addresses(name) == []


@pytest.mark.parametrize(("ttl", "lifetime_ms"), [(600, 600_000), (0, SHORTEST_MS), (10**6, LONGEST_MS)])
async def test_answers_are_remembered_for_their_time(
    names: Names, clock: MovableClock, ttl: int, lifetime_ms: int
) -> None:
    names.zone.ttl = ttl
    names.zone.records = {(b"_s.a.test", dns.SRV): [dns.Record_SRV(0, 0, 1, b"b.test")]}
    await names.resolver.services("_s.a.test")
    clock.advance(lifetime_ms - 1)
    await names.resolver.services("_S.a.test")
    assert len(names.zone.asked) == 1
    clock.advance(1)
    await names.resolver.services("_s.a.test")
    assert len(names.zone.asked) == 2


async def test_many_ask_once(names: Names) -> None:
    names.zone.records = {(b"_s.a.test", dns.SRV): [dns.Record_SRV(0, 0, 1, b"b.test")]}
    asked: list[Deferred[Any]] = [
        Deferred.fromCoroutine(names.resolver.services("_s.a.test")) for _ in range(9)
    ]
    asked[0].addErrback(lambda _: None)
    asked[0].cancel()
    assert all(await gatherResults(asked[1:]))
    assert len(names.zone.asked) == 1
