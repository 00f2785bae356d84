"""Results as FHIR R4: a file each in a folder, or a transaction posted to a server."""

import threading
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path

from sqlite_utils import Database

from node.errors import UnreachableError
from node.outgoing import rendered
from node.outgoing.kind import WITHDRAWN, Batch, Item, Kind, Limits, Outcome, Pauses, each, refused
from node.settings import FhirReceiver, Settings

NAME = "fhir"
NOT_LET_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY,
         HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)  # fmt: skip
"""Nothing against what was posted: the server, or what stands before it, is not there."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is posted goes to the server of the settings, or nowhere."""

    def redirect_request(self, *_: object) -> None:
        return None


def _receivers(settings: Settings) -> tuple[str, ...]:
    return tuple(settings.fhir.receivers)


def _prepare(db: Database, settings: Settings, peer: str, at: datetime, stop: threading.Event) -> None:
    # Loaded only where there is a receiver.
    from node.results.fhir import render

    receiver = settings.fhir.receivers[peer]
    rendering = partial(render, receiver=receiver, settings=settings)
    rendered.make_due(db, settings, FHIR, peer, rendering, receiver.tell, at=at, stop=stop)


def _send(batch: Batch, item: Item) -> Outcome:
    body = rendered.body_of(batch, item)
    if body is None:
        return WITHDRAWN
    receiver = batch.settings.fhir.receivers[batch.peer]
    if receiver.folder is not None:
        return _filed(batch, item, body, receiver.folder)
    return _posted(batch, item, body, receiver)


def _filed(batch: Batch, item: Item, body: bytes, folder: Path) -> Outcome:
    from node.store.whole_file import write_whole

    (name,) = batch.db.execute(
        "SELECT identifier FROM record_result WHERE result_id = ?", [rendered.result_of(item)]
    ).fetchone()
    try:
        write_whole(folder / f"{name}.json", body, durable=True)
    except OSError as error:
        raise UnreachableError(f"nothing can be written to {folder}: {error.strerror or error}") from error
    return rendered.kept(batch, NAME, item, how="file", detail="")


def _posted(batch: Batch, item: Item, body: bytes, receiver: FhirReceiver) -> Outcome:
    import ssl

    from node.results.fhir import MEDIA_TYPE

    headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
    try:
        if receiver.token_file is not None:
            token = receiver.token_file.read_text(encoding="utf-8").strip()
            headers["Authorization"] = f"Bearer {token}"
        context = ssl.create_default_context(cafile=receiver.ca)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), _NoRedirect, urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(str(receiver.url), data=body, headers=headers, method="POST")  # noqa: S310  # the settings take no other scheme than http and https
        with opener.open(request, timeout=receiver.timeout_s) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error.strerror or error
        raise UnreachableError(f"the FHIR server cannot be reached: {reason}") from error
    said = f"the FHIR server answered {status}"
    if status in NOT_LET_IN or status in LATER:
        raise UnreachableError(said)
    return rendered.kept(batch, NAME, item, how="http", detail=str(status)) if status < 300 else refused(said)


FHIR = Kind(
    name=NAME,
    receivers=_receivers,
    enrol=rendered.ENROL,
    values=partial(rendered.of_queue, NAME),
    since=rendered.NEWEST_OBJECT,
    prepare=_prepare,
    opened=each(_send),
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=4)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    # A day and a half with these pauses.
    limits=Limits(attempts=12),
    failure="it cannot be sent",
    batch=20,
)
