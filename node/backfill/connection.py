"""The connection to the scheduler of a Dask cluster: with TLS, or on this machine alone.

Whoever reaches a scheduler or a worker without TLS can read the images and have any program run there: what is said
between them is Python's pickle.
"""

from pathlib import Path
from urllib.parse import urlsplit

from distributed import Client, Security

from node.errors import ClusterError, InputError
from node.settings import ClientTls, is_loopback


def connect(scheduler: str, tls: ClientTls | None, *, within_s: float) -> Client:
    """Connect to ``tls://host:port``, or to ``tcp://`` on loopback.

    Raises
    ------
    InputError
        It is no such address, or there are no certificates for it.
    ClusterError
        It cannot be reached, or others could.
    """
    security = _security(scheduler, tls)
    try:
        client = Client(scheduler, timeout=within_s, security=security, set_as_default=False, name="vbq-node")
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"the scheduler {scheduler} cannot be reached: {error}; check it, its address and the certificates"
        ) from error
    listens = str(client.scheduler_info()["address"])
    if is_open(listens):
        client.close()
        raise ClusterError(
            f"the scheduler listens without TLS at {listens}, where others can read images and run what they like: "
            "start it with --host 127.0.0.1, or with --protocol tls"
        )
    return client


def is_open(address: str) -> bool:
    """Whether something listens without TLS for others than this machine."""
    parts = urlsplit(address)
    return parts.scheme != "tls" and not is_loopback(parts.hostname or "")


def _security(scheduler: str, tls: ClientTls | None) -> Security:
    scheme = urlsplit(scheduler).scheme
    if scheme not in {"tls", "tcp"}:
        raise InputError(f"{scheduler} is no address of a scheduler: give tls://host:port, or tcp:// on loopback")
    if is_open(scheduler):
        raise InputError(f"{scheduler}: without TLS others can read images and run what they like there; use tls://")
    if scheme == "tcp":
        return Security(require_encryption=False)
    if tls is None:
        raise InputError("for tls:// give the authority of the cluster, a certificate by it and its key")
    return Security(
        require_encryption=True,
        tls_ca_file=_named(tls.ca),
        tls_client_cert=_named(tls.certificate),
        tls_client_key=_named(tls.key),
    )


def _named(path: Path | None) -> str | None:
    return None if path is None else str(path)
