"""The configuration: one YAML file, one frozen Struct per section."""

from homeserver.config.errors import ConfigError
from homeserver.config.loader import load
from homeserver.config.sections import Config

__all__ = ["Config", "ConfigError", "load"]
