"""One side of the comparison, and what is read off it while it works."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from bench_lib import matrix
from bench_lib.certificates import Authority
from bench_lib.databases import Database
from bench_lib.http_client import Connection, for_each
from bench_lib.options import Scale
from bench_lib.population import Population, PopulationCache
from bench_lib.processes import machine_busy_seconds, own_cpu_seconds
from bench_lib.servers import Instance, Software

Samples = dict[str, float]
"""What one measurement gave, by the row's key."""


@dataclass
class Side:
    """One of the two servers, with its data."""

    software: Software
    database: Database
    folder: Path
    """For this side's files during the run."""
    cache: PopulationCache
    scale: Scale
    authority: Authority
    """Of the certificates by which servers meet."""
    foreign_s: float = 0.0
    """CPU time that other processes of the machine took while this side was measured."""
    measured_s: float = 0.0
    _populated: Instance | None = field(default=None, init=False)
    _population: Population | None = field(default=None, init=False)
    _no_data: Exception | None = field(default=None, init=False)
    _spare: Instance | None = field(default=None, init=False)
    _federated: Instance | None = field(default=None, init=False)
    _kept: dict[str, Instance] = field(default_factory=dict, init=False)

    def _instance(self, name: str) -> Instance:
        self.folder.mkdir(exist_ok=True)
        return Instance(self.software, self.database, self.folder / name, self.folder / f"{name}.log")

    async def spare(self) -> Instance:
        """Give a stopped server without users, whose database was made by an earlier start."""
        if self._spare is None:
            instance = self._instance("spare")
            instance.data_dir.mkdir()
            self.database.create(instance.data_dir)
            self._spare = instance
            await instance.start()
            await instance.settle()
            instance.stop()
        return self._spare

    async def kept(self, name: str) -> tuple[Instance, bool]:
        """Give a running server with data of its own for the whole run, and whether it is new, and lacks them."""
        is_new = name not in self._kept
        if is_new:
            instance = self._kept[name] = self._instance(name)
            instance.data_dir.mkdir()
            self.database.create(instance.data_dir)
        instance = self._kept[name]
        if not instance.is_running:
            await instance.start()
        await instance.settle()
        return instance, is_new

    async def federated(self) -> Instance:
        """Give a running server that meets others; at first it has neither users nor rooms."""
        if self._federated is None:
            instance = self._instance("federated")
            instance.federation = self.authority.federation(self.software.name.lower())
            instance.data_dir.mkdir()
            self.database.create(instance.data_dir)
            self._federated = instance
        if not self._federated.is_running:
            await self._federated.start()
        await self._federated.settle()
        return self._federated

    async def populate(self) -> None:
        """See that the data is there; takes long when it has to be made.

        Errors: as of what failed at the first attempt, which is not repeated.
        """
        if self._no_data is not None:
            raise self._no_data
        if self._populated is None:
            self._populated = self._instance("populated")
            try:
                self._population = await self.cache.provide(self._populated, self.database)
            except Exception as error:  # whatever it is: what needs the data later is told why there is none
                self._no_data = error
                raise

    async def populated(self, *, restarted: bool = False) -> Instance:
        """Give the running server that holds the population."""
        await self.populate()
        instance = self._populated
        assert instance is not None
        if restarted:
            instance.stop()
        if not instance.is_running:
            await instance.start()
        await instance.settle()
        return instance

    @property
    def population(self) -> Population:
        assert self._population is not None
        return self._population

    async def catch_up(self, instance: Instance, users: int) -> None:
        """Bring the sync tokens of the first users up to now."""
        population = self.population

        async def one(connection: Connection, user: int) -> None:
            token, since = population.tokens[user], population.since[user]
            body = await matrix.sync(connection, token, since=since, sync_filter=matrix.LAZY)
            population.since[user] = matrix.next_batch(body)

        await for_each(instance.port, range(users), one)

    def instances(self) -> list[Instance]:
        known = (self._populated, self._spare, self._federated, *self._kept.values())
        return [instance for instance in known if instance is not None]

    def pause(self) -> None:
        for instance in self.instances():
            instance.pause()

    def resume(self) -> None:
        for instance in self.instances():
            instance.resume()

    def stop(self) -> None:
        """Stop what runs; a later measurement starts it again on the same data."""
        for instance in self.instances():
            instance.stop()

    def remove(self) -> None:
        """Stop what runs and drop the databases."""
        for instance in self.instances():
            instance.remove()


@dataclass(frozen=True)
class Usage:
    """What one load took, in seconds; `busy` is the client's share of one core."""

    wall_s: float
    cpu_s: float
    busy: float


class Meter:
    """Reads clocks around a load: wall clock to its last answer, CPU time until the server is quiet again."""

    def __init__(self, side: Side, instance: Instance) -> None:
        self._side = side
        self._instance = instance
        self._machine = machine_busy_seconds()
        self._client = own_cpu_seconds()
        self._cpu = instance.cpu_seconds()
        self._began = time.monotonic()

    async def stop(self, *, late_work: bool = False) -> Usage:
        """Read the clocks again; the load's last answer has just come, but there may be much late work."""
        wall = time.monotonic() - self._began
        client = own_cpu_seconds() - self._client
        await (self._instance.settle_for_good() if late_work else self._instance.settle())
        cpu = self._instance.cpu_seconds() - self._cpu
        self._side.measured_s += time.monotonic() - self._began
        all_client = own_cpu_seconds() - self._client
        self._side.foreign_s += max(0.0, machine_busy_seconds() - self._machine - cpu - all_client)
        return Usage(wall, cpu, client / wall)
