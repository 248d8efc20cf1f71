"""TLS towards other servers: whom to trust, and whether it is they."""

from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from homeserver.clients.addresses import is_ip_literal

_DEEPEST_CHAIN: Final = 10


class WrongIdentityError(Exception):
    """The certificate is not that of whom we called."""


class ClientTls:
    """The TLS side of outgoing connections.

    Certificates are checked against the system's authorities (or those that SSL_CERT_FILE and SSL_CERT_DIR
    name instead) and those in `trusted_ca_file`; not at all without `verify`. The authorities are loaded
    when the first connection is made: they weigh some megabytes.
    """

    def __init__(self, *, verify: bool = True, trusted_ca_file: Path | None = None) -> None:
        self.verify = verify
        self._trusted_ca_file = trusted_ca_file
        self._context: SSL.Context | None = None

    def creator(self, name: str) -> "ConnectionCreator":
        """What makes the TLS side of a connection to `name`: a host name, or an address without brackets.

        Errors: OpenSSL.SSL.Error if the file of authorities cannot be loaded.
        """
        if self._context is None:
            self._context = self._make_context()
        return ConnectionCreator(self._context, None if is_ip_literal(name) else name)

    def check(self, connection: SSL.Connection, name: str) -> None:
        """Check, after the handshake, that the certificate is for `name`. Errors: WrongIdentityError."""
        if not self.verify:
            return
        try:
            if is_ip_literal(name):
                verify_ip_address(connection, name)
            else:
                verify_hostname(connection, name)
        except (VerificationError, CertificateError, ValueError) as error:
            raise WrongIdentityError(f"the certificate is not for {name}") from error

    def _make_context(self) -> SSL.Context:
        options: Any = CertificateOptions(
            raiseMinimumTo=TLSVersion.TLSv1_2, acceptableProtocols=[b"http/1.1"]
        )
        context: SSL.Context = options.getContext()
        if not self.verify:
            context.set_verify(SSL.VERIFY_NONE)
            return context
        context.set_default_verify_paths()
        if self._trusted_ca_file is not None:
            context.load_verify_locations(str(self._trusted_ca_file))
        context.set_verify(SSL.VERIFY_PEER)
        context.set_verify_depth(_DEEPEST_CHAIN)
        return context


@implementer(IOpenSSLClientConnectionCreator)
class ConnectionCreator:
    """Makes the TLS side of one connection; `sni` is the name that is sent for the server to choose by."""

    def __init__(self, context: SSL.Context, sni: str | None) -> None:
        self._context = context
        self._sni = sni

    def clientConnectionForTLS(  # noqa: N802 - Twisted's name
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: ARG002, N803 - as above
    ) -> SSL.Connection:
        """The TLS side of a new connection."""
        connection = SSL.Connection(self._context, None)
        if self._sni is not None:
            connection.set_tlsext_host_name(self._sni.encode("ascii"))
        return connection
