"""What a process of the node holds in memory while nothing happens: no library before there is work for it."""

import json
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from node.nightly import ledger, schedule
from node.nightly.schedule import check_apart
from node.settings import Nightly
from tests.node.dicom_samples import mr_image, write_file
from tests.node.night_world import open_world, settings_for

LATER = ("pandas", "scipy.ndimage", "statsmodels", "matplotlib", "onnxruntime", "contourpy", "gdcm", "PIL.Image")
"""Of these libraries, 10 to 75 MB each, no role needs one before something has come, or the night."""
STARTED = f"""
import sys
from node import OF_PIXELS, hidden, cli
with hidden(*OF_PIXELS):
    from node.dicom import acceptor_process, listener
    from node.hl7 import listener
    from node.nightly import schedule
    from node.outgoing import role
    from node.run import metrics, supervisor
    from node.steps import worker
    from node.web import server
print(*(name for name in {LATER} if name in sys.modules))
"""


def test_roles_start_without_what_they_need_later() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_receivers_and_pages_start_without_the_library_of_dicom() -> None:
    """None of them reads an image before somebody asks for one, and no role writes for a person."""
    code = """
import sys
from node import cli
from node.dicom import acceptor_process, listener
from node.hl7 import listener
from node.outgoing import role
from node.run import supervisor
print(*({"numpy", "pydicom", "rich", "pygments"} & sys.modules.keys()))
from node.web import server
print(*({"pydicom", "rich", "pygments"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_process_ends_without_a_search_for_garbage_among_all_that_it_had() -> None:
    # What is registered before is called after (atexit): it sees what the interpreter's own last search will look at.
    code = (
        "import atexit, gc; atexit.register(lambda: print(len(gc.get_objects()) < gc.get_freeze_count())); import node"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_measuring_files_for_a_script_loads_neither_a_bar_nor_what_decodes_pixels(tmp_path: Path) -> None:
    write_file(tmp_path / "image.dcm", mr_image(seed=1))
    code = f"""
import sys
from node import cli
sys.argv = ["vbq-node", "measure", {str(tmp_path)!r}, "--json"]
try:
    cli.main()
finally:
    print(*({{"rich", "gdcm", "PIL.Image"}} & sys.modules.keys()), "loaded")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    result, loaded = done.stdout.splitlines()
    assert json.loads(result)["status"] == "rejected"
    assert loaded.split() == ["loaded"]


def test_what_was_hidden_can_be_imported_afterwards_and_what_was_there_stays() -> None:
    code = (
        "import numpy, sys\nfrom node import hidden\n"
        "with hidden('numpy', 'PIL'):\n    assert sys.modules['numpy'] is numpy\n"
        "    try:\n        import PIL\n        sys.exit('found')\n    except ImportError: pass\n"
        "import PIL.Image"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_night_is_run_by_a_process_of_its_own(tmp_path: Path) -> None:
    days_ago = datetime.now(UTC) - timedelta(days=2)
    with time_machine.travel(days_ago):
        db = open_world(tmp_path, rows=5)
    with closing(db):
        check_apart(settings_for(tmp_path, nightly=Nightly(analysis=False)), days_ago)
        assert "done" in ledger.nights(db).values()
        assert list(tmp_path.glob("reports/*/report.html"))


def test_a_process_of_the_night_that_dies_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "COMMAND", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    with time_machine.travel(datetime.now(UTC) - timedelta(days=2)):
        db = open_world(tmp_path, rows=5)
    settings = settings_for(tmp_path)
    with closing(db):
        schedule._look(settings, datetime.now(UTC), check_apart)
        (detail,) = db.execute("SELECT detail FROM problems WHERE code = 'failed'").fetchone()
        assert "the process of the night has ended with -9" in detail
