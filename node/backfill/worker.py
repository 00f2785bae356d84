"""The process of :mod:`node.backfill.local`: reads studies from standard input, measures them, answers, to the end."""

import os
import signal
import sys
from pathlib import Path

from node.logs import configure_logging
from node.measure.automatic import Measure
from node.measure.task import StudyTask, do
from node.settings import Logging
from node.store.archive import Archive
from node.store.failures import in_words


def main(measure: Measure) -> None:
    """Serve tasks, a line each; the only argument is the data folder. The first line of the answers says: ready."""
    tasks = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a native library prints is no answer; Ctrl-C is for who has started this.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(Logging())
    archive = Archive(Path(sys.argv[1]))
    print("ready", file=answers, flush=True)
    for line in tasks:
        try:
            answer = do(StudyTask.from_json(line), measure, archive.path).to_json()
        except Exception as error:  # noqa: BLE001  # what remains lies with the machine, and is said to who asks
            answer = f"!{in_words(error)}"
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    from analytics.vbq.measure import measure_stack

    main(measure_stack)
