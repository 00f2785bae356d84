"""``python -m node.outgoing.results_child``: renders what is due for a PACS. It is told the peer, and the moment."""

import threading
from contextlib import closing

from node.apart import begin
from node.clock import from_text
from node.outgoing.results import prepare
from node.store.database import open_database


def main() -> None:
    """Render and record, no more than is sent in the next rounds."""
    (peer, at), settings = begin()
    with closing(open_database(settings.storage.folder)) as db:
        prepare(db, settings, peer, from_text(at), threading.Event())


if __name__ == "__main__":
    main()
