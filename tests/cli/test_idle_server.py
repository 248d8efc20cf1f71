"""What a server weighs that nobody uses yet: memory is what keeps small machines from having one."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.processes import ServerProcess, write_config

NEEDLESS = (
    # TLS: no listener has it, and no other server has been talked to.
    "OpenSSL",
    "cryptography",
    "service_identity",
    "idna",
    # Other servers are found by the DNS, web servers called, mail sent: later, if at all.
    "twisted.names",
    "twisted.web",
    "treq",
    "smtplib",
    # Pages and WebSockets: with the first.
    "jinja2",
    "wsproto",
    "h11",
    # Not configured: another database, several processes, metrics.
    "psycopg",
    "sqlalchemy.dialects.postgresql",
    "redis",
    "prometheus_client",
    # The schema is up to date, and statements are all that is wanted of SQLAlchemy.
    "alembic",
    "sqlalchemy.orm",
    "sqlalchemy.ext.asyncio",
)
"""Packages and modules that somebody else needs, or this server at another time."""

MOST_MB = 68
"""Of its own; 58 when this was written. Another Python may take a little more."""

SMAPS = "/proc/{}/smaps_rollup"


def own_mb(pid: int) -> float:
    """The memory that a process shares with nobody, without that of files."""
    own = re.search(
        r"^Anonymous:\s+(\d+) kB$", Path(SMAPS.format(pid)).read_text(encoding="ascii"), re.MULTILINE
    )
    assert own is not None
    return int(own[1]) / 1024


@asynccontextmanager
async def started(config: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(config, None)
    try:
        await server.start()
        assert (await server.door().anonymous().request("GET", "/_matrix/client/versions")).status == 200
        yield server
    finally:
        await server.close()


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """Of a server that has been started before: its database is there, its modules are compiled."""
    path = write_config(tmp_path, f"sqlite:///{tmp_path}/homeserver.db")
    async with started(path) as server:
        assert await server.stop() == 0
    return path


async def test_an_idle_server_has_not_loaded_what_it_does_not_need(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    async with started(config) as server:
        # With the end of the process all that it has said is there.
        assert await server.stop() == 0
    told = (re.fullmatch(r"import time:.*\|\s+(\S+)\s*", str(record["event"])) for record in server.log)
    loaded = {match[1] for match in told if match}
    assert {"homeserver.app.build", "homeserver.clients.federation", "twisted.internet.tcp"} <= loaded
    assert not {
        name for name in loaded if any(name == each or name.startswith(f"{each}.") for each in NEEDLESS)
    }


@pytest.mark.skipif(not Path(SMAPS.format("self")).exists(), reason="only Linux tells")
async def test_an_idle_server_is_small(config: Path) -> None:
    async with started(config) as server:
        assert server.process is not None
        assert own_mb(server.process.pid) < MOST_MB
