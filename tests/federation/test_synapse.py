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


@pytest.mark.skipif(SYNAPSE not in os.environ, reason=f"no Synapse: {SYNAPSE} is not set")
@pytest.mark.parametrize("version", ["6", "10", "11", "12"])
def test_both_understand_each_other(version: str, tmp_path: Path) -> None:
    """Rooms of the version on either server, joined from the other one; what does not exist in it is not tried."""
    outcomes = tmp_path / "outcomes.json"
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPTS / "interop"), "--versions", version, "--json", str(outcomes)),
            *("--peer-venv", os.environ[SYNAPSE], "--keep", str(tmp_path / "servers")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    columns = json.loads(outcomes.read_text())
    assert len(columns) == 2
    for column in columns:
        counted = Counter(column["outcomes"].values())
        assert counted.keys() <= {"ok", "-"}
        assert counted["ok"] > 30
