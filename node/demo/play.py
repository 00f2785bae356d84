"""``vbq-node demo``: a small hospital played against a real node, and what the node makes of it.

The node is the real one, in its own processes; the PACS, the laboratory, the hospital system and the mail server
speak to it over real sockets. Only the images are drawn, the patients made up, and the date of the night chosen.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from email.message import EmailMessage
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlite_utils import Database

from node.clock import now
from node.demo.hospital import DEFAULT_NIGHT, TIME_ZONE, Hospital, LivePatient, open_hospital
from node.demo.pacs import AE_TITLE, LOOPBACK, DemoPacs
from node.demo.phantom import Readings
from node.demo.senders import Acknowledged, MailServer, MllpSender, Peer, Record, send_study
from node.demo.show import Ending, read_endings, show_endings, show_queries
from node.demo.stage import RECIPIENT, DemoError, NodeProcess, empty_folder, picture_of, write_settings
from node.nightly.night import run_night
from node.outgoing.mail import deliver
from node.outgoing.results import results_left
from node.people.imports import import_cohort
from node.people.readings import add_reading
from node.settings import Settings
from node.steps.lock import deriving
from node.steps.pending import pending
from node.store.archive import Archive
from node.store.database import open_database
from node.store.snapshot import publish

QUIET_S = 2.0
"""How long a study must be quiet in the demo before it counts as complete."""

PRELIMINARY = """
SELECT count(*) FROM measurements AS m JOIN series AS s USING (series_instance_uid)
WHERE m.in_effect = 1 AND m.status = 'measured' AND s.identified = 1 AND NOT EXISTS (
    SELECT 1 FROM results AS r WHERE r.series_instance_uid = m.series_instance_uid AND r.state = 'kept')
"""
TIERS = """
SELECT (SELECT count(*) FROM flags WHERE latest = 1)
     - (SELECT count(*) FROM results WHERE latest = 1 AND tier IS NOT NULL AND state = 'kept')
"""
"""How many results the record does not have yet."""
SETTLE_TIMEOUT_S = 180.0
MAIL_TIMEOUT_S = 30.0
DRAWING_THREADS = 2
READER = "demo"
PACS_FOLDER, RECORD_FOLDER = "pacs", "record"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What the node has acknowledged: SOP Instance UIDs and messages; repeats are repeated."""

    images: tuple[str, ...]
    messages: tuple[Acknowledged, ...]
    readings: Mapping[str, Readings]
    """Where a reader would place the circles, by the UID of the T1 series."""


@dataclass(frozen=True, kw_only=True)
class DemoOutcome:
    """A play that came to its end."""

    folder: Path
    config: Path
    night: date
    sent: Sent
    endings: tuple[Ending, ...]
    mail_html: Path
    mail_png: Path | None
    report_html: Path
    figures: tuple[Path, ...]
    snapshot: Path
    seconds: float
    in_the_pacs: Mapping[str, int]
    """How many objects of each modality its PACS was sent."""

    @property
    def as_meant(self) -> bool:
        """Whether everybody ended as the play promises."""
        return all(ending.as_meant for ending in self.endings)


def run_demo(
    *, folder: Path | None = None, seed: int = 1, night: date = DEFAULT_NIGHT, console: Console | None = None
) -> DemoOutcome:
    """Play the hospital of a seed against a node and show what comes of it.

    Parameters
    ----------
    folder
        A new or empty folder that keeps everything; a temporary one, which also stays, without it.
    night
        The date of the night that is run; the patients' dates follow it.

    Raises
    ------
    InputError
        The folder is not empty.
    DemoError
        The node did not come up, did not settle, or somebody ended otherwise than the play promises.
    """
    begun = monotonic()
    shown = console or Console()
    place = empty_folder(folder or Path(tempfile.mkdtemp(prefix="vbq-node-demo-")))
    hospital = open_hospital(seed, night=night)
    shown.print(f"A hospital with {len(hospital.patients)} patients plays against a node in {place}", highlight=False)
    with (
        MailServer(place / "mail") as mail,
        Record(place / RECORD_FOLDER) as record,
        DemoPacs(place / PACS_FOLDER) as pacs,
    ):
        results = {"ae_title": AE_TITLE, "host": LOOPBACK, "port": pacs.port, "confirm": "none"}
        config = write_settings(
            place,
            mail_port=mail.port,
            record_port=record.port,
            time_zone=TIME_ZONE,
            quiet_s=QUIET_S,
            results=results,
        )
        node = NodeProcess(config)
        settings = node.settings
        with closing(open_database(settings.storage.folder, create=True, pseudonym_key=demo_key(seed))) as db, node:
            _import_history(db, settings, hospital, place)
            with _progress(shown) as progress:
                sent = play_hospital(hospital, settings, progress=progress)
            with shown.status("the node indexes, interprets, measures and links"):
                settle(db)
                wait_until_told(db, PRELIMINARY)
            with shown.status("a reader, who knows the drawings, places circles of his own"):
                add_readings(db, settings, sent.readings)
                settle(db)
            with shown.status(f"the night of {night}"):
                run_night(db, settings, night=night, now=hospital.night_at)
                deliver(db, settings, now=now())
                received = mail.wait_for(1, timeout_s=MAIL_TIMEOUT_S)
            with shown.status("results go to the PACS"):
                settle_results(db, settings)
                with deriving(settings.storage.folder, wait=True):
                    snapshot = publish(db, settings.storage.folder)
                wait_until_told(db, TIERS)
            in_the_pacs = pacs.has()
            endings = read_endings(db, hospital)
    if not received:
        raise DemoError(f"the report's mail did not arrive; {node.log} says why")
    outcome = _outcome(
        place, config, night, sent, endings, received[0], settings, snapshot, monotonic() - begun, in_the_pacs
    )
    _show(shown, outcome)
    if not outcome.as_meant:
        wrong = ", ".join(ending.part.key for ending in endings if not ending.as_meant)
        raise DemoError(f"{wrong}: not the ending that the play promises; {place} keeps everything")
    return outcome


def demo_key(seed: int) -> str:
    """The key of the study ids in a demo: fixed by the seed, so that they repeat."""
    return hashlib.sha256(f"vbq-node demo {seed}".encode()).hexdigest()


def _import_history(db: Database, settings: Settings, hospital: Hospital, place: Path) -> None:
    history = place / "history.csv"
    history.write_text(hospital.history, encoding="utf-8")
    summary = import_cohort(db, history, site=settings.site.name, now=now())
    if summary.problems:
        raise DemoError(f"the history was not taken: {summary.problems[0]}")


# ---- the hospital --------------------------------------------------------------------------------------------------
def play_hospital(hospital: Hospital, settings: Settings, *, progress: Progress | None = None) -> Sent:
    """Send everything at once: images from the PACS, results from the laboratory, the rest from the hospital system.

    Everything is sent until the node has acknowledged it, however often it goes down meanwhile.

    Raises
    ------
    NotAcknowledgedError
        Something was not acknowledged in time.
    """
    images, laboratory, administration = (
        _task(progress, title, total)
        for title, total in (("PACS: images", None), ("laboratory", len(hospital.lis)), ("HIS", len(hospital.his)))
    )
    peer = Peer(host=settings.hl7.host, port=settings.hl7.port)
    with ThreadPoolExecutor(DRAWING_THREADS + 2) as pool:
        queues = [
            pool.submit(_send_messages, peer, messages, tick)
            for messages, tick in ((hospital.lis, laboratory), (hospital.his, administration))
        ]
        studies = [pool.submit(_send_images, patient, settings, images) for patient in hospital.patients]
        work: list[Future[Any]] = [*queues, *studies]
        wait(work, return_when=FIRST_EXCEPTION)
        for unfinished in work:
            unfinished.cancel()
    sent = [study.result() for study in studies]
    return Sent(
        images=tuple(uid for uids, _ in sent for uid in uids),
        messages=tuple(message for queue in queues for message in queue.result()),
        readings={
            patient.examination.t1_series_uid: reading
            for patient, (_, reading) in zip(hospital.patients, sent, strict=True)
        },
    )


Tick = Callable[[], None]


def _task(progress: Progress | None, title: str, total: int | None) -> Tick:
    if progress is None:
        return lambda: None
    task: TaskID = progress.add_task(title, total=total)
    return lambda: progress.advance(task)


def _send_messages(peer: Peer, messages: tuple[bytes, ...], tick: Tick) -> tuple[Acknowledged, ...]:
    with MllpSender(peer) as sender:
        return sender.send(messages, on_stored=lambda _: tick())


def _send_images(patient: LivePatient, settings: Settings, tick: Tick) -> tuple[tuple[str, ...], Readings]:
    study = patient.study()
    images = patient.images(study)
    uids: tuple[str, ...] = ()
    for _ in range(2 if patient.part.sent_twice else 1):
        uids += send_study(
            images,
            Peer(host=settings.dicom.host, port=settings.dicom.port),
            called_ae=settings.dicom.ae_title,
            on_stored=lambda _: tick(),
        )
    return uids, patient.reading(study)


# ---- the node ------------------------------------------------------------------------------------------------------
def settle(db: Database, *, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Wait until nothing is pending.

    Raises
    ------
    DemoError
        Something still is after that time.
    """
    deadline = monotonic() + timeout_s
    while left := {name: number for name, number in pending(db).items() if number}:
        if monotonic() > deadline:
            raise DemoError(f"still pending after {timeout_s:g} s: {left}")
        sleep(0.1)


def wait_until_told(db: Database, missing: str, *, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Wait until the record has all results that a query counts.

    Raises
    ------
    DemoError
        It still has not after that time.
    """
    deadline = monotonic() + timeout_s
    while left := db.execute(missing).fetchone()[0]:
        if monotonic() > deadline:
            raise DemoError(f"after {timeout_s:g} s the record still lacks {left} results")
        sleep(0.1)


def settle_results(db: Database, settings: Settings, *, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Wait until every result is rendered and sent.

    Raises
    ------
    DemoError
        Some are not after that time.
    """
    deadline = monotonic() + timeout_s
    while left := results_left(db, settings):
        if monotonic() > deadline:
            raise DemoError(f"{left} results are not in the PACS after {timeout_s:g} s")
        sleep(0.2)


def add_readings(db: Database, settings: Settings, readings: Mapping[str, Readings]) -> int:
    """Read every chosen series, as a person would; returns how many there were.

    The readings supersede the automatic measurements: the networks learnt from patients, and a drawing is none.
    """
    archive = Archive(settings.storage.folder)
    chosen = db.execute("SELECT series_instance_uid FROM series WHERE chosen = 1 ORDER BY 1").fetchall()
    for (uid,) in chosen:
        add_reading(db, archive, series_uid=uid, reader=READER, rois_text=json.dumps(readings[uid]), now=now())
    return len(chosen)


# ---- the end -------------------------------------------------------------------------------------------------------
def _outcome(
    place: Path,
    config: Path,
    night: date,
    sent: Sent,
    endings: tuple[Ending, ...],
    mail: EmailMessage,
    settings: Settings,
    snapshot: Path,
    seconds: float,
    in_the_pacs: Mapping[str, int],
) -> DemoOutcome:
    page = place / "mail.html"
    page.write_text(_as_in_a_mail_client(mail), encoding="utf-8")
    reports = settings.storage.folder / "reports" / night.isoformat()
    return DemoOutcome(
        folder=place,
        config=config,
        night=night,
        sent=sent,
        endings=endings,
        mail_html=page,
        mail_png=picture_of(page, place / "mail.png"),
        report_html=reports / "report.html",
        figures=tuple(sorted(reports.glob("*.png"))),
        snapshot=snapshot,
        seconds=seconds,
        in_the_pacs=in_the_pacs,
    )


def _as_in_a_mail_client(mail: EmailMessage) -> str:
    """The HTML part of a mail with its attached pictures in their places."""
    html = mail.get_body(("html",))
    if html is None:
        raise DemoError("the report's mail has no HTML part")
    page = str(html.get_content())
    for part in mail.walk():
        content_id = str(part.get("Content-ID", "")).strip("<>")
        payload: Any = part.get_payload(decode=True) if content_id else None
        if payload:
            picture = f"data:{part.get_content_type()};base64,{base64.b64encode(payload).decode()}"
            page = page.replace(f"cid:{content_id}", picture)
    return page


def _show(console: Console, outcome: DemoOutcome) -> None:
    console.print()
    show_endings(console, outcome.endings)
    with closing(Database(outcome.snapshot)) as snapshot:
        show_queries(console, snapshot)
    lines = [
        "",
        f"{len(outcome.sent.images)} images and {len(outcome.sent.messages)} messages were acknowledged; "
        f"the report for {RECIPIENT} arrived after {outcome.seconds:.0f} s.",
        f"The PACS has of the node {outcome.in_the_pacs.get('SR', 0)} reports (SR) and "
        f"{outcome.in_the_pacs.get('OT', 0)} pictures (SC): {outcome.folder / PACS_FOLDER}, `demo --serve` shows them",
        f"Mail as received:  {outcome.mail_html}",
        f"  as a picture:    {outcome.mail_png}"
        if outcome.mail_png
        else "  as a picture:    no Chromium or Chrome on the PATH; the figures are "
        + ", ".join(str(figure) for figure in outcome.figures),
        f"Report:            {outcome.report_html}",
        f"Ask it yourself:   sqlite3 -readonly {outcome.snapshot} 'SELECT * FROM flags'",
        f"Start it again:    vbq-node run --config {outcome.config}",
        f"All of it is in    {outcome.folder} (nothing in it is about a real person; remove it when you like)",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
