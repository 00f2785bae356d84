"""Rows of the audit, sent to a syslog server over TLS, in their order.

Syslog confirms nothing. Each message has a connection of its own and counts as sent when the server has ended that in
order, after it; where the connection breaks before, it is sent again.
"""

import os
import socket
import ssl
from contextlib import suppress
from datetime import timedelta

from node.errors import UnreachableError
from node.outgoing.audit_message import syslog_frame
from node.outgoing.kind import DONE, Batch, Item, Kind, Limits, Outcome, Pauses, each
from node.settings import Settings

CONNECT_TIMEOUT_S = 10.0
ENROL = "SELECT audit_id FROM record_audit WHERE audit_id > :after AND audit_id <= :up_to ORDER BY audit_id"


def _receivers(settings: Settings) -> tuple[str, ...]:
    return (settings.audit.syslog.host,) if settings.audit.syslog else ()


def _send(batch: Batch, item: Item) -> Outcome:
    from node.tls import client_context

    server = batch.settings.audit.syslog
    assert server is not None, "only with a server there is a receiver"
    row = next(batch.db.query("SELECT * FROM record_audit WHERE audit_id = ?", [int(item.key)]))
    frame = syslog_frame(row, site=batch.settings.site.name, host=socket.gethostname(), process=os.getpid())
    try:
        with (
            socket.create_connection((server.host, server.port), timeout=CONNECT_TIMEOUT_S) as plain,
            client_context(server.tls).wrap_socket(plain, server_hostname=server.host) as connection,
        ):
            connection.sendall(frame)
            # A server that closes without the word of TLS has read to the end all the same.
            with suppress(ssl.SSLEOFError):
                connection.unwrap()
    except OSError as error:
        raise UnreachableError(f"the syslog server {server.host}:{server.port}: {error}") from error
    return DONE


AUDIT = Kind(
    name="audit",
    receivers=_receivers,
    enrol=ENROL,
    position="SELECT max(audit_id) FROM record_audit",
    opened=each(_send),
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=1)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    limits=Limits(),
    failure="it cannot be written as an audit message",
    batch=100,
    settle_every=10,
    keeps_done=False,
)
