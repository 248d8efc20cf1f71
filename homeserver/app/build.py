"""The composition root: a server is made here from its configuration, and nowhere else."""

import importlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, cast

import argon2
import attrs
import msgspec
import structlog
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorCore,
    IReactorThreads,
)
from twisted.python.failure import Failure

from homeserver.app.endpoints import endpoints
from homeserver.app.loops import Upkeep, loops
from homeserver.app.services import Services, make_services
from homeserver.clients.reactor import ReactorForClients
from homeserver.config.sections import Config, Listener, RateLimits, Resource, Tls
from homeserver.core.rate_limit import RateLimit
from homeserver.core.signing import SigningKey
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.errors import StorageUnavailable
from homeserver.http.addresses import TrustedProxies
from homeserver.http.application import Application
from homeserver.http.endpoints import Limit
from homeserver.http.listen import OverTls, listen
from homeserver.http.metrics import NoMetrics, RequestMetrics
from homeserver.http.rate_limits import InMemoryRateLimiter, RateLimiter
from homeserver.http.router import Router
from homeserver.http.server import HttpServer
from homeserver.http.shared_rate_limits import SharedRateLimiter
from homeserver.rooms.draft import Signer
from homeserver.runtime.bus import Bus, LocalBus
from homeserver.runtime.cells import Cells
from homeserver.runtime.clock import Clock
from homeserver.runtime.loops import Loops
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.attempts import DEFAULT_RATES, Attempts, InMemoryAttempts
from homeserver.services.federation_outbox.measures import NoOutboxMetrics, OutboxMetrics
from homeserver.services.federation_outbox.outbox import Outbox
from homeserver.services.inbox_measures import InboxMetrics, NoInboxMetrics
from homeserver.services.passwords import ARGON2
from homeserver.services.shared_attempts import SharedAttempts

_log = structlog.get_logger(__name__)

ENDING_S = 2.0
"""How long work beside the requests may take to come to its end."""

CLOSING_MS = 2_000
"""How long running requests may take after the signal to stop."""


class Reactor(ReactorForClients, IReactorThreads, IReactorCore):
    """What a server needs of the reactor."""


class Shared(msgspec.Struct, frozen=True):
    """What counts over all processes of the server, by means of `cells` where there are several."""

    rate_limiter: RateLimiter
    attempts: Attempts
    cells: Cells | None = None

    async def stop(self) -> None:
        """Disconnect."""
        if self.cells is not None:
            await self.cells.stop()


class Measuring(msgspec.Struct, frozen=True):
    """Where things are counted, and what gives the metrics, `None` if they are not collected."""

    requests: RequestMetrics
    outbox: OutboxMetrics
    inbox: InboxMetrics
    follow: Callable[[Outbox], None]
    exposition: Callable[[], bytes] | None


@attrs.frozen
class Server:
    """One server process: `start` it, and `stop` it once."""

    config: Config
    database: Database
    bus: Bus
    services: Services
    reactor: Reactor
    _loops: Loops
    _workers: WorkerPool
    _servers: list[tuple[Listener, HttpServer]]
    _over_tls: OverTls | None
    _shared: Shared
    _ports: list[IListeningPort] = attrs.field(factory=list, init=False)

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on, in the order of the configuration."""
        return [cast("IPv4Address", port.getHost()).port for port in self._ports]

    async def start(self) -> None:
        """Open the database and the ports. Errors: DatabaseError, ListenError, BusError."""
        self._workers.start()
        if self.services.contact.mailer is not None:
            self.services.contact.mailer.start()
        self.database.start()
        await self.bus.start()
        await self.services.appservice_users.make_senders()
        await self.services.syncing.follower.start()
        await self.services.outbox.start()
        await self.services.receiving.partial_joins.start()
        self._loops.start()
        for listener, server in self._servers:
            over_tls = self._over_tls if listener.tls else None
            self._ports.append(listen(self.reactor, listener, server, over_tls=over_tls))

    async def stop(self) -> None:
        """Stop accepting, let running requests finish and waiting ones return, then close everything."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self.services.syncing.waiters.close()
        for _, server in self._servers:
            await server.connections.shut_down(CLOSING_MS)
        self.services.syncing.follower.stop()
        await self._patiently(
            self._loops.stop(),
            self.services.delayed_events.finish(),
            self.services.following.lists.finish(),
            self.services.member_profiles.finish(),
            self.services.receiving.incoming_events.finish(),
            self.services.receiving.partial_joins.finish(),
            self.services.outbox.stop(),
        )
        self.services.trust.transport.close()
        # The others are to hear of the last commits, too.
        self.database.stop()
        await self.bus.stop()
        await self._shared.stop()
        self._workers.stop()
        if self.services.contact.mailer is not None:
            self.services.contact.mailer.stop()

    async def _patiently(self, *endings: Coroutine[Deferred[Any], Any, None]) -> None:
        """Wait for these, but not for ever: a database that does not answer must not hold up the end."""
        waiting = [
            Deferred.fromCoroutine(each).addTimeout(ENDING_S, self.reactor).addErrback(_note_unfinished)
            for each in endings
        ]
        await gatherResults(waiting)


def build(
    config: Config,
    key: SigningKey,
    reactor: Reactor,
    clock: Clock,
    *,
    hasher: argon2.PasswordHasher = ARGON2,
) -> Server:
    """Make a server from its configuration; nothing is opened yet. `hasher` is what passwords are hashed with.

    Errors: DatabaseError, CertificateError, ConfigError.
    """
    signer = Signer(config.server_name, key)
    workers = WorkerPool(reactor)
    bus = _bus(config, lambda: services.lost_touch())  # noqa: PLW0108 - services come after the bus
    database = Database(Location.parse(config.database), reactor, on_commit=bus.publish)
    shared = _shared(config, clock)
    measuring = _measuring(config)
    services = make_services(
        config,
        database,
        clock,
        reactor,
        signer,
        workers,
        shared.attempts,
        hasher,
        measuring.outbox,
        measuring.inbox,
    )
    measuring.follow(services.outbox)
    bus.subscribe(lambda _, topics: services.syncing.follower.hint(topics))
    bus.subscribe(lambda _, topics: services.syncing.streams.hint(topics))
    bus.subscribe(lambda _, topics: services.syncing.open_polls.hint(topics))
    bus.subscribe(lambda _, topics: services.outbox.hint(topics))
    database.clear = services.clear
    return Server(
        config,
        database,
        bus,
        services,
        reactor,
        Loops(reactor, loops(services, Upkeep(database, clock)), passing=(StorageUnavailable,)),
        workers,
        [
            (listener, _server(config, services, listener, shared.rate_limiter, measuring, clock, reactor))
            for listener in config.listeners
        ],
        None if config.tls is None else _over_tls(config.tls, clock),
        shared,
    )


def _over_tls(section: Tls, clock: Clock) -> OverTls:
    """What listeners have TLS by; a server behind a proxy does without, and without its memory."""
    module = importlib.import_module("homeserver.http.tls")
    over_tls: OverTls = module.over_tls(
        module.RenewableCertificate(section.certificate, section.private_key, clock)
    )
    return over_tls


def _bus(config: Config, on_break: Callable[[], None]) -> Bus:
    """The bus that the configuration asks for. What only several processes need weighs on nobody else's memory."""
    if config.redis is None:
        return LocalBus()
    module = importlib.import_module("homeserver.runtime.redis_bus")
    bus: Bus = module.RedisBus(
        config.redis, f"homeserver:{config.server_name}", secrets.token_hex(8), on_break=on_break
    )
    return bus


def _note_unfinished(failure: Failure) -> None:
    failure.trap(OutOfPatience)
    _log.warning("some work was given up")


def _shared(config: Config, clock: Clock) -> Shared:
    """What counts requests and guesses: this process alone, or all of them together."""
    rates = _rates(config.rate_limits)
    guesses = DEFAULT_RATES if config.rate_limits.enabled else {}
    alone = Shared(InMemoryRateLimiter(rates, clock), InMemoryAttempts(clock, guesses))
    if config.redis is None:
        return alone
    module = importlib.import_module("homeserver.runtime.redis_cells")
    cells: Cells = module.RedisCells(config.redis, f"homeserver:{config.server_name}:")
    return Shared(
        SharedRateLimiter(rates, cells, alone.rate_limiter),
        SharedAttempts(cells, alone.attempts, guesses),
        cells,
    )


def _measuring(config: Config) -> Measuring:
    """Metrics, if a listener serves them; otherwise nothing is counted, nor the library for it loaded."""
    if not any(Resource.METRICS in listener.resources for listener in config.listeners):
        return Measuring(NoMetrics(), NoOutboxMetrics(), NoInboxMetrics(), lambda _: None, None)
    metrics = importlib.import_module("homeserver.runtime.metrics")
    counting = importlib.import_module("homeserver.http.prometheus_metrics")
    sending = importlib.import_module("homeserver.services.federation_outbox.prometheus_metrics")
    receiving = importlib.import_module("homeserver.services.inbox_prometheus_metrics")
    registry = metrics.new_registry()
    outbox = sending.PrometheusOutboxMetrics(registry)
    return Measuring(
        counting.PrometheusRequestMetrics(registry),
        outbox,
        receiving.PrometheusInboxMetrics(registry),
        outbox.follow,
        lambda: metrics.exposition(registry),
    )


def _server(
    config: Config,
    services: Services,
    listener: Listener,
    rate_limiter: RateLimiter,
    measuring: Measuring,
    clock: Clock,
    reactor: Reactor,
) -> HttpServer:
    router = Router(
        endpoints(config, services, listener.resources, measuring.exposition),
        body_limit=config.limits.max_request_bytes,
    )
    application = Application(
        router,
        services.authentication,
        rate_limiter,
        clock,
        measuring.requests,
        services.trust.authentication,
    )
    proxies = TrustedProxies.of(config.trusted_proxies) if listener.x_forwarded else None
    return HttpServer(application, clock, reactor, proxies=proxies)


def _rates(section: RateLimits) -> dict[Limit, RateLimit]:
    if not section.enabled:
        return {}
    return {
        limit: RateLimit.of(
            per_second=getattr(section, limit.value).per_second, burst=getattr(section, limit.value).burst
        )
        for limit in Limit
    }
