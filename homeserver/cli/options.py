"""Options that several commands share."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("homeserver.yaml"),
    envvar="HOMESERVER_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
