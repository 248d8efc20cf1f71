"""Certificates of listeners, renewed without a restart. Loaded where a listener has TLS: it weighs 12 MB."""

from pathlib import Path
from typing import Final, TypeAlias

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from homeserver.http.listen import CertificateError, OverTls
from homeserver.http.server import HttpServer
from homeserver.runtime.clock import Clock

CHECK_EVERY_MS: Final = 5_000

_UsableKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey

_log = structlog.get_logger(__name__)


@implementer(IOpenSSLServerConnectionCreator)
class RenewableCertificate:
    """A certificate chain and its key, both PEM files; once they change, new connections use the new.

    The files are looked at when a connection comes, every few seconds at most. If what is there cannot be
    used, as in the moment between the replacing of two files, the certificate in use stays, and the log
    says so.
    Errors: CertificateError, when it is made.
    """

    def __init__(self, certificate: Path, private_key: Path, clock: Clock) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._clock = clock
        self._checked_ms = clock.monotonic_ms()
        self._state = self._state_of_files()
        self._context = self._load()

    def serverConnectionForTLS(  # noqa: N802 - Twisted's name
        self,
        protocol: TLSMemoryBIOProtocol,  # noqa: ARG002 - Twisted's signature
    ) -> SSL.Connection:
        """The TLS side of a new connection."""
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._checked_ms + CHECK_EVERY_MS:
            self._checked_ms = now_ms
            self._reload()
        return SSL.Connection(self._context, None)

    def _reload(self) -> None:
        try:
            state = self._state_of_files()
            if state == self._state:
                return
            self._context = self._load()
            self._state = state
            _log.info("certificate renewed", certificate=str(self._certificate))
        except CertificateError as error:
            # `_state` stays as it was, so that it is tried again.
            _log.error("the renewed certificate cannot be used", reason=str(error))

    def _state_of_files(self) -> tuple[tuple[int, int, int], ...]:
        """What differs when a file has been written or replaced."""
        states = []
        for path in (self._certificate, self._private_key):
            try:
                status = path.stat()
            except OSError as error:
                raise CertificateError(_unreadable(path, error)) from error
            states.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(states)

    def _load(self) -> SSL.Context:
        try:
            chain = x509.load_pem_x509_certificates(_read(self._certificate))
        except ValueError as error:
            raise CertificateError(f"{self._certificate}: holds no certificate chain in PEM form") from error
        try:
            key = load_pem_private_key(_read(self._private_key), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CertificateError(
                f"{self._private_key}: holds no key in PEM form that can be read without a passphrase"
            ) from error
        options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2, acceptableProtocols=[b"http/1.1"])
        context: SSL.Context = options.getContext()
        try:
            context.use_certificate(chain[0])
            for certificate in chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(_usable(key))
            context.check_privatekey()
        except (SSL.Error, TypeError) as error:
            raise CertificateError(
                f"{self._private_key}: does not fit {self._certificate}: put the key there that the first "
                "certificate in that file was made for"
            ) from error
        return context


class _TlsFactory(TLSMemoryBIOFactory):
    """TLS that encrypts what is written at once: a response is one write, and need not wait for another."""

    protocol = TLSMemoryBIOProtocol


def over_tls(certificate: IOpenSSLServerConnectionCreator) -> OverTls:
    """What puts TLS with this certificate below a server."""

    def wrap(server: HttpServer) -> TLSMemoryBIOFactory:
        return _TlsFactory(certificate, False, server)  # noqa: FBT003 - Twisted's signature

    return wrap


def _usable(key: PrivateKeyTypes) -> _UsableKey:
    if not isinstance(key, _UsableKey):
        raise TypeError("TLS has no use for such a key")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read ({error.strerror}): check that it exists and who may read it"
