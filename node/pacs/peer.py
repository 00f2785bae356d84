"""Associations that this node opens: to a PACS that is asked, or to a destination."""

import logging
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context

from node.dicom.contexts import VERIFICATION
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import PeerError, UnreachableError
from node.settings import RemoteAe
from node.tls import client_context

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
"""Time allowed for the answer to a request, unless the caller allows more."""

Handlers = Sequence[tuple[Any, Callable[..., Any]]]


def silence_libraries() -> None:
    """Keep pynetdicom and pydicom from logging what they send and receive: patient data, and costly to format."""
    _config.LOG_HANDLER_LEVEL = "none"
    # Its errors are raised here with the name of the peer.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


@contextmanager
def associated(
    remote: RemoteAe,
    contexts: Sequence[PresentationContext],
    *,
    ae_title: str,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Handlers = (),
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
) -> Iterator[Association]:
    """An association with a peer; released at the end, aborted when the block raises.

    Parameters
    ----------
    contexts
        What is proposed; the caller looks at what was accepted.
    ae_title
        What this node calls itself.
    roles
        Role selections, for C-GET.

    Raises
    ------
    UnreachableError
        There is none.
    """
    silence_libraries()
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = CONNECT_TIMEOUT_S
    entity.acse_timeout = CONNECT_TIMEOUT_S
    entity.dimse_timeout = answer_timeout_s
    entity.network_timeout = answer_timeout_s
    association = entity.associate(
        _address(remote),
        remote.port,
        contexts=list(contexts),
        ae_title=remote.ae_title,
        max_pdu=131_072,
        ext_neg=list(roles),
        tls_args=_tls(remote),
        evt_handlers=list(handlers),
    )
    if not association.is_established:
        raise UnreachableError(_why_not(remote, association))
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        association.release()


def echo(remote: RemoteAe, *, ae_title: str) -> None:
    """Ask a peer whether it is there (C-ECHO).

    Raises
    ------
    PeerError
        It cannot be reached, or does not answer as it should.
    """
    with associated(remote, [build_context(VERIFICATION)], ae_title=ae_title) as association:
        status = association.send_c_echo()
        if status.get("Status") != 0x0000:
            raise PeerError(f"{remote.ae_title} at {remote.host}:{remote.port} did not answer C-ECHO with Success")


def _address(remote: RemoteAe) -> str:
    try:
        return str(socket.getaddrinfo(remote.host, remote.port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise UnreachableError(f"{remote.host} is not known to this machine: {error.strerror}") from error


def _tls(remote: RemoteAe) -> tuple[ssl.SSLContext, str] | None:
    return (client_context(remote.tls), remote.host) if remote.tls else None


def _why_not(remote: RemoteAe, association: Association) -> str:
    name = f"{remote.ae_title} at {remote.host}:{remote.port}"
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str.rstrip(".").lower() if answer else "without a reason"
        return f"{name} rejected the association: {reason}"
    if association.acceptor.primitive is not None:
        return f"{name} accepts nothing of what this node asks for"
    over = " over TLS" if remote.tls else ""
    return f"{name} cannot be reached{over}, or closed the connection"
