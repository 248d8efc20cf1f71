"""The command line."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from homeserver import __version__
from homeserver.cli.main import COMMANDS, main
from homeserver.config import load, signing_keys


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def refusal(*arguments: str) -> str:
    """The one line that a command answers with, and exit code 2."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("homeserver: ")
    return result.stderr.removeprefix("homeserver: ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the working folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOMESERVER_CONFIG", raising=False)
    return tmp_path


def test_help_lists_all_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, place in COMMANDS.items():
        assert f"  {name} " in result.stdout
        assert place.help in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_version() -> None:
    assert run("version").stdout == f"{__version__}\n"


def test_an_unknown_command_is_named() -> None:
    result = run("strat")
    assert result.exit_code == 2
    assert "No such command 'strat'" in result.stderr


def test_the_server_does_not_load_what_only_others_need() -> None:
    """Other commands, and servers on PostgreSQL or with several processes."""
    program = """
import sys
from homeserver.database.drivers import Location
assert Location.parse("sqlite:///homeserver.db").driver
from homeserver.cli.main import Commands, main
assert isinstance(main, Commands)
assert main.get_command(None, "run") is not None
unwanted = "alembic", "mako", "homeserver.cli.db", "psycopg", "sqlalchemy.dialects.postgresql", "redis"
print([name for name in unwanted if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class TestInit:
    def test_it_writes_what_the_server_needs(self, folder: Path) -> None:
        result = run("init", "--server-name", "example.org")
        assert result.exit_code == 0, result.output
        assert result.stdout == "Wrote homeserver.yaml and data/signing.key.\n"
        config = load(Path("homeserver.yaml"))
        assert config.server_name == "example.org"
        assert config.data_dir == folder / "data"
        assert config.database == f"sqlite:///{folder}/data/homeserver.db"
        assert signing_keys.read(config.signing_key_path).key_id.startswith("ed25519:a_")
        assert not config.registration.enabled
        assert run("check-config").stdout == "homeserver.yaml: no problem found for example.org.\n"

    def test_nobody_else_can_read_it(self, folder: Path) -> None:
        run("init", "--server-name", "example.org")
        for name in ("homeserver.yaml", "data/signing.key"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600

    def test_options(self, folder: Path) -> None:
        database = "postgresql://me:it's%20%231@127.0.0.1/matrix"
        result = run(
            "init",
            "--server-name=example.org:8448",
            "--config=etc/hs.yaml",
            "--data-dir=store",
            f"--database={database}",
        )
        assert result.exit_code == 0, result.output
        config = load(Path("etc/hs.yaml"))
        assert config.server_name == "example.org:8448"
        assert config.data_dir.resolve() == folder / "store"
        assert config.signing_key_path.resolve() == folder / "store" / "signing.key"
        assert config.database == database

    def test_a_configuration_is_not_overwritten(self, folder: Path) -> None:
        (folder / "homeserver.yaml").write_text("mine")
        assert refusal("init", "--server-name", "example.org").startswith(
            "--config: homeserver.yaml: is there already and is not overwritten"
        )
        assert (folder / "homeserver.yaml").read_text() == "mine"
        assert not (folder / "data").exists()

    def test_a_signing_key_is_not_overwritten(self, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "signing.key").write_text("mine")
        assert "signing.key: is there already and is not overwritten" in refusal(
            "init", "--server-name", "example.org"
        )
        assert (folder / "data" / "signing.key").read_text() == "mine"
        assert not (folder / "homeserver.yaml").exists()

    def test_a_wrong_name_leaves_nothing_behind(self, folder: Path) -> None:
        assert refusal("init", "--server-name", "https://example.org").startswith(
            "server_name: https://example.org: is not a server name"
        )
        assert list(folder.iterdir()) == []

    def test_a_folder_that_cannot_be_made(self, folder: Path) -> None:
        (folder / "file").write_text("")
        assert refusal("init", "--server-name", "a.org", "--data-dir", "file/x").startswith(
            "signing_key_path: "
        )
        assert refusal("init", "--server-name", "a.org", "--config", "file/x.yaml").startswith(
            "--config: file/x"
        )


class TestCheckConfig:
    def test_the_file_may_be_named_by_the_environment(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("init", "--server-name", "example.org", "--config", "other.yaml")
        monkeypatch.setenv("HOMESERVER_CONFIG", "other.yaml")
        assert run("check-config").exit_code == 0

    @pytest.mark.usefixtures("folder")
    def test_a_file_that_is_not_there(self) -> None:
        assert "homeserver.yaml: is not there" in refusal("check-config")

    def test_a_signing_key_that_is_not_there(self, folder: Path) -> None:
        run("init", "--server-name", "example.org")
        (folder / "data" / "signing.key").unlink()
        assert "signing.key: is not there: bring it back from a backup" in refusal("check-config")
