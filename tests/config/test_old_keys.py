"""Keys of the past beside the key of today."""

from pathlib import Path
from typing import cast

import pytest
from twisted.internet import reactor

from homeserver.app.build import Reactor, build
from homeserver.config import Config, ConfigError
from homeserver.config.sections import OldSigningKey
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import SigningKey
from homeserver.runtime.clock import SystemClock


def test_a_key_cannot_be_old_and_in_use(tmp_path: Path) -> None:
    key = SigningKey.generate("test", seed=bytes(32))
    config = Config(
        server_name=ServerName("test.example"),
        data_dir=tmp_path,
        database=f"sqlite:///{tmp_path}/homeserver.db",
        signing_key_path=tmp_path / "signing.key",
        old_signing_keys=(OldSigningKey(key_id=key.key_id, key=encode_base64(key.verify_key), expired_ts=1),),
    )
    with pytest.raises(ConfigError, match=r"old_signing_keys\[0\]\.key_id: ed25519:test: is in use"):
        build(config, key, cast("Reactor", reactor), SystemClock())
