"""The two servers as black boxes: how each is configured and started, and what one running instance costs."""

import asyncio
import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from bench_lib.databases import Database, free_port
from bench_lib.http_client import Connection, RequestError
from bench_lib.processes import Child, cpu_seconds, memory_bytes, settle

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER_NAME = "bench.test"
SHARED_SECRET = "only-for-this-benchmark"
START_TIMEOUT_S = 120.0
POLL_S = 0.01


class ServerError(Exception):
    """A server did not start, or ended by itself."""


@dataclass(frozen=True)
class Federation:
    """How a server on this machine meets others: over TLS, under the name `localhost:PORT`."""

    port: int
    certificate: Path
    private_key: Path
    authority: Path
    """The certificate of the authority that the server is to trust."""
    with_presence: bool = False
    """Whether Synapse shares presence, which is off in benchmarks."""

    @property
    def server_name(self) -> str:
        return f"localhost:{self.port}"


class Software(Protocol):
    """A homeserver that can be configured and started."""

    name: str
    """For tables."""
    version: str
    key: str
    """Names its data sets in the cache: changes whenever stored data might."""

    def configure(
        self, data_dir: Path, port: int, database_url: str, federation: Federation | None = None
    ) -> tuple[list[str], Path]:
        """Write the configuration; give the command that runs the server, and the folder to run it in.

        `port` is for clients. Without `federation` the server has nothing to do with others.
        """
        ...


def own_python() -> Path:
    """Give the Python that has what our server needs: of the environment to run it, or else to develop it."""
    for name in (".venv", ".venv-dev"):
        if (local := REPOSITORY / name / "bin" / "python").exists():
            return local
    return Path(sys.executable)


def _write_json(path: Path, value: object) -> Path:
    """Write a configuration; JSON is YAML."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return path


def _keep_signing_key(data_dir: Path) -> None:
    """Make the server's key, in the form that both servers read, unless the folder has one."""
    path = data_dir / "signing.key"
    if not path.exists():
        path.touch(mode=0o600)
        seed = base64.b64encode(secrets.token_bytes(32)).decode("ascii").rstrip("=")
        path.write_text(f"ed25519 a_bench {seed}\n", encoding="ascii")


class Ours:
    """This repository's server, as it stands now: a copy is run, so that edits meanwhile change nothing.

    `folder` is for the copy and must not be there yet.
    """

    name = "ours"

    def __init__(self, folder: Path) -> None:
        self._python = str(own_python())
        self._folder = folder
        shutil.copytree(
            REPOSITORY / "homeserver", folder / "homeserver", ignore=shutil.ignore_patterns("__pycache__")
        )
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
        self.version = f"{_commit()}code {digest.hexdigest()[:10]}"
        self.key = f"ours-{digest.hexdigest()[:16]}"

    def configure(
        self, data_dir: Path, port: int, database_url: str, federation: Federation | None = None
    ) -> tuple[list[str], Path]:
        """See Software."""
        config: dict[str, object] = {
            "server_name": SERVER_NAME,
            "data_dir": str(data_dir),
            "database": database_url,
            "signing_key_path": str(data_dir / "signing.key"),
            "public_base_url": f"http://127.0.0.1:{port}",
            "listeners": [{"bind": "127.0.0.1", "port": port, "tls": False}],
            "registration": {"enabled": False, "shared_secret": SHARED_SECRET},
            "rate_limits": {"enabled": False},
            "log": {"level": "WARNING", "format": "text"},
        }
        if federation is not None:
            config |= {
                "server_name": federation.server_name,
                "listeners": [
                    {"bind": "127.0.0.1", "port": port, "tls": False},
                    {"bind": "127.0.0.1", "port": federation.port, "tls": True},
                ],
                "tls": {
                    "certificate": str(federation.certificate),
                    "private_key": str(federation.private_key),
                },
                "federation": {
                    "allow_private_addresses": True,
                    "trusted_ca_file": str(federation.authority),
                },
            }
        _keep_signing_key(data_dir)
        file = _write_json(data_dir / "homeserver.yaml", config)
        return [self._python, "-m", "homeserver", "run", "--config", str(file)], self._folder


def _commit() -> str:
    """Name the commit that is checked out, where git is there to tell."""
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    try:
        return f"{subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}, "
    except (OSError, subprocess.CalledProcessError):
        return ""


_NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}
_LIMITS: dict[str, object] = {
    **dict.fromkeys(
        ("rc_message", "rc_registration", "rc_joins_per_room", "rc_room_creation", "rc_profile"), _NO_LIMIT
    ),
    "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), _NO_LIMIT),
    "rc_joins": dict.fromkeys(("local", "remote"), _NO_LIMIT),
    "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), _NO_LIMIT),
    "rc_presence": {"per_user": _NO_LIMIT},
}


class Synapse:
    """Synapse from its own virtual environment: one process, default caches, no federation, no metrics."""

    name = "Synapse"

    def __init__(self, python: Path, version: str) -> None:
        self._python = python
        self.version = version
        self.key = f"synapse-{version}"

    def configure(
        self, data_dir: Path, port: int, database_url: str, federation: Federation | None = None
    ) -> tuple[list[str], Path]:
        """See Software."""
        logging = {
            "version": 1,
            "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"level": "WARNING", "handlers": ["console"]},
            "disable_existing_loggers": False,
        }
        config: dict[str, object] = {
            "server_name": SERVER_NAME,
            "public_baseurl": f"http://127.0.0.1:{port}/",
            "pid_file": str(data_dir / "homeserver.pid"),
            "signing_key_path": str(data_dir / "signing.key"),
            "media_store_path": str(data_dir / "media"),
            "log_config": str(_write_json(data_dir / "log.yaml", logging)),
            "listeners": [_synapse_listener(port, "client", tls=False)],
            "database": self._database(data_dir, database_url),
            "registration_shared_secret": SHARED_SECRET,
            "macaroon_secret_key": SHARED_SECRET,
            "form_secret": SHARED_SECRET,
            "bcrypt_rounds": 4,
            "report_stats": False,
            "enable_metrics": False,
            "presence": {"enabled": False},
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            **_LIMITS,
        }
        if federation is not None:
            config |= _synapse_federation(config, federation)
        file = _write_json(data_dir / "homeserver.yaml", config)
        _keep_signing_key(data_dir)
        return [str(self._python), "-m", "synapse.app.homeserver", "--config-path", str(file)], data_dir

    @staticmethod
    def _database(data_dir: Path, url: str) -> dict[str, object]:
        if url.startswith("sqlite"):
            return {"name": "sqlite3", "args": {"database": str(data_dir / "homeserver.db")}}
        return {"name": "psycopg2", "args": {"dsn": url, "cp_min": 5, "cp_max": 10}}


def _synapse_listener(port: int, resource: str, *, tls: bool) -> dict[str, object]:
    return {
        "bind_addresses": ["127.0.0.1"],
        "port": port,
        "type": "http",
        "tls": tls,
        "resources": [{"names": [resource], "compress": False}],
    }


def _synapse_federation(config: dict[str, object], federation: Federation) -> dict[str, object]:
    """Give the keys that let Synapse meet others on this machine, without limits; it tries again soon."""
    listeners = cast("list[dict[str, object]]", config["listeners"])
    return {
        "server_name": federation.server_name,
        "listeners": [*listeners, _synapse_listener(federation.port, "federation", tls=True)],
        "tls_certificate_path": str(federation.certificate),
        "tls_private_key_path": str(federation.private_key),
        "federation_custom_ca_list": [str(federation.authority)],
        "federation_domain_whitelist": None,
        "ip_range_blacklist": [],
        "suppress_key_server_warning": True,
        "presence": {"enabled": federation.with_presence},
        "allow_public_rooms_over_federation": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 100_000,
            "reject_limit": 100_000,
            "concurrent": 50,
        },
        "federation_rr_transactions_per_room_per_second": 1000,
        "federation": {"destination_min_retry_interval": "1s", "destination_max_retry_interval": "2s"},
    }


@dataclass(frozen=True)
class StartCost:
    """What it took from the start of the process to the first answer: wall clock and CPU time, in seconds."""

    wall_s: float
    cpu_s: float


class Instance:
    """One server on one data folder, running or stopped."""

    def __init__(
        self,
        software: Software,
        database: Database,
        data_dir: Path,
        log: Path,
        federation: Federation | None = None,
    ) -> None:
        self.software = software
        self.data_dir = data_dir
        self.port = 0
        self.federation = federation
        self._database = database
        self._log = log
        self._child: Child | None = None

    async def start(self) -> StartCost:
        """Start the server and wait for its first answer.

        Errors: ServerError, with the end of the server's log.
        """
        self.port = free_port()
        command, folder = self.software.configure(
            self.data_dir, self.port, self._database.url(self.data_dir), self.federation
        )
        began, database_cpu = time.monotonic(), self._database.cpu_seconds()
        self._child = Child(command, log=self._log, cwd=folder, env=_environment())
        connection = Connection(self.port)
        try:
            while not await self._answers(connection):
                self.check()
                if time.monotonic() - began > START_TIMEOUT_S:
                    raise ServerError(self._story(f"did not answer within {START_TIMEOUT_S:.0f} s"))
                await asyncio.sleep(POLL_S)
            wall = time.monotonic() - began
            cpu = cpu_seconds(self._child.pid) + self._database.cpu_seconds() - database_cpu
            return StartCost(wall, cpu)
        finally:
            connection.close()

    @staticmethod
    async def _answers(connection: Connection) -> bool:
        try:
            await connection.send("GET", "/_matrix/client/versions")
        except (OSError, RequestError):
            return False
        return True

    def check(self) -> None:
        """Errors: ServerError when the server has ended by itself."""
        code = None if self._child is None else self._child.exit_code()
        if code is not None:
            raise ServerError(self._story(f"ended by itself with exit code {code}"))

    def _story(self, what: str) -> str:
        tail = self._child.log_tail() if self._child is not None else ""
        return f"{self.software.name} {what}; the end of its log:\n{tail or '(empty)'}"

    def last_words(self) -> str:
        """Say whether the server has ended, with the end of its log; empty when there is nothing to say."""
        try:
            self.check()
        except ServerError as ended:
            return str(ended)
        tail = self._child.log_tail() if self._child is not None else ""
        return f"the end of {self.software.name}'s log:\n{tail}" if tail else ""

    @property
    def is_running(self) -> bool:
        return self._child is not None

    def cpu_seconds(self) -> float:
        """CPU time of the server's and its database's processes so far."""
        assert self._child is not None
        return cpu_seconds(self._child.pid) + self._database.cpu_seconds()

    def memory_bytes(self) -> int:
        """PSS of the server's processes, without those of PostgreSQL."""
        assert self._child is not None
        return memory_bytes(self._child.pid)

    async def settle(self) -> None:
        """Wait until the server has nothing left to do."""
        await settle(self.cpu_seconds, at_most_s=15.0)

    async def settle_for_good(self) -> None:
        """Like `settle`, where much is done late, a little at a time."""
        await settle(self.cpu_seconds, at_most_s=90.0, window_s=1.0)

    async def settle_briefly(self) -> None:
        """Like `settle`, between the steps of a load."""
        await settle(self.cpu_seconds, at_most_s=5.0, window_s=0.05, windows=2)

    def pause(self) -> None:
        """Freeze the server, so that it takes no time from the other one."""
        if self._child is not None:
            self._child.signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._child is not None:
            self._child.signal_group(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server, if it runs, in the orderly way."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def remove(self) -> None:
        """Stop the server and drop its database; the folder stays."""
        self.stop()
        self._database.drop(self.data_dir)


def _environment() -> dict[str, str]:
    """Keep the environment but for what changes how Python runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
