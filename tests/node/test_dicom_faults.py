"""The receiver when something happens that nobody should do, or nobody foresaw."""

import threading

import pytest
from pydicom.uid import MRImageStorage

from node.dicom import recorder
from node.dicom.listener import run_receiver
from node.errors import StoreError
from node.settings import Settings
from tests.node.dicom_samples import encode, mr_image, receiver
from tests.node.test_dicom_listener import assert_stored, association, files, settings, store_bytes

__all__ = ["settings"]  # the fixture


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "1.2.é", "1.2 3"])
def test_what_is_no_uid_is_refused_and_the_association_goes_on(settings: Settings, uid: str):
    with receiver(settings), association(settings) as sender:
        assert store_bytes(sender, encode(mr_image()), uid=uid) == 0xC000
        assert store_bytes(sender, encode(mr_image()), uid="1.2.3") == 0
    assert_stored(settings, {"1.2.3"})
    assert len(files(settings)) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_receiver_that_cannot_record_any_more_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    def break_down(*_: object) -> None:
        raise RuntimeError("as nobody foresaw")

    monkeypatch.setattr(recorder, "insert_receipt", break_down)
    monkeypatch.setattr(recorder, "ANSWER_TIMEOUT_S", 0.5)
    ready, stop, raised = threading.Event(), threading.Event(), []

    def run() -> None:
        try:
            run_receiver(settings, stop, ready=ready.set)
        except StoreError as error:
            raised.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(20)
        with association(settings, MRImageStorage) as sender:
            assert sender.send_c_store(mr_image()).Status == 0x0110
        thread.join(20)
        assert raised == ["the recorder of received images has ended; its error is in the log"]
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
