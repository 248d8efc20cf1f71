"""The file that holds the server's signing key."""

import os
import secrets
from pathlib import Path

from homeserver.config.errors import ConfigError
from homeserver.core.signing import SigningKey


def read(path: Path) -> SigningKey:
    """The key in the file at `path`: one line, `ed25519 <version> <seed in Base64>`.

    Errors: ConfigError.
    """
    try:
        lines = [line for line in path.read_text("ascii").splitlines() if line.strip()]
    except FileNotFoundError as error:
        remedy = "is not there: bring it back from a backup (a new key: homeserver init in an empty folder)"
        raise ConfigError("signing_key_path", path, remedy) from error
    except OSError as error:
        raise ConfigError(
            "signing_key_path", path, f"cannot be read ({error.strerror}): correct its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise _malformed(path) from error
    if len(lines) != 1:
        raise _malformed(path)
    try:
        return SigningKey.parse(lines[0])
    except ValueError as error:
        raise _malformed(path) from error


def create(path: Path) -> SigningKey:
    """Make a key and write it to `path`, which must not exist, readable for its owner alone.

    Errors: ConfigError.
    """
    key = SigningKey.generate(f"a_{secrets.token_hex(3)}", seed=secrets.token_bytes(32))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.to_file_line() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ConfigError(
            "signing_key_path", path, "is there already and is not overwritten: move it away first"
        ) from error
    except OSError as error:
        raise ConfigError(
            "signing_key_path", path, f"cannot be written ({error.strerror}): correct the path"
        ) from error
    return key


def _malformed(path: Path) -> ConfigError:
    return ConfigError("signing_key_path", path, "must hold one line: ed25519 <version> <seed in Base64>")
