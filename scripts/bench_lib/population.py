"""The data that both servers hold when they are measured: made once through the API, kept in the cache."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench_lib import matrix
from bench_lib.databases import Database
from bench_lib.http_client import Connection, for_each
from bench_lib.options import POPULATION_VERSION, SENDERS, Scale
from bench_lib.servers import Instance, Software

Result = TypeVar("Result")
MANIFEST = "population.json"


@dataclass
class Population:
    """Who and what is on a server; users are known by their place in `tokens`."""

    tokens: list[str]
    reader_token: str
    """Of the user who is in all `rooms` and in `history_room`."""
    speaker_token: str
    """Of the user who sends to the waiting clients."""
    rooms: list[str]
    own_rooms: list[str]
    """One for each sender, in order of the users, with nobody else in it."""
    shared_room: str
    """With all senders in it."""
    waiting_rooms: dict[str, str]
    """By number of waiting clients: the users from the first on, and the speaker."""
    history_room: str
    since: list[str] = dataclasses.field(default_factory=list)
    """A sync token of each user, from the end of the building."""
    alone_bytes_per_10000: float = 0.0
    """Growth of the database by 10,000 messages in a room of one member."""
    crowded_bytes_per_10000: float = 0.0
    """The same in rooms of `Scale.members`, none of whom has read anything."""


class _Builder:
    """Fills one running server."""

    def __init__(self, instance: Instance, scale: Scale) -> None:
        self._name = instance.software.name
        self._port = instance.port
        self._scale = scale

    def _note(self, what: str) -> None:
        print(f"bench: filling {self._name}: {what}", file=sys.stderr)

    async def users_and_rooms(self) -> Population:
        """Make the users, and the rooms with their members."""
        scale = self._scale
        *users, reader, speaker = await self._users(scale.users + 2)
        self._note(f"{scale.rooms} rooms with {scale.members} members each")
        rooms = await self._rooms([[reader, *_members(users, scale, room)] for room in range(scale.rooms)])
        senders = users[: max(SENDERS)]
        own = await self._rooms([[token] for token in senders])
        self._note(f"rooms of {' and '.join(str(count) for count in scale.waiting)} waiting clients")
        shared, history, *waiting = await self._rooms(
            [senders, [reader], *([speaker, *users[:count]] for count in scale.waiting)]
        )
        named = {str(count): room for count, room in zip(scale.waiting, waiting, strict=True)}
        return Population(users, reader, speaker, rooms, own, shared, named, history)

    async def _users(self, count: int) -> list[str]:
        self._note(f"{count} users")
        tokens = [""] * count

        async def add(connection: Connection, number: int) -> None:
            tokens[number] = await matrix.register(connection, f"user{number}")

        await for_each(self._port, range(count), add)
        return tokens

    async def _rooms(self, members: list[list[str]]) -> list[str]:
        """Make rooms; the last member of each creates it, the others join in turn."""
        made = [""] * len(members)

        async def build(connection: Connection, number: int) -> None:
            *others, creator = members[number]
            made[number] = await matrix.create_room(connection, creator, f"Room {number}")
            for token in others:
                await matrix.join(connection, token, made[number])

        await for_each(self._port, range(len(members)), build)
        return made

    async def history(self, population: Population) -> int:
        """Fill the room that is paged through; give the number of messages."""
        count = self._scale.history
        self._note(f"{count} messages in one room")
        words = matrix.texts(1)

        async def one(connection: Connection, number: int) -> None:
            token, room_id = population.reader_token, population.history_room
            await matrix.send_text(connection, token, room_id, f"fill{number}", next(words))

        await for_each(self._port, range(count), one)
        return count

    async def messages(self, population: Population) -> int:
        """Fill the rooms with messages, their members (but the reader) in turn; give the total."""
        scale = self._scale
        self._note(f"{scale.messages} messages in each of {scale.rooms} rooms")
        words = matrix.texts(2)

        async def fill(connection: Connection, room: int) -> None:
            senders = _members(population.tokens, scale, room)
            for number in range(scale.messages):
                token = senders[number % len(senders)]
                await matrix.send_text(
                    connection, token, population.rooms[room], f"fill{number}", next(words)
                )

        await for_each(self._port, range(scale.rooms), fill)
        return scale.rooms * scale.messages

    async def sync_tokens(self, population: Population) -> list[str]:
        """Sync every user once; give their tokens."""
        self._note("a first sync of every user")
        since = [""] * len(population.tokens)

        async def one(connection: Connection, user: int) -> None:
            body = await matrix.sync(connection, population.tokens[user], sync_filter=matrix.LAZY_AND_SHORT)
            since[user] = matrix.next_batch(body)

        await for_each(self._port, range(len(since)), one)
        return since


def _members(users: list[str], scale: Scale, room: int) -> list[str]:
    """Choose a room's members besides the reader, so that two users share few rooms."""
    return [users[(room * 37 + place * 53) % len(users)] for place in range(scale.members - 1)]


async def _build(instance: Instance, database: Database, scale: Scale) -> Population:
    """Fill a server; between the steps it is stopped, so that its database can be measured."""

    async def step(work: Callable[[_Builder], Awaitable[Result]]) -> tuple[Result, int]:
        """Do a part on the running server; give its result, and the size of the database after it."""
        await instance.start()
        result = await work(_Builder(instance, scale))
        await instance.settle()
        instance.stop()
        return result, database.used_bytes(instance.data_dir)

    population, size = await step(lambda builder: builder.users_and_rooms())
    count, grown = await step(lambda builder: builder.history(population))
    population.alone_bytes_per_10000 = (grown - size) / count * 10_000
    size = grown
    count, grown = await step(lambda builder: builder.messages(population))
    population.crowded_bytes_per_10000 = (grown - size) / count * 10_000
    population.since, _ = await step(lambda builder: builder.sync_tokens(population))
    return population


class PopulationCache:
    """Data sets on disk, one per software, scale and kind of database; an older one gives way to a newer."""

    def __init__(self, folder: Path, scale: Scale, *, postgresql: bool, rebuild: bool) -> None:
        self._folder = folder / "populations"
        self._scale = scale
        self._suffix = f"{scale.name}-{'postgresql' if postgresql else 'sqlite'}"
        self._rebuild = rebuild

    def _place(self, software: Software) -> Path:
        return self._folder / f"{software.key}-v{POPULATION_VERSION}-{self._suffix}"

    async def provide(self, instance: Instance, database: Database) -> Population:
        """Put the data into the instance's (empty) folder and database; leaves the server stopped."""
        place = self._place(instance.software)
        if self._rebuild or not (place / MANIFEST).exists():
            instance.data_dir.mkdir(parents=True)
            database.create(instance.data_dir)
            population = await _build(instance, database, self._scale)
            database.refresh_statistics(instance.data_dir)
            self._keep(place, instance, database, population)
            return population
        shutil.copytree(place, instance.data_dir)
        database.load(instance.data_dir)
        saved = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        return Population(**saved)

    def _keep(self, place: Path, instance: Instance, database: Database, population: Population) -> None:
        partial = place.with_name(f"{place.name}.partial")
        prefix = instance.software.key.split("-", 1)[0]
        for old in [*self._folder.glob(f"{prefix}-*-{self._suffix}"), *self._folder.glob("*.partial")]:
            shutil.rmtree(old)
        database.save(instance.data_dir)
        shutil.copytree(instance.data_dir, partial)
        (partial / MANIFEST).write_text(json.dumps(dataclasses.asdict(population)), encoding="utf-8")
        partial.rename(place)
