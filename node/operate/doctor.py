"""``vbq-node doctor``: what an engineer would check first."""

import errno
import os
import shutil
import smtplib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

from sqlite_utils.utils import sqlite3

from node.clock import now
from node.errors import PeerError, StoreError
from node.operate.audit import folders_of, verify
from node.operate.backup_state import backup_state
from node.operate.certificates import certificates, misfits, secret_files
from node.operate.erase import unfinished as unfinished_erasure
from node.operate.status import presence_in_words
from node.operate.upgrade import unfinished
from node.settings import CREDENTIAL, Settings, Storage
from node.steps.pending import pending
from node.store.database import DAMAGED, DATABASE_NAME, WAL_LIMIT_BYTES, open_database
from node.store.presence import presences
from node.store.private import not_shared, open_to_others, require_owner
from node.store.snapshot import research_path, snapshot_path

LONG_WAL_BYTES = 2 * WAL_LIMIT_BYTES
"""A write-ahead log that the steps could not cut for a while: they do so beyond the limit, between their rounds."""
CERTIFICATE_LEFT = timedelta(days=21)
"""What a certificate must be valid for still: long enough to have another one made in a hospital."""
MIN_SENT = 5
CLOCK_APART_S = 60
"""No message comes before it was sent, and the clocks of two machines that are set by NTP are less apart. How long
messages wait before they are sent on says nothing of a clock."""
OLD_SNAPSHOT_S = 6 * 3600
SENT = """
SELECT unixepoch(r.received_at) - unixepoch(m.sent_at) FROM derived_message AS m
JOIN fact_frame_receipt AS r USING (frame_id) WHERE m.sent_at IS NOT NULL
ORDER BY r.receipt_id DESC LIMIT 50
"""
LOW_SPACE_BYTES = 2 * 1024**3
"""Free space below which the doctor warns: about four thousand MR images of half a megabyte."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check and what was found."""

    check: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Check folder, disk, database, ports, peers, mail and time zone; nothing is changed."""
    folder = settings.storage.folder
    if os.path.lexists(folder) and not folder.is_dir():
        return [Finding(check="data folder", ok=False, detail=f"{folder} is no folder: a file, or a link to nothing")]
    return [
        _folder(settings.storage.folder),
        _disk(settings.storage),
        _database(settings.storage.folder),
        _wal(settings.storage.folder),
        *_upgrade(settings.storage.folder),
        *_erasure(settings.storage.folder),
        *([_shared(settings.storage)] if settings.storage.research_group else []),
        *_backup(settings),
        *_audit(settings),
        *_certificates(settings),
        *_secrets(settings),
        *_times(settings),
        *_node(settings),
        *_ports(settings),
        *_peers(settings),
        *_receivers(settings),
        _mail(settings),
        Finding(
            check="time zone",
            ok=True,
            detail=f"{settings.site.time_zone}, now {now().astimezone(settings.site.zone):%Y-%m-%d %H:%M %Z}",
        ),
    ]


def _nearest_existing(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))


def _shared(storage: Storage) -> Finding:
    """Whether the group that may read ``research.db`` can."""
    why = not_shared(research_path(storage.folder), within=storage.folder, group=storage.research_group)
    detail = why or f"the group {storage.research_group} reads research.db alone"
    return Finding(check="research group", ok=why is None, detail=detail)


def _folder(folder: Path) -> Finding:
    place = _nearest_existing(folder)
    open_paths = open_to_others(folder, folder / DATABASE_NAME)
    try:
        if folder.is_dir():
            require_owner(folder)
    except StoreError as error:
        return Finding(check="data folder", ok=False, detail=str(error))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding(check="data folder", ok=False, detail=f"{place} cannot be written: {error.strerror}")
    if open_paths:
        names = " ".join(str(path) for path in open_paths)
        detail = f"names and birth dates lie where every user of this machine may read them: chmod o= {names}"
        return Finding(check="data folder", ok=False, detail=detail)
    return Finding(check="data folder", ok=True, detail=f"{folder} can be written")


def _disk(storage: Storage) -> Finding:
    place = _nearest_existing(storage.folder)
    free = shutil.disk_usage(place).free
    refused = storage.keep_free_mb * 1_000_000
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < 2 * refused:
        detail += f"; below {storage.keep_free_mb} MB (storage.keep_free_mb) images are refused"
    return Finding(check="disk", ok=free >= max(LOW_SPACE_BYTES, 2 * refused), detail=detail)


def _database(folder: Path) -> Finding:
    if not (folder / DATABASE_NAME).is_file():
        return Finding(check="database", ok=True, detail="not there yet; the first start makes it")
    try:
        db = open_database(folder)
    except StoreError as error:
        return Finding(check="database", ok=False, detail=str(error))
    try:
        answer = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        answer = str(error)
    finally:
        db.close()
    if answer == "ok":
        return Finding(check="database", ok=True, detail="quick check: ok")
    # Pages are named in it, never what stands on them.
    words = " ".join(answer.removeprefix("*** in database main ***").split())
    return Finding(check="database", ok=False, detail=f"{folder / DATABASE_NAME} is damaged ({words}); {DAMAGED}")


def _wal(folder: Path) -> Finding:
    path = folder / f"{DATABASE_NAME}-wal"
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    detail = f"{size / 1e6:.0f} MB"
    if size <= LONG_WAL_BYTES:
        return Finding(check="write-ahead log", ok=True, detail=detail)
    detail += (
        f" ({path}): somebody has been reading the database for long, and until that ends the log grows. End that "
        "program, and let people query snapshots/node.db instead"
    )
    return Finding(check="write-ahead log", ok=False, detail=detail)


def _upgrade(folder: Path) -> Iterator[Finding]:
    if (left := unfinished(folder)) is not None:
        yield Finding(check="upgrade", ok=False, detail=left)


def _erasure(folder: Path) -> Iterator[Finding]:
    if (left := unfinished_erasure(folder)) is not None:
        yield Finding(check="erasure", ok=False, detail=left)


def _backup(settings: Settings) -> Iterator[Finding]:
    try:
        db = open_database(settings.storage.folder)
    except StoreError:  # said by the check of the database
        return
    try:
        state = backup_state(db, settings.backup, now=now())
    except sqlite3.Error:
        return
    finally:
        db.close()
    yield Finding(check="backup", ok=state.ok, detail=state.sentence)


def _audit(settings: Settings) -> Iterator[Finding]:
    try:
        db = open_database(settings.storage.folder)
    except StoreError:  # said by the check of the database
        return
    try:
        found = verify(db, folders_of(settings, None))
    except (sqlite3.Error, StoreError) as error:
        yield Finding(check="audit", ok=False, detail=str(error))
        return
    finally:
        db.close()
    yield Finding(check="audit", ok=not found.faults, detail="; ".join(found.faults) or f"{found.rows} rows, whole")


def _node(settings: Settings) -> Iterator[Finding]:
    for fine, sentence in presence_in_words(settings.storage.folder, now=now(), zone=settings.site.zone):
        yield Finding(check="node", ok=fine, detail=sentence)


def _ports(settings: Settings) -> Iterator[Finding]:
    running = {one.name for one in presences(settings.storage.folder) if one.running}
    for name, host, port, role in _listening(settings):
        yield _port(name, host, port, runs=role in running)


def _listening(settings: Settings) -> Iterator[tuple[str, str, int, str]]:
    """Each port of the node: its name, address and number, and the role that opens it."""
    for name, listener, role in (
        ("dicom", settings.dicom, "dicom"),
        ("hl7", settings.hl7, "hl7"),
        ("metrics", settings.metrics, "steps"),
        ("web", settings.web, "web"),
    ):
        yield name, listener.host, listener.port, role
    for name, own in (("dicom", settings.dicom), ("hl7", settings.hl7)):
        if own.tls is not None:
            yield f"{name} over TLS", own.host, own.tls.port, name


def _port(name: str, host: str, port: int, *, runs: bool) -> Finding:
    # To connect would be seen by the listener, as a stranger where this machine is not in its list.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            used = False
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Finding(check=f"port {name}", ok=False, detail=f"{host}: {error.strerror}")
            used = True
    details = {
        (True, True): "this node listens",
        (True, False): "nothing listens, although its role runs",
        (False, True): "something else listens; stop it, or set another port",
        (False, False): "free",
    }
    place = f"{host}:{port}"
    return Finding(check=f"port {name}", ok=runs == used, detail=f"{place} {details[runs, used]}")


def _peers(settings: Settings) -> Iterator[Finding]:
    """A C-ECHO to every address at which a peer is asked or sent to."""
    from node.pacs.peer import echo

    for name, peer in settings.dicom.peers.items():
        addresses = {
            "query": peer.query,
            "forward": peer.forward,
            "commitment": peer.commitment,
            "results": peer.results,
        }
        for what, remote in addresses.items():
            if remote is None:
                continue
            try:
                echo(remote, ae_title=settings.dicom.ae_title)
            except PeerError as error:
                yield Finding(check=f"peer {name}, {what}", ok=False, detail=str(error))
            else:
                place = f"{remote.ae_title} at {remote.host}:{remote.port}"
                yield Finding(check=f"peer {name}, {what}", ok=True, detail=f"{place} answers")


def _receivers(settings: Settings) -> Iterator[Finding]:
    """A connection to every system that gets results as HL7; a look at every folder for those as FHIR."""
    from node.hl7.client import connected

    for name, receiver in settings.hl7.receivers.items():
        try:
            with connected(receiver):
                detail = f"{receiver.host}:{receiver.port} takes connections"
        except PeerError as error:
            yield Finding(check=f"HL7 receiver {name}", ok=False, detail=str(error))
        else:
            yield Finding(check=f"HL7 receiver {name}", ok=True, detail=detail)
    for name, place in settings.fhir.receivers.items():
        if place.folder is not None:
            may = os.access(place.folder, os.W_OK)
            said = "can" if may else "cannot"
            yield Finding(check=f"FHIR receiver {name}", ok=may, detail=f"{place.folder} {said} be written")


def _certificates(settings: Settings) -> Iterator[Finding]:
    for one in certificates(settings):
        if one.begins_at is None or one.ends_at is None:
            yield Finding(check=f"certificate {one.setting}", ok=False, detail=f"{one.path} cannot be read")
            continue
        if one.begins_at > now():
            detail = f"begins on {one.begins_at:%Y-%m-%d}: nobody trusts it yet; or the clock is behind"
            yield Finding(check=f"certificate {one.setting}", ok=False, detail=detail)
            continue
        left = one.ends_at - now()
        ends = f"ends on {one.ends_at:%Y-%m-%d}, in {left.days} days"
        detail = ends if left > timedelta() else f"ended on {one.ends_at:%Y-%m-%d}: nobody trusts it any more"
        yield Finding(check=f"certificate {one.setting}", ok=left > CERTIFICATE_LEFT, detail=detail)
    for name, why in misfits(settings):
        yield Finding(check=f"certificate {name}", ok=False, detail=why)


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Files of passwords and keys that are not there or cannot be read; what others may read no setting takes."""
    for name, path in secret_files(settings):
        if str(path).startswith(CREDENTIAL):
            continue  # handed to a unit by systemd, and to no command
        try:
            path.open("rb").close()
        except OSError as error:
            detail = f"{path} cannot be read: {error.strerror}"
            yield Finding(check=f"secret {name}", ok=False, detail=detail)


def _times(settings: Settings) -> Iterator[Finding]:
    """The clock against that of the senders of messages, and the age of the snapshot."""
    try:
        db = open_database(settings.storage.folder)
    except StoreError:  # said by the check of the database
        return
    try:
        rows = db.execute(SENT).fetchall()
        waits = pending(db)
    except sqlite3.Error:
        return
    finally:
        db.close()
    if len(rows) >= MIN_SENT:
        apart_s = median(apart for (apart,) in rows)
        when = "after" if apart_s >= 0 else "before"
        detail = f"messages are received {abs(apart_s):.0f} s {when} they say that they were sent"
        yield Finding(check="clock", ok=apart_s >= -CLOCK_APART_S, detail=detail)
    try:
        age_h = (now().timestamp() - snapshot_path(settings.storage.folder).stat().st_mtime) / 3600
    except OSError:
        return
    fine = age_h * 3600 <= max(OLD_SNAPSHOT_S, 3 * settings.storage.snapshot_every_s) or not any(waits.values())
    yield Finding(check="snapshot", ok=fine, detail=f"made {age_h:.1f} hours ago")


def _mail(settings: Settings) -> Finding:
    mail = settings.mail
    if not mail.recipients:
        return Finding(check="mail", ok=True, detail="no recipients are set; reports are kept, nothing is sent")
    connect = smtplib.SMTP_SSL if mail.security == "tls" else smtplib.SMTP
    try:
        with connect(mail.host, mail.port, timeout=mail.timeout_s) as server:
            code, _ = server.noop()
    except (OSError, smtplib.SMTPException) as error:
        return Finding(check="mail", ok=False, detail=f"{mail.host}:{mail.port} does not answer: {error}")
    return Finding(check="mail", ok=code == 250, detail=f"{mail.host}:{mail.port} answers {code}")
