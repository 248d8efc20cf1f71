"""`homeserver reports`."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from homeserver.cli.databases import with_database
from homeserver.cli.main import main
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.database import Database
from homeserver.storage import reports
from homeserver.storage.reports import Report

ALICE, BOB = UserID("@alice:example.org"), UserID("@bob:example.org")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a server that has never been started, named by the environment."""
    path = tmp_path / "homeserver.yaml"
    monkeypatch.setenv("HOMESERVER_CONFIG", str(path))
    made = CliRunner().invoke(main, ["init", "--server-name=example.org", f"--data-dir={tmp_path / 'data'}"])
    assert made.exit_code == 0, made.output
    return path


def listed(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reports", "list", *arguments])


def add(config: Path, report: Report) -> None:
    async def write(database: Database) -> None:
        await database.write(reports.add, report)

    with_database(config, write)


@pytest.mark.usefixtures("config")
def test_nothing_has_been_reported() -> None:
    assert (listed().exit_code, listed().output) == (0, "")


def test_the_newest_is_first_and_all_is_in_one_line(config: Path) -> None:
    room, event = RoomID("!room:a"), EventID("$event")
    old = Report(
        received_ts=0,
        reporter=ALICE,
        room_id=room,
        event_id=event,
        user_id=BOB,
        reason="two\nlines\t\x1b[31m",
    )
    new = Report(received_ts=86_400_000, reporter=BOB, room_id=None, event_id=None, user_id=ALICE, reason="")
    add(config, old)
    add(config, new)
    first = f"1970-01-02 00:00:00 UTC\t{BOB}\t-\t-\t{ALICE}\t"
    second = f"1970-01-01 00:00:00 UTC\t{ALICE}\t$event\t!room:a\t{BOB}\ttwo lines \ufffd[31m"
    assert listed().output == f"{first}\n{second}\n"
    assert listed("--most=1").output == f"{first}\n"
    assert listed("--most=0").exit_code == 2
