"""``python -m node.nightly.child``: the process of a night. Its input is when the role was started, then the settings.

It does not outlive the role: at the end of its input it ends in the middle of the night, which is a transaction.
"""

import os
import signal
import sys
import threading

from analytics.reasons import use_language
from node.clock import from_text
from node.logs import configure_logging, withhold_values
from node.nightly.check import check
from node.settings import Settings


def main() -> None:
    """Do what is due."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # The role hears these, too, and waits for the night as long as it may.
        signal.signal(number, signal.SIG_IGN)
    started_at = from_text(sys.stdin.readline().strip())
    settings = Settings.model_validate_json(sys.stdin.readline())
    use_language(settings.site.language)
    configure_logging(settings.logging)
    withhold_values()
    threading.Thread(target=_end_with_the_role, daemon=True).start()
    check(settings, started_at)


def _end_with_the_role() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
