"""Conversations with Synapse, another implementation, which shares no code with the server: `scripts/interop`."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SYNAPSE = "HOMESERVER_TEST_SYNAPSE"

SCRIPTS = Path(__file__).parents[2] / "scripts"


def interop(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with these arguments; the servers' files are in `folder`."""
    place = ("--peer-venv", os.environ[SYNAPSE], "--keep", str(folder / "servers"))
    command = [sys.executable, str(SCRIPTS / "interop"), *arguments, *place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    return done


@pytest.mark.skipif(SYNAPSE not in os.environ, reason=f"no Synapse: {SYNAPSE} is not set")
@pytest.mark.parametrize("version", ["6", "10", "11", "12"])
def test_both_understand_each_other(version: str, tmp_path: Path) -> None:
    """Rooms of the version on either server, joined from the other one; what does not exist in it is not tried."""
    outcomes = tmp_path / "outcomes.json"
    interop(tmp_path, "--versions", version, "--json", str(outcomes))
    columns = json.loads(outcomes.read_text())
    assert len(columns) == 2
    for column in columns:
        counted = Counter(column["outcomes"].values())
        failed = {step for step, outcome in column["outcomes"].items() if outcome not in {"ok", "-"}}
        assert not failed
        assert counted["ok"] > 30


@pytest.mark.skipif(SYNAPSE not in os.environ, reason=f"no Synapse: {SYNAPSE} is not set")
def test_three_servers_agree_on_the_state(tmp_path: Path) -> None:
    """Two of ours and Synapse in one room of each version, where much happens at the same time."""
    done = interop(tmp_path, "--agree", "20")
    assert done.returncode == 0
