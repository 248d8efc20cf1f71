"""`homeserver init`: a configuration file and a signing key, so that `homeserver run` can start."""

import os
from pathlib import Path

import click
import msgspec

from homeserver.cli.options import config_option
from homeserver.config import ConfigError, load, signing_keys

TEMPLATE = """\
# Configuration of a Matrix homeserver. Paths are relative to this file.
# The project's config/homeserver.example.yaml explains all other keys.

# The part after the colon in user IDs. It cannot be changed once there are users.
server_name: {server_name}

# Uploaded files, and what else is kept in files.
data_dir: {data_dir}

# sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME
database: {database}

# Whoever has this file can pose as this server. Keep a copy in a safe place.
signing_key_path: {signing_key_path}

listeners:
  - {{bind: 127.0.0.1, port: 8008, tls: false}}

registration:
  enabled: false
"""


@click.command
@config_option
@click.option("--server-name", required=True, help="The domain in user IDs, such as example.org.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=None,
    help="The folder for the database and files.  [default: data, beside the configuration file]",
)
@click.option("--database", default=None, help="The database's URL.  [default: SQLite in the data folder]")
def init(config_path: Path, server_name: str, data_dir: Path | None, database: str | None) -> None:
    """Write a configuration file and a signing key; what exists is not overwritten."""
    folder = config_path.absolute().parent
    data = "data" if data_dir is None else _from(folder, data_dir)
    signing_key_path = f"{data}/signing.key"
    for key, path in (("--config", config_path), ("signing_key_path", folder / signing_key_path)):
        if path.exists():
            raise ConfigError(key, path, "is there already and is not overwritten: move it away first")
    text = TEMPLATE.format(
        server_name=_quoted(server_name),
        data_dir=_quoted(data),
        database=_quoted(database or f"sqlite:///{data}/homeserver.db"),
        signing_key_path=_quoted(signing_key_path),
    )
    _write(config_path, text)
    try:
        config = load(config_path)
        signing_keys.create(config.signing_key_path)
    except ConfigError:
        config_path.unlink()
        raise
    click.echo(f"Wrote {config_path} and {os.path.relpath(config.signing_key_path)}.")


def _from(folder: Path, path: Path) -> str:
    """`path`, which is seen from the working folder, as seen from `folder`."""
    return str(path) if path.is_absolute() else os.path.relpath(path, folder)


def _quoted(text: str) -> str:
    """`text` as a YAML scalar (JSON is YAML)."""
    return msgspec.json.encode(text).decode()


def _write(path: Path, text: str) -> None:
    """Write a new file that only its owner can read: it may come to hold passwords."""
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError("--config", path, f"cannot be written: {error.strerror}") from error
