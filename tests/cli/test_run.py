"""`homeserver run` as a process, and `homeserver db`."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from homeserver.cli.main import main
from homeserver.config import load, signing_keys

PATIENCE_S = 60


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration for a free port, with its signing key."""
    path = tmp_path / "homeserver.yaml"
    assert command(
        "init", "--server-name", "example.org", "--config", str(path), "--data-dir", str(tmp_path / "data")
    )
    text = path.read_text().replace("port: 8008", "port: 0")
    path.write_text(f"{text}\nlog: {{format: json}}\n")
    return path


def refusal(config: Path) -> str:
    """The one line that `homeserver run` answers with."""
    done = subprocess.run(
        [sys.executable, "-m", "homeserver", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.stderr.count("\n") == 1, done.stderr
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr.removeprefix("homeserver: ")


@contextmanager
def running(config: Path, stop_by: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """A server process; its base URL. It must stop by itself, and without complaint, when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "homeserver", "run", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            record = json.loads(line)
            if record["event"] == "listening":
                yield record["url"]
                break
        process.send_signal(stop_by)
        _, rest = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, rest
        assert [
            line for line in rest.splitlines() if json.loads(line)["level"] not in ("info", "debug")
        ] == []
    finally:
        process.kill()
        process.communicate()


def get(url: str, body: object = None) -> dict[str, object]:
    """The JSON at a URL; with a body it is asked for by POST."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=PATIENCE_S) as answer:
        found = json.load(answer)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("stop_by", [signal.SIGTERM, signal.SIGINT])
def test_a_server_starts_answers_and_stops(config: Path, stop_by: signal.Signals) -> None:
    with running(config, stop_by) as url:
        answer = get(f"{url}/_matrix/client/versions")
    assert "versions" in answer


def test_a_server_starts_again_with_what_it_had(config: Path) -> None:
    with running(config):
        pass
    key = load(config).signing_key_path.read_text()
    with running(config) as url:
        assert get(f"{url}/_matrix/client/versions")
    assert load(config).signing_key_path.read_text() == key


def test_a_new_server_makes_its_key_and_an_old_one_does_not(config: Path) -> None:
    path = load(config).signing_key_path
    path.unlink()
    with running(config):
        assert signing_keys.read(path)
    path.unlink()
    assert refusal(config).startswith("signing_key_path: ")
    assert not path.exists()


def test_an_account_that_is_made_beside_the_running_server(config: Path) -> None:
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "a long password",
    }
    with running(config) as url:
        made = command("user", "create", "alice", "--password", "a long password", "--config", str(config))
        assert made.exit_code == 0, made.output
        assert get(f"{url}/_matrix/client/v3/login", login)["user_id"] == "@alice:example.org"
        assert command("user", "deactivate", "--yes", "alice", "--config", str(config)).exit_code == 0
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{url}/_matrix/client/v3/login", login)


def test_a_taken_port(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(config.read_text().replace("port: 0", f"port: {port}"))
        assert refusal(config).startswith(
            f"listeners[0].port: {port}: another program listens on 127.0.0.1:{port}"
        )
    assert not (config.parent / "data" / "homeserver.db").exists()


def test_a_database_of_a_later_release(config: Path) -> None:
    assert command("db", "upgrade", "--config", str(config)).exit_code == 0
    with closing(sqlite3.connect(config.parent / "data" / "homeserver.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    line = refusal(config)
    assert line.startswith("database: ")
    assert "has schema 9999, which this release does not know" in line
    for name in ("upgrade", "status"):
        assert command("db", name, "--config", str(config)).stderr == f"homeserver: {line}"


def test_a_database_that_cannot_be_reached(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    database = f"postgresql://me:verysecret@127.0.0.1:{port}/matrix"
    config.write_text(config.read_text().replace("database: ", f"database: {database} # "))
    line = refusal(config)
    assert line.startswith("database: cannot open 127.0.0.1/matrix: ")
    assert "verysecret" not in line


def test_a_file_that_is_no_database(config: Path) -> None:
    (config.parent / "data" / "homeserver.db").write_text("a letter to my aunt" * 100)
    line = refusal(config)
    assert line.startswith("database: ")
    assert "file is not a database" in line


def test_the_schema_and_its_state(config: Path) -> None:
    result = command("db", "status", "--config", str(config))
    assert result.exit_code == 1
    assert "schema empty" in result.stdout
    assert command("db", "upgrade", "--config", str(config)).exit_code == 0
    result = command("db", "status", "--config", str(config))
    assert result.exit_code == 0
    assert "is up to date" in result.stdout
    assert "is up to date" in command("db", "upgrade", "--config", str(config)).stdout
