"""The file that holds the signing key."""

import stat
from pathlib import Path

import pytest

from homeserver.config import ConfigError, signing_keys

LINE = "ed25519 a_1234 YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"


def test_a_key_that_was_made_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.key"
    made = signing_keys.create(path)
    assert signing_keys.read(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing_keys.create(tmp_path / "another.key") != made


def test_a_key_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text(LINE)
    with pytest.raises(ConfigError, match="is there already and is not overwritten"):
        signing_keys.create(path)
    assert path.read_text() == LINE


def test_a_key_of_another_server_program_is_read(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text(f"\n{LINE}\n")
    assert signing_keys.read(path).key_id == "ed25519:a_1234"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ed25519 a_1234",
        b"rsa a_1234 YWFh",
        b"ed25519 a_1234 YWFh",
        LINE.replace("_", "-").encode(),
        f"{LINE}\n{LINE}".encode(),
        b"\xff\xfe",
    ],
)
def test_a_malformed_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="must hold one line: ed25519 <version> <seed in Base64>") as caught:
        signing_keys.read(path)
    assert "YWFh" not in str(caught.value)


def test_a_missing_key_is_not_made_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there: bring it back from a backup"):
        signing_keys.read(tmp_path / "signing.key")
