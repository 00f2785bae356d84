"""``vbq-node fetch``: brings what is planned from a PACS, study by study, and can be stopped and run again at any time.

What is here already is known from the database alone, so a fetch that was killed goes on where it was. After each study
the PACS is asked once more how many images it has: that answer is a fact by which completeness is judged.
"""

import errno
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.dicom.intake import Intake, Peer
from node.dicom.recorder import Recorder
from node.errors import InputError, ListenError, PeerError, UnreachableError
from node.pacs.plan import Plan, WantedStudy, days, images_missing, plan_days, plan_study
from node.pacs.query import UID, asking
from node.pacs.questions import store_answer
from node.pacs.retrieve import NotKnownThereError, Received, Retrieval, retrieving
from node.settings import QueryAe, Settings
from node.store.archive import Archive
from node.store.database import writing

SUCCESS, CANNOT_UNDERSTAND, OUT_OF_RESOURCES, PROCESSING_FAILURE = 0x0000, 0xC000, 0xA700, 0x0110
PAUSES_S = (5.0, 20.0, 60.0)
"""Pauses before a study is tried again after the PACS hung up; after the last the fetch ends."""
S_PER_MINUTE = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A series that could not be brought, or not all of it."""

    study_uid: str
    series_uid: str
    error: str


@dataclass(kw_only=True)
class Brought:
    """What a fetch has done so far."""

    series: int = 0
    images: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    """Failures by SeriesInstanceUID."""


def query_peer(settings: Settings, name: str) -> QueryAe:
    """The query address of a peer.

    Raises
    ------
    InputError
        The settings have no such peer, or none that can be asked.
    """
    peer = settings.dicom.peers.get(name)
    if peer is None or peer.query is None:
        known = ", ".join(sorted(name for name, one in settings.dicom.peers.items() if one.query)) or "none"
        raise InputError(f"dicom.peers has no peer {name!r} with a `query` address; those with one: {known}")
    return peer.query


def find(
    db: Database,
    settings: Settings,
    peer_name: str,
    *,
    period: tuple[date, date],
    unnamed: bool,
    progress: Callable[[], None] = lambda: None,
) -> Plan:
    """What there is to bring of a period of days; ``progress`` is called after each day.

    Raises
    ------
    InputError
        The peer cannot be asked.
    PeerError
        It does not answer, or refuses.
    """
    with asking(query_peer(settings, peer_name), ae_title=settings.dicom.ae_title) as query:
        return plan_days(db, query, days(*period), unnamed=unnamed, progress=progress)


def find_study(db: Database, settings: Settings, peer_name: str, study_uid: str) -> Plan:
    """What there is to bring of one study; errors as of :func:`find`, and InputError when the PACS does not know it."""
    if not UID.fullmatch(study_uid):
        raise InputError(f"{study_uid!r} is no StudyInstanceUID")
    with asking(query_peer(settings, peer_name), ae_title=settings.dicom.ae_title) as query:
        plan = plan_study(db, query, study_uid)
    if not plan.studies:
        raise InputError(f"{peer_name} does not know the study {study_uid}")
    return plan


class Fetch:
    """A context in which studies are brought from one peer."""

    def __init__(
        self,
        db: Database,
        archive: Archive,
        settings: Settings,
        peer_name: str,
        *,
        images_per_minute: int | None = None,
    ) -> None:
        self._db, self._archive, self._settings, self._peer_name = db, archive, settings, peer_name
        self._peer = query_peer(settings, peer_name)
        self._s_per_image = S_PER_MINUTE / (images_per_minute or self._peer.images_per_minute)
        self._open = ExitStack()
        self._intake: Intake | None = None
        self.brought = Brought()

    def __enter__(self) -> "Fetch":
        """Make ready to take images.

        Raises
        ------
        ListenError
            Images are to be moved, but this node's receiver does not run.
        StoreError
            Images are to be taken here, but the archive cannot be used.
        """
        if self._peer.retrieve == "move":
            _require_receiver(self._settings)
        else:
            self._archive.require_folders()
            recorder = self._open.enter_context(Recorder(self._settings.storage.folder))
            self._intake = Intake(self._settings, self._archive, recorder)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def study(self, study: WantedStudy, progress: Callable[[int], None] = lambda _: None) -> None:
        """Bring what is missing of a study; ``progress`` is told how many images of it have been dealt with so far.

        Series that cannot be brought are in :attr:`brought` and, until a later fetch brings them, in ``problems``.

        Raises
        ------
        PeerError
            The PACS cannot be reached any more, or does not know this node.
        """
        self._wait_for_hours()
        for pause_s in (*PAUSES_S, None):
            try:
                self._try_study(study, progress)
            except UnreachableError as error:
                if pause_s is None:
                    raise UnreachableError(f"{error}; run the same command again to go on where it stopped") from error
                log.warning("the PACS hung up, trying again", peer=self._peer_name, error=str(error), pause_s=pause_s)
                time.sleep(pause_s)
            else:
                return

    def _wait_for_hours(self) -> None:
        """Begin no study outside of ``query.hours``; looked at each minute, so that a clock may be set meanwhile."""
        zone = self._settings.site.zone
        opens = self._peer.opens(now().astimezone(zone))
        if opens > now():
            log.info("waiting for the hours in which it may be asked", peer=self._peer_name, until=opens.isoformat())
        while (left := self._peer.opens(now().astimezone(zone)) - now()) > timedelta(0):
            time.sleep(min(S_PER_MINUTE, left.total_seconds()))

    def _try_study(self, study: WantedStudy, progress: Callable[[int], None]) -> None:
        title = self._settings.dicom.ae_title
        with asking(self._peer, ae_title=title) as query:
            images = {series.uid: query.images(study.uid, series.uid) for series in study.series}
        for uid in [uid for uid, found in images.items() if not found]:
            said = f"{self._peer.ae_title} counts images of it and lists none"
            self._note(Failure(study_uid=study.uid, series_uid=uid, error=said), uid)
        left = {uid: found for uid, found in images.items() if images_missing(self._db, found)}
        if left:
            with retrieving(self._peer, ae_title=title, take=self._take) as retrieval:
                before = 0
                for series_uid, found in left.items():
                    self._series(retrieval, study.uid, series_uid, found, partial(_count_on, progress, before))
                    before += len(found)
        asked_at = now()
        with asking(self._peer, ae_title=title) as query:
            series = query.series(study.uid)
        with writing(self._db):
            store_answer(self._db, peer_name=self._peer_name, study_uid=study.uid, series=series, asked_at=asked_at)

    def _series(
        self, retrieval: Retrieval, study_uid: str, series_uid: str, found: list[str], progress: Callable[[int], None]
    ) -> None:
        began = time.monotonic()
        missing = images_missing(self._db, found)
        error = None
        try:
            if len(missing) == len(found):
                retrieval.series(study_uid, series_uid, progress)
            else:
                # Not what is here already: a PACS may send it a little different, and it would be kept twice.
                retrieval.images(study_uid, series_uid, missing, progress)
        except (UnreachableError, NotKnownThereError):
            raise
        except PeerError as failed:
            error = str(failed)
        # What counts is what has been made durable here, not what the PACS says.
        still = images_missing(self._db, missing)
        self.brought.images += len(missing) - len(still)
        if not still:
            # Some call it a failure that they sent an image with a remark, or again.
            error = None
        elif error is None:
            error = f"{self._peer.ae_title} said that it sent all images, but {len(still)} did not come"
        self._note(Failure(study_uid=study_uid, series_uid=series_uid, error=error) if error else None, series_uid)
        spare_s = len(missing) * self._s_per_image - (time.monotonic() - began)
        time.sleep(max(0.0, spare_s))

    def _note(self, failure: Failure | None, series_uid: str) -> None:
        with writing(self._db):
            self._db.execute(
                "DELETE FROM state_fetch WHERE peer = ? AND series_instance_uid = ?", [self._peer_name, series_uid]
            )
            if failure:
                self._db.execute(
                    "INSERT INTO state_fetch (peer, study_instance_uid, series_instance_uid, failed_at, error) "
                    "VALUES (?, ?, ?, ?, ?)",
                    [self._peer_name, failure.study_uid, series_uid, to_text(now()), failure.error],
                )
        if failure:
            self.brought.failures[series_uid] = failure
        else:
            self.brought.failures.pop(series_uid, None)
            self.brought.series += 1

    def _take(self, received: Received) -> int:
        """Make an object that came by C-GET durable, as the receiver does; returns the status that is answered."""
        named = {
            "sop_class_uid": received.sop_class_uid,
            "sop_instance_uid": received.sop_instance_uid,
            "transfer_syntax_uid": received.transfer_syntax_uid,
        }
        if self._intake is None or not received.dataset:
            return CANNOT_UNDERSTAND
        title = self._settings.dicom.ae_title
        peer = Peer(address=self._peer.host, calling_ae=self._peer.ae_title, called_ae=title, name=self._peer_name)
        try:
            incoming = self._intake.open(named)
            incoming.write(received.dataset)
            self._intake.record(incoming, named, peer)
        except (OSError, sqlite3.Error, TimeoutError) as error:
            log.error("not stored", error=str(error), peer=self._peer_name)
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            return OUT_OF_RESOURCES if full else PROCESSING_FAILURE
        return SUCCESS


def _count_on(progress: Callable[[int], None], before: int, images: int) -> None:
    progress(before + images)


def _require_receiver(settings: Settings) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.dicom.host, settings.dicom.host)  # noqa: S104  # asked, not bound
    try:
        socket.create_connection((host, settings.dicom.port), timeout=5).close()
    except OSError as error:
        raise ListenError(
            f"a PACS moves images to this node's receiver, and {host}:{settings.dicom.port} does not answer; "
            'start the node (`vbq-node run`), or set the peer\'s query.retrieve to "get"'
        ) from error
