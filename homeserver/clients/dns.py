"""The DNS, by way of the machine's name servers and its file of hosts."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns, hosts
from twisted.names.client import Resolver as NameServers
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DomainError, ResolverError
from twisted.python.filepath import FilePath

from homeserver.clients.resolver import ResolutionError, Service
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork

TIMEOUTS_S: Final = (1, 2, 4)
"""How long a name server may take to answer, each time it is asked."""

PATIENCE_S: Final = 10.0
"""How long a question may take in all."""

MOST_RECORDS: Final = 20
"""What is taken of an answer."""

LONGEST_MS: Final = 3_600_000
"""For how long an answer is remembered at most, and `SHORTEST_MS` at least."""

SHORTEST_MS: Final = 5_000

LONGEST_CHAIN: Final = 4
"""How many aliases are followed where the name server has not done it."""


class _Answer(msgspec.Struct, frozen=True):
    """Records of one kind, and the name that they are said to be under if there is an alias only."""

    payloads: tuple[Any, ...]
    alias: str | None
    lifetime_ms: int


_NOTHING: Final = _Answer((), None, SHORTEST_MS)


class DnsResolver:
    """Asks the DNS. Answers are remembered for as long as they say, within bounds."""

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Clock,
        *,
        hosts_file: str = "/etc/hosts",
        servers: list[tuple[str, int]] | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._hosts_file = FilePath(hosts_file)
        self._names = NameServers(
            resolv=None if servers else "/etc/resolv.conf",
            servers=servers,
            timeout=TIMEOUTS_S,
            reactor=reactor,
        )
        self._remembered: Cache[tuple[int, str], tuple[int, _Answer]] = Cache(2_000)
        self._asking: SharedWork[tuple[int, str], _Answer] = SharedWork()

    async def addresses(self, host: str) -> list[str]:
        """See `resolver.Resolver`. IPv4 comes first: where IPv6 is broken, trying it costs seconds."""
        # The file is small, and the system keeps it in memory.
        listed: list[str] = hosts.searchFileForAll(self._hosts_file, host.encode("ascii", "replace"))
        if listed:
            return listed
        found: list[str] = []
        trouble: ResolutionError | None = None
        for kind in (dns.A, dns.AAAA):
            try:
                found += [
                    str(ipaddress.ip_address(each.address)) for each in await self._following(kind, host)
                ]
            except ResolutionError as error:
                trouble = error
        if not found and trouble is not None:
            raise trouble
        return found

    async def services(self, name: str) -> list[Service]:
        """See `resolver.Resolver`."""
        return [
            Service(each.target.name.decode("ascii", "replace"), each.port, each.priority, each.weight)
            for each in (await self._ask(dns.SRV, name)).payloads
        ]

    async def _following(self, kind: int, host: str) -> tuple[Any, ...]:
        for _ in range(LONGEST_CHAIN):
            answer = await self._ask(kind, host)
            if answer.payloads or answer.alias is None:
                return answer.payloads
            host = answer.alias
        raise ResolutionError(f"{host} is an alias of an alias of an alias")

    async def _ask(self, kind: int, name: str) -> _Answer:
        key = (kind, name.lower())
        remembered = self._remembered.get(key)
        if remembered is not None and self._clock.monotonic_ms() < remembered[0]:
            return remembered[1]
        return await self._asking.get(key, lambda: self._look_up(*key))

    async def _look_up(self, kind: int, name: str) -> _Answer:
        lookup: Callable[..., Deferred[Any]] = {
            dns.A: self._names.lookupAddress,
            dns.AAAA: self._names.lookupIPV6Address,
            dns.SRV: self._names.lookupService,
        }[kind]
        try:
            deferred = lookup(name, TIMEOUTS_S)
            deferred.addTimeout(PATIENCE_S, self._reactor)
            records, _, _ = await deferred
            answer = _read(kind, records)
        except DNSNameError:
            answer = _NOTHING
        except (DNSQueryTimeoutError, OutOfPatience):
            raise ResolutionError(f"the DNS did not answer about {name}") from None
        except (DomainError, ResolverError, OSError, ValueError) as error:
            raise ResolutionError(
                f"the DNS could not answer about {name} ({type(error).__name__})"
            ) from error
        until_ms = self._clock.monotonic_ms() + answer.lifetime_ms
        self._remembered.put((kind, name), (until_ms, answer))
        return answer


def _read(kind: int, records: Sequence[Any]) -> _Answer:
    """What the records of an answer say."""
    wanted = [record for record in records if record.type == kind][:MOST_RECORDS]
    aliases = [record for record in records if record.type == dns.CNAME]
    if not wanted and not aliases:
        return _NOTHING
    lifetime_ms = min(record.ttl for record in wanted + aliases) * 1000
    alias = None if wanted else aliases[-1].payload.name.name.decode("ascii", "replace")
    payloads = tuple(record.payload for record in wanted)
    return _Answer(payloads, alias, max(SHORTEST_MS, min(lifetime_ms, LONGEST_MS)))
