"""TLS for what listens, DICOM or HL7, and for the connections that this node opens."""

import socket
import ssl
from collections.abc import Callable

from node.errors import ListenError, UnreachableError
from node.settings import ClientTls, ServerTls

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""Suites of TLS 1.2 with forward secrecy and authenticated encryption. All TLS 1.3 suites qualify."""

HANDSHAKE_TIMEOUT_S = 10.0
"""Time allowed for the whole handshake."""


def secure(
    tls: ssl.SSLContext, connection: socket.socket, *, wrapped: Callable[[ssl.SSLSocket], None]
) -> ssl.SSLSocket | None:
    """Shake hands with a peer that has connected, within :data:`HANDSHAKE_TIMEOUT_S`.

    Returns ``None`` where it closes without a word: a load balancer that looks whether the port is open.

    Parameters
    ----------
    wrapped
        Called with the socket that takes the place of ``connection`` before the handshake begins, so that another
        thread can cut it in the middle.

    Raises
    ------
    OSError
        It takes too long, or the two do not agree.
    """
    connection.settimeout(HANDSHAKE_TIMEOUT_S)
    if not connection.recv(1, socket.MSG_PEEK):
        return None
    secured = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    wrapped(secured)
    try:
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


def server_context(tls: ServerTls, name: str = "dicom.tls") -> ssl.SSLContext:
    """What a listener offers; ``name`` is that of its settings.

    Raises
    ------
    ListenError
        A file cannot be read, or key and certificate do not fit.

    References
    ----------
    DICOM PS3.15, B.9 (BCP 195 TLS Secure Transport Connection Profile); RFC 9325.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=no_passphrase)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise ListenError(f"TLS: {error.strerror or error}; check {name}.certificate, key and client_ca") from error
    return context


def no_passphrase() -> str:
    """In place of a question that OpenSSL would ask at the terminal, and wait for the answer.

    Raises
    ------
    OSError
        Always.
    """
    raise OSError("the key asks for a passphrase, and nobody is there to type it: store it without one")


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """What this node asks for as a client.

    The peer's certificate must be of the authority of the settings. The name in it is not compared: DICOM nodes and HL7
    engines are addressed by number, and their certificates rarely name it.

    Raises
    ------
    UnreachableError
        A file cannot be read, or key and certificate do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.check_hostname = False
    try:
        context.load_verify_locations(tls.ca)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key, password=no_passphrase)
    except OSError as error:
        raise UnreachableError(
            f"TLS: {error.strerror or error}; check ca, certificate and key of the peer's tls"
        ) from error
    return context
