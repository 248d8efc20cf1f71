"""The import rules of pyproject.toml hold, and would notice if they did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(folder: Path) -> tuple[int, str]:
    program = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as f; f()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_rules_hold() -> None:
    status, report = lint(ROOT)
    assert status == 0, report


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/json.py", "import homeserver.config", "1."),
        ("newcomer/__init__.py", "", "1."),
        ("http/new.py", "import homeserver.services", "1."),
        ("clients/new.py", "import homeserver.rooms", "1."),
        (
            "core/tokens.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING: import homeserver.storage",
            "1.",
        ),
        ("core/errors.py", "import homeserver.core.identifiers", "2."),
        ("core/new.py", "import random", "3."),
        ("storage/new.py", "import homeserver.storage.rooms", "4a."),
        ("api/new.py", "import homeserver.storage.rooms", "5a."),
        ("services/new.py", "import sqlalchemy", "5b."),
        ("storage/new.py", "import twisted.internet.defer", "6."),
    ],
)
def test_a_breach_is_noticed(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "homeserver", tmp_path / "homeserver")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "homeserver" / module
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    status, report = lint(tmp_path)
    assert status == 1, report
    broken = [row for row in report.splitlines() if "BROKEN" in row]
    assert any(row.startswith(contract) for row in broken), report
