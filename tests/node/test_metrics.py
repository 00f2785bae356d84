"""The metrics: the counts of the status over HTTP, whatever a client does."""

import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from node.run import metrics
from node.run.metrics import serve_metrics
from node.settings import Metrics, Settings, Storage
from node.store.database import insert, open_database
from tests.node.dicom_samples import free_port


def test_a_silent_client_holds_up_neither_a_scrape_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics._QuietHandler, "timeout", 0.3)
    db = open_database(tmp_path, create=True)
    insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": b"MSH"}])
    db.close()
    port = free_port()
    settings = Settings(storage=Storage(folder=tmp_path), metrics=Metrics(port=port))
    with (
        serve_metrics(settings),
        socket.create_connection(("127.0.0.1", port)),
        urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer,
    ):
        text = answer.read().decode()
    assert 'vbq_node_count{what="messages received"} 1.0' in text
    assert 'vbq_node_pending{what="messages to interpret"} 1.0' in text
