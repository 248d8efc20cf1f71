"""What the configuration asks of the machine: files that can be read, ports that are free."""

import errno
import socket
import ssl
from pathlib import Path

from homeserver.config.appservices import load_registrations
from homeserver.config.errors import ConfigError
from homeserver.config.sections import Config, Listener, Tls


def check_files(config: Config) -> None:
    """Check that the files are there and hold what they should, and that data can be written.

    Makes the data folder if it is missing.
    Errors: ConfigError.
    """
    if config.tls is not None and any(listener.tls for listener in config.listeners):
        _check_certificate(config.tls)
    if config.federation.trusted_ca_file is not None:
        _check_authorities("federation.trusted_ca_file", config.federation.trusted_ca_file)
    if config.email is not None and config.email.trusted_ca_file is not None:
        _check_authorities("email.trusted_ca_file", config.email.trusted_ca_file)
    load_registrations(config)
    _check_folder("data_dir", config.data_dir)


def check_ports(config: Config) -> None:
    """Check that each listener's address is this machine's, and its port free at this moment.

    Errors: ConfigError.
    """
    for index, listener in enumerate(config.listeners):
        try:
            _try_listening(listener)
        except OSError as error:
            raise port_error(index, listener, error) from error


def port_error(index: int, listener: Listener, error: OSError) -> ConfigError:
    """Why the listener number `index` cannot listen, for the operator."""
    key = f"listeners[{index}]"
    match error.errno:
        case errno.EADDRINUSE:
            remedy = (
                f"another program listens on {listener.bind}:{listener.port}: stop it, or choose another port"
            )
            return ConfigError(f"{key}.port", listener.port, remedy)
        case errno.EACCES:
            remedy = (
                "only root may listen there: choose a port from 1024 up, or give the right to the program"
            )
            return ConfigError(f"{key}.port", listener.port, remedy)
        case _:
            remedy = "is no address of this machine: use 127.0.0.1, 0.0.0.0, or [::] without the brackets"
            return ConfigError(f"{key}.bind", listener.bind, remedy)


def _try_listening(listener: Listener) -> None:
    family = socket.AF_INET6 if ":" in listener.bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((listener.bind, listener.port))
        probe.listen(1)


def _check_certificate(tls: Tls) -> None:
    _check_readable("tls.certificate", tls.certificate)
    _check_readable("tls.private_key", tls.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An empty password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(tls.certificate, tls.private_key, password="")
    except (ssl.SSLError, OSError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                "tls.private_key",
                str(tls.private_key),
                "is not the key of tls.certificate: use the one made with it",
            ) from error
        _check_authorities("tls.certificate", tls.certificate)
        raise ConfigError(
            "tls.private_key", str(tls.private_key), "must hold a private key in PEM form, without a password"
        ) from error


def _check_authorities(key: str, path: Path) -> None:
    """Check that `path` holds certificates."""
    _check_readable(key, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(key, path, "must hold certificates in PEM form") from error


def _check_readable(key: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(
            key, path, f"cannot be read ({error.strerror}): correct the path or its permissions"
        ) from error


def _check_folder(key: str, path: Path) -> None:
    probe = path / ".writable"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            key, path, f"cannot be written ({error.strerror}): correct the path or its permissions"
        ) from error
