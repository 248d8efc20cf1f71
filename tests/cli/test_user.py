"""`homeserver user`."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from homeserver.cli.accounts import with_accounts
from homeserver.cli.main import main


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a server that has never been started, named by the environment."""
    path = tmp_path / "homeserver.yaml"
    monkeypatch.setenv("HOMESERVER_CONFIG", str(path))
    made = CliRunner().invoke(main, ["init", "--server-name=example.org", f"--data-dir={tmp_path / 'data'}"])
    assert made.exit_code == 0, made.output
    return path


def user(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["user", *arguments], input=typed)


def refusal(*arguments: str, typed: str | None = None) -> str:
    result = user(*arguments, typed=typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("homeserver: ").rstrip()


def is_password(config: Path, name: str, password: str) -> bool:
    checked = with_accounts(config, lambda accounts: accounts.passwords.check(name, password, address="::1"))
    return checked is not None


@pytest.mark.usefixtures("config")
def test_accounts_are_made_and_listed() -> None:
    result = user("create", "--admin", "alice", "--password", "secret-a")
    assert result.stdout == "@alice:example.org was made, and may administer the server.\n"
    assert user("create", "@Bob:example.org", typed="secret-b\n").stdout == "@bob:example.org was made.\n"
    assert user("list").stdout == "@alice:example.org\tadmin\n@bob:example.org\t\n"


def test_the_password_is_the_whole_line(config: Path) -> None:
    user("create", "alice", typed=" spaces and ü \r\nmore\n")
    assert is_password(config, "alice", " spaces and ü ")
    assert not is_password(config, "alice", "spaces and ü")


def test_a_password_is_changed(config: Path) -> None:
    user("create", "alice", "--password", "old")
    assert user("password", "alice", "--password", "new").stdout == "@alice:example.org has a new password.\n"
    assert is_password(config, "@alice:example.org", "new")
    assert not is_password(config, "alice", "old")


def test_an_account_is_closed(config: Path) -> None:
    user("create", "alice", "--password", "secret-a")
    assert user("deactivate", "alice", typed="n\n").exit_code == 1
    assert is_password(config, "alice", "secret-a")
    assert user("deactivate", "alice", typed="y\n").exit_code == 0
    assert not is_password(config, "alice", "secret-a")
    assert user("list").stdout == ""
    assert user("list", "--deactivated").stdout == "@alice:example.org\tdeactivated\n"
    assert refusal("create", "alice", "--password", "x") == "alice: The user ID is taken"


@pytest.mark.usefixtures("config")
def test_an_account_can_be_closed_without_being_asked() -> None:
    user("create", "alice", "--password", "secret-a")
    assert user("deactivate", "--yes", "--erase", "alice").exit_code == 0
    assert user("list", "--deactivated").stdout == "@alice:example.org\tdeactivated,erased\n"


@pytest.mark.usefixtures("config")
def test_what_is_refused_is_one_line() -> None:
    user("create", "alice", "--password", "secret-a")
    assert refusal("create", "alice", "--password", "x") == "alice: The user ID is taken"
    assert refusal("create", "a b", "--password", "x").startswith(
        "a b: a user name is made of the characters"
    )
    assert refusal("create", "@bob:other.org", "--password", "x").startswith("@bob:other.org: ")
    assert refusal("create", "bob", "--password", "") == "bob: The password is empty"
    assert refusal("create", "bob", typed="") == "bob: The password is empty"
    for command in (["password", "--password", "x"], ["deactivate", "--yes"]):
        assert refusal(*command, "carol") == "carol: There is no such active account"
        assert refusal(*command, "@alice:other.org") == (
            "@alice:other.org: is not a user of this server: write NAME or @NAME:example.org"
        )


@pytest.mark.usefixtures("config")
def test_more_accounts_than_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.cli.user.PAGE", 2)
    for name in ("a", "b", "c", "d"):
        user("create", name, "--password", "x")
    assert [line.split("\t")[0] for line in user("list").stdout.splitlines()] == [
        f"@{name}:example.org" for name in "abcd"
    ]


def test_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMESERVER_CONFIG", str(tmp_path / "none.yaml"))
    assert "none.yaml: is not there" in refusal("list")
