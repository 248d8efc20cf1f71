"""Synapse's virtual environment: made, kept and brought up to date here."""

import subprocess
import sys
import time
from pathlib import Path

from bench_lib.servers import Synapse

LOOK_FOR_NEWER_AFTER_S = 24 * 3600
_VERSION = "import importlib.metadata as m, synapse.synapse_rust; print(m.version('matrix-synapse'))"


class PeerError(Exception):
    """Synapse could not be installed."""


def synapse(venv: Path, version: str | None) -> Synapse:
    """Give the Synapse of the folder `venv`: `version`, or the newest of PyPI (looked for once a day).

    Errors: PeerError when it is not there and cannot be installed.
    """
    python = venv / "bin" / "python"
    stamp = venv / "looked-for-newer"
    if not python.exists():
        print(f"bench: making a virtual environment for Synapse in {venv}", file=sys.stderr)
        venv.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(venv)])
    installed = _installed(python)
    fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < LOOK_FOR_NEWER_AFTER_S
    if installed is None or (version not in (None, installed)) or (version is None and not fresh):
        installed = _install(python, version, installed)
        stamp.touch()
    return Synapse(python, installed)


def _install(python: Path, version: str | None, installed: str | None) -> str:
    wanted = "matrix-synapse" if version is None else f"matrix-synapse=={version}"
    print(f"bench: pip install --upgrade {wanted}", file=sys.stderr)
    try:
        _run([str(python), "-m", "pip", "install", "-q", "--upgrade", wanted, "psycopg2-binary"])
    except PeerError:
        if installed is None or version is not None:
            raise
        print(f"bench: PyPI does not answer; going on with Synapse {installed}", file=sys.stderr)
    now = _installed(python)
    if now is None:
        raise PeerError(f"Synapse is installed, but {python} cannot import it")
    return now


def _installed(python: Path) -> str | None:
    done = subprocess.run([str(python), "-c", _VERSION], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise PeerError(f"{' '.join(command)} failed:\n{str(error.stderr)[-2000:]}") from None
