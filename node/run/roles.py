"""The roles of a node, each one process: dicom, hl7, steps, outgoing, nightly, web."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256
from time import sleep
from typing import Protocol

import structlog

from node import OF_PIXELS, hidden
from node.clock import now
from node.ending import set_when_asked_to_end
from node.errors import NodeError
from node.logs import withhold_values
from node.memory import collect_seldom
from node.run.notify import READY, STOPPING, BeatingEvent, tell
from node.settings import Settings
from node.store.audit import note_settings
from node.store.database import open_database
from node.store.presence import Present, present

READY_LINE = "ready"
"""What a supervised role writes to standard output once it does its work."""
REFUSED_LINE = "refused"
"""What it writes when it cannot start for a reason that it has said: to start it again would not help."""
SETTINGS_DIGITS = 12
"""Of the SHA-256 of all settings, by which the audit tells that they have changed."""
STOP_PATIENCE_S = 12.0
"""How long a role may take to end what it is at; then it ends in the middle of it. What it had not finished is a query
away."""

log = structlog.get_logger()


class Role(Protocol):
    """A function that does its work until told to stop, and says when it is ready."""

    def __call__(self, settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None: ...


def _dicom(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None:
    from node.dicom.listener import run_receiver

    run_receiver(settings, stop, ready=ready)


def _hl7(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None:
    from node.hl7.listener import run_listener

    run_listener(settings, stop, ready=ready)


def _steps(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None:
    with hidden(*OF_PIXELS):
        from node.run.metrics import serve_metrics
        from node.steps.worker import run_steps

    digest = sha256(settings.model_dump_json().encode()).hexdigest()
    with closing(open_database(settings.storage.folder, create=True)) as db:
        note_settings(db, digest[:SETTINGS_DIGITS], at=now())
    with serve_metrics(settings) as measured:
        run_steps(settings, stop, ready=ready, took=measured.observe)


def _nightly(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None:
    from node.nightly.schedule import watch

    watch(settings, stop, ready=ready)


def _outgoing(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None:
    from node.outgoing.role import run_outgoing

    run_outgoing(settings, stop, ready=ready)


def _web(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None) -> None:
    from node.web.server import run_web

    run_web(settings, stop, ready=ready)


# Each role imports its libraries only when it runs: the receiver needs no statsmodels.
ROLES: dict[str, Role] = {
    "dicom": _dicom,
    "hl7": _hl7,
    "steps": _steps,
    "outgoing": _outgoing,
    "nightly": _nightly,
    "web": _web,
}


def run_role(name: str, settings: Settings, *, supervised: bool) -> None:
    """Run one role in this process until SIGTERM, SIGINT or, when supervised, until the supervisor is gone.

    Parameters
    ----------
    supervised
        Standard input is a pipe from the supervisor: its end means that the supervisor has died, even by kill -9,
        and that this process must not outlive it. Standard output gets :data:`READY_LINE`.
    """
    withhold_values()
    stop = BeatingEvent()
    if supervised:
        threading.Thread(target=_stop_at_end_of_input, args=[stop], daemon=True).start()
    works = threading.Event()

    def say(line: str) -> None:
        if supervised:
            with suppress(OSError):  # the supervisor may be gone
                sys.stdout.write(line + "\n")
                sys.stdout.flush()

    def ready() -> None:
        works.set()
        collect_seldom()
        log.info("ready", role=name)
        say(READY_LINE)
        if not supervised:
            tell(READY)

    with set_when_asked_to_end(stop), present(settings.storage.folder, name) as place:
        stop.on_beat = place.beat
        threading.Thread(target=_end_in_time, args=[name, stop, place], daemon=True).start()
        try:
            ROLES[name](settings, stop, ready=ready)
        except NodeError:
            if not works.is_set():
                say(REFUSED_LINE)
            raise


def _end_in_time(name: str, stop: threading.Event, place: Present) -> None:
    stop.wait()
    tell(STOPPING)
    sleep(STOP_PATIENCE_S)
    log.warning("the role ends in the middle of its work", role=name, after_s=STOP_PATIENCE_S)
    place.end(failed=False)
    os._exit(0)


def _stop_at_end_of_input(stop: threading.Event) -> None:
    # The descriptor itself: a thread blocked in the buffered reader would hold its lock when the process ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
