"""The user directory of a server under test."""

from homeserver.services.user_directory_index import read_step
from tests.api.server import TestServer


async def settle(server: TestServer) -> None:
    """Wait until the directory is up to date, whoever brings it there: the server does so itself, too."""
    index = server.server.services.user_directory_index
    name, clock = index.server_name, server.clock
    while await index.database.read(read_step, name, now_ts=clock.now_ts()) is not None:
        await index.work()
