"""`homeserver check-config`: whether the server would start with this configuration."""

from pathlib import Path

import click

from homeserver.cli.options import config_option
from homeserver.config import checks, load, signing_keys


@click.command
@config_option
def check_config(config_path: Path) -> None:
    """Check the configuration file and the files that it names; the server may be running meanwhile."""
    config = load(config_path)
    checks.check_files(config)
    signing_keys.read(config.signing_key_path)
    click.echo(f"{config_path}: no problem found for {config.server_name}.")
