"""A certificate authority for servers on this machine, by the program `openssl`."""

import subprocess
from pathlib import Path

from bench_lib.databases import free_port
from bench_lib.servers import Federation

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


class CertificateError(Exception):
    """`openssl` is not there, or did not do what it was asked."""


class Authority:
    """Signs certificates for `localhost`; its own stands in `file`.

    Errors: CertificateError, of everything.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "authority.pem"
        self._key = folder / "authority-key.pem"
        _openssl(["-subj", "/CN=an authority of tests", "-keyout", str(self._key), "-out", str(self.file)])

    def federation(self, name: str, *, with_presence: bool = False) -> Federation:
        """Give a new server its certificate, and a free port that will be a part of its name."""
        certificate, private_key = self.certify(name)
        return Federation(free_port(), certificate, private_key, self.file, with_presence)

    def certify(self, name: str) -> tuple[Path, Path]:
        """Make a certificate and its key: files named after `name`."""
        certificate, private_key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        _openssl(
            [
                *("-CA", str(self.file), "-CAkey", str(self._key)),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
                *("-keyout", str(private_key), "-out", str(certificate)),
            ]
        )
        return certificate, private_key


def _openssl(arguments: list[str]) -> None:
    try:
        subprocess.run(
            ["openssl", "req", "-x509", *_KEY, *arguments], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        raise CertificateError("openssl is missing: apt-get install openssl") from None
    except subprocess.CalledProcessError as error:
        raise CertificateError(f"openssl failed:\n{str(error.stderr)[-2000:]}") from None
