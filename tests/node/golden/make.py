"""Make the golden database of a commit: its own code receives, derives and decides, this script plays the hospital.

    python -m tests.node.golden.make CHECKOUT tests/node/golden/COMMIT.tar.xz

CHECKOUT is a clean checkout of the commit with a virtual environment in ``.venv``. Everything is synthetic. The node of
the checkout runs as its own processes and is spoken to over DICOM (DCMTK, pynetdicom), MLLP, SMTP and its command line.
The archive holds the data folder as the node left it, and ``views.json``: every view, by that commit's own SQL.
"""

import json
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic, sleep

from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.demo.history import history_csv
from node.demo.messages import (
    AUTHORITY,
    BloodCountResult,
    Booking,
    Facts,
    Person,
    admission,
    blood_count,
    booking,
    merge,
)
from node.demo.phantom import Matrix, PhantomSpec, draw_series
from node.demo.senders import MailServer, MllpSender, Peer
from tests.node.dicom_samples import mr_image, stack, write_file
from tests.node.raw_sender import ABORT, raw_association, store_request, whole_pdus
from tests.node.test_corrections import again
from tests.node.test_outgoing import FIND, Remote
from tests.node.test_rejections import note
from tests.node.world import CIRCLES, painted

NIGHTS = ("2026-11-20", "2026-11-21")
QUIET_S = 2.0
HISTORY_ROWS = 100
PHANTOM = Matrix(slices=5, size=200, spacing_mm=1.4, thickness_mm=4.0, step_mm=5.0)
ANNA = Person(number="0012345", name="Test^Anna", birth_date=date(1955, 7, 4), sex="F")
BERT = Person(number="0012346", name="Test^Bert", birth_date=date(1950, 1, 31), sex="M")
CARL = Person(number="12347", name="Test^Carl", birth_date=date(1948, 12, 1), sex="M")
EMIL = Person(number="0012349", name="Test^Emil", birth_date=date(1962, 3, 9), sex="M")
FACTS = Facts(
    height_cm=165, weight_kg=70, smoking=False, diabetes=True, hypertension=False, calcium=False,
    diagnoses=[("M48.06", "Spinal stenosis, lumbar region")],
)  # fmt: skip
STUDIES = {"Anna": "1.2.826.0.1.3680043.8.498.41", "Bert": "1.2.826.0.1.3680043.8.498.42"}
CORRECTED = "1.2.826.0.1.3680043.8.498.44"
UNSENT = {"Anna": "1.2.826.0.1.3680043.8.498.41.9"}
COMMON = {"IssuerOfPatientID": AUTHORITY, "StudyDate": "20261102"}


class OldNode:
    """The node of a checkout, in a folder."""

    def __init__(self, checkout: Path, folder: Path, settings: str) -> None:
        self.checkout, self.folder, self.data = checkout, folder, folder / "data"
        self.dicom, self.hl7, metrics = (free_port() for _ in range(3))
        self.config = folder / "node.toml"
        protocol = "protocol = 'EK 12/2026'\n" if "protocol" in settings_of(checkout) else ""
        accepted = "study" if takes_back(checkout) else "mr"
        self.config.write_text(
            f"[site]\nname = 'Golden'\ntime_zone = 'Europe/Vienna'\n{protocol}[storage]\nfolder = '{self.data}'\n"
            f"[hl7]\nport = {self.hl7}\n[metrics]\nport = {metrics}\n"
            f"[dicom]\nport = {self.dicom}\nquiet_s = {QUIET_S}\naccept = '{accepted}'\n{settings}"
        )

    def command(self, *arguments: str, stdin: str | None = None, codes: Sequence[int] = (0,)) -> str:
        """One command of that commit; its output."""
        call = [str(self.checkout / ".venv/bin/python"), "-m", "node", *arguments, "--config", str(self.config)]
        done = subprocess.run(
            call, cwd=self.checkout, capture_output=True, text=True, timeout=300, check=False, input=stdin
        )
        if done.returncode not in codes:
            raise SystemExit(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        """While its roles are up."""
        call = [str(self.checkout / ".venv/bin/python"), "-m", "node", "run", "--config", str(self.config)]
        with (self.folder / "node.log").open("w") as log:
            process = subprocess.Popen(call, cwd=self.checkout, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        if not any("vbq-node is up" in line for line in process.stdout):
            raise SystemExit((self.folder / "node.log").read_text())
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def settle(self, quiet_s: float = 2 * QUIET_S) -> None:
        """Wait until nothing has been pending for a while."""
        deadline, since = monotonic() + 300, monotonic()
        while monotonic() - since < quiet_s:
            if any(json.loads(self.command("status", "--json", codes=(0, 3)))["pending"].values()):
                since = monotonic()
            if monotonic() > deadline:
                raise SystemExit(self.command("status"))
            sleep(0.2)

    def send(self, *images: Dataset, calling: str = "STORESCU") -> None:
        """Send images with DCMTK, one association."""
        with tempfile.TemporaryDirectory() as place:
            paths = [str(write_file(Path(place) / f"{n:03d}.dcm", image)) for n, image in enumerate(images)]
            subprocess.run(
                ["storescu", "-aet", calling, "127.0.0.1", str(self.dicom), *paths],
                check=True, capture_output=True, timeout=60,
            )  # fmt: skip


def main(checkout: Path, target: Path) -> None:
    """Play, and pack what is left."""
    with tempfile.TemporaryDirectory() as place, MailServer(Path(place) / "mail") as mail:
        pacs = Remote(series={STUDIES["Anna"]: {f"{STUDIES['Anna']}.1": 5, UNSENT["Anna"]: 12}})
        settings = (
            "[dicom.peers.pacs]\n"
            f"query = {{ae_title = 'REMOTE', host = '127.0.0.1', port = {pacs.port}}}\n"
            "[dicom.peers.archive]\n"
            f"forward = {{ae_title = 'ARCHIVE', host = '127.0.0.1', port = {free_port()}}}\n"
            f"[nightly]\nanalysis = false\n"
            f"[mail]\nport = {mail.port}\nrecipients = ['surgeon@golden.invalid']\n"
        )
        decides = "protocol" in settings_of(checkout)
        if decides:
            settings += f"[fhir.receivers.files]\nfolder = '{place}/record'\n"
            settings += f"[hl7.receivers.record]\nhost = '127.0.0.1'\nport = {free_port()}\n"
            (Path(place) / "record").mkdir()
        node = OldNode(checkout, Path(place), settings)
        with node.running(), pacs.up(FIND):
            play(node, Path(place))
            if decides:
                decide(node, Path(place))
            if takes_back(checkout):
                take_back(node)
        node.command("nightly", "--date", NIGHTS[0])
        node.command("thresholds", "retire", "1", "--by", "golden")
        node.command("nightly", "--date", NIGHTS[1])
        pack(node, target)


def play(node: OldNode, place: Path) -> None:
    """Everything that arrives and is decided while the roles are up."""
    history = place / "history.csv"
    history.write_text("".join(history_csv(1).splitlines(keepends=True)[: HISTORY_ROWS + 1]), encoding="utf-8")
    node.command("import", str(history))
    with MllpSender(Peer(host="127.0.0.1", port=node.hl7)) as engine:
        engine.send([*messages()])
    refused(node.hl7, b"MSH|^~\\&|LIS")
    anna, bert = phantom("Anna", ANNA), painted(**study("Bert", BERT))
    node.send(*anna[:4])
    node.settle()
    node.send(anna[4])  # another state of the series
    node.send(*bert)
    node.send(
        mr_image(seed=99, StudyInstanceUID="1.2.826.0.1.3680043.8.498.43", PatientID=None, IssuerOfPatientID=None)
    )
    node.settle()
    with_circles = place / "rois.json"
    with_circles.write_text(json.dumps({"slice": 3, **CIRCLES}), encoding="utf-8")
    node.command("reading", "add", f"{STUDIES['Bert']}.1", "--rois", str(with_circles), "--reader", "reader1")
    node.command("reading", "approve", f"{STUDIES['Anna']}.1", "--reader", "reader2")
    node.command("identity", "confirm", AUTHORITY, "012347", "12347", "--by", "golden")
    commitment(node.dicom, [*anna[:2], mr_image(seed=100)])
    refused_image(node.dicom)
    node.settle()
    sleep(3)  # questions to the PACS and their answers


def decide(node: OldNode, place: Path) -> None:
    """What can be decided since there are results and accounts: counts, readings, results, holds, erasure, backup."""
    node.command("users", "add", "reader3", "--role", "reader", "--password-stdin", stdin="golden horse battery\n")
    at = datetime(2026, 11, 17, 9, 0, tzinfo=UTC)
    counts = {"leukocytes": 7.0, "neutrophils": 4.5, "lymphocytes": 1.5}
    slipped = BloodCountResult(order="D1", taken_at=at, status="F", counts=counts | {"platelets": 2500.0})
    erased = BloodCountResult(order="E1", taken_at=at, status="F", counts=counts | {"platelets": 250.0})
    with MllpSender(Peer(host="127.0.0.1", port=node.hl7)) as engine:
        engine.send([blood_count(BERT, slipped, control_id="D1", at=at)])
        engine.send(
            [
                admission("A08", EMIL, control_id="E0", at=at, facts=FACTS),
                blood_count(EMIL, erased, control_id="E1", at=at),
            ]
        )
    node.settle()
    (held,) = (
        row["specimen"] for row in json.loads(node.command("counts", "list", "--json")) if "D1" in row["specimen"]
    )
    node.command("counts", "approve", held, "--by", "golden", "--platelets", "250")
    with_circles = str(place / "rois.json")
    node.command("reading", "add", f"{STUDIES['Bert']}.1", "--rois", with_circles, "--reader", "reader3")
    node.settle()
    node.command("reading", "withdraw", "3", "--why", "another slice", "--reader", "reader3")
    node.settle()
    first, *_ = json.loads(node.command("results", "list", "--json"))
    node.command("results", "withdraw", str(first["result_id"]), "--by", "golden", "--why", "not wanted")
    node.command("hold", f"{AUTHORITY}|{CARL.number}", "--by", "golden", "--why", "dispute")
    node.command("erase", f"{AUTHORITY}|{EMIL.number}", "--by", "golden", "--why", "consent withdrawn", codes=(0, 3))
    node.command("backup", "make", str(place / "backups"))
    node.settle()


def take_back(node: OldNode) -> None:
    """What is taken back and corrected, and an image of which a part came only: kept since schema 29."""
    series = [{"StudyInstanceUID": f"{CORRECTED}.{n}", "SeriesInstanceUID": f"{CORRECTED}.{n}.1"} for n in range(1, 4)]
    corrected, withdrawn, rejected = (stack(6, **COMMON, **one, PatientID=CARL.number) for one in series)
    for images in (corrected, withdrawn, rejected):
        node.send(*images, calling="MODALITY")
    node.settle()
    for images, one in zip((corrected, withdrawn), series, strict=False):
        node.send(*again(images, **COMMON, **one, PatientID=BERT.number), calling="PACS")
    node.send(note(rejected, "113037"), calling="MODALITY")
    node.settle()
    for n in (1, 2):
        node.command("study", "use-newest", f"{CORRECTED}.{n}", "--by", "golden")
    node.command("study", "withdraw", f"{CORRECTED}.2", "--by", "golden")
    content = store_request(mr_image(seed=101, Rows=256, Columns=256, PixelData=b"\1\2" * 256 * 256))
    with raw_association(node.dicom) as sender:
        sender.socket.sendall(whole_pdus(content, len(content) // 2) + ABORT)
    node.settle()


def study(name: str, person: Person) -> dict[str, object]:
    """Values that make images a study of a person."""
    return COMMON | {
        "StudyInstanceUID": STUDIES[name],
        "SeriesInstanceUID": f"{STUDIES[name]}.1",
        "PatientID": person.number,
        "PatientName": person.name,
        "PatientBirthDate": f"{person.birth_date:%Y%m%d}",
        "PatientSex": person.sex,
    }


def phantom(name: str, person: Person) -> list[Dataset]:
    """A lumbar phantom without noise, which is measured automatically and packs well."""
    drawn = draw_series(PhantomSpec(noise=0.0, seed=3), matrix=PHANTOM)
    pixel_mm = [PHANTOM.spacing_mm] * 2
    images = stack(
        PHANTOM.slices, **study(name, person), Rows=PHANTOM.size, Columns=PHANTOM.size, PixelSpacing=pixel_mm
    )
    for image, pixels, position in zip(images, drawn.pixels, drawn.positions_mm, strict=True):
        image.ImageOrientationPatient = list(drawn.orientation)
        image.ImagePositionPatient = [round(float(value), 4) for value in position]
        image.PixelData = pixels.tobytes()
    return images


def messages() -> Iterator[bytes]:
    """What the laboratory and the hospital system send."""
    at = datetime(2026, 11, 16, 9, 0, tzinfo=UTC)
    for n, person in enumerate((ANNA, BERT, CARL)):
        yield admission("A08", person, control_id=f"A{n}", at=at, facts=FACTS)
        booked = Booking(
            placer=f"P{n}", filler=f"F{n}", starts_at=datetime(2026, 12, 1 + n, 7, 0, tzinfo=UTC), minutes=120,
            code="LUMBAR-FUSION", procedure="Lumbar spinal fusion",
        )  # fmt: skip
        yield booking("S12", person, booked, control_id=f"S{n}", at=at)
        counts = {"leukocytes": 7.0, "neutrophils": 4.5 + n, "lymphocytes": 1.5, "platelets": 280.0}
        result = BloodCountResult(order=f"O{n}", taken_at=at, status="F" if n < 2 else "?", counts=counts)
        yield blood_count(person, result, control_id=f"C{n}", at=at)
    again = Person(number="012347", name=CARL.name, birth_date=CARL.birth_date, sex=CARL.sex)
    yield admission("A08", again, control_id="A9", at=at, facts=FACTS)
    yield merge(BERT, "0099999", control_id="M1", at=at)


def refused(port: int, message: bytes) -> None:
    """A message that cannot be read; its answer is not looked at."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\x0b" + message + b"\x1c\r")
        connection.recv(4096)


def refused_image(port: int) -> None:
    """An image of a kind that the settings do not accept."""
    sender = AE(ae_title="CTSCANNER")
    sender.add_requested_context(CTImageStorage)
    association = sender.associate("127.0.0.1", port)
    if association.is_established:
        association.release()


def commitment(port: int, images: Sequence[Dataset]) -> None:
    """Ask whether images are kept, and do not wait for the answer."""
    sender = AE(ae_title="ASKER")
    sender.add_requested_context(StorageCommitmentPushModel)
    association = sender.associate("127.0.0.1", port)
    request = Dataset()
    request.TransactionUID = "1.2.826.0.1.3680043.8.498.77"
    request.ReferencedSOPSequence = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, image.SOPInstanceUID
        request.ReferencedSOPSequence.append(item)
    association.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    association.release()


def pack(node: OldNode, target: Path) -> None:
    """The data folder without what the node makes again, and every view by the SQL that is in the database."""
    with closing(sqlite3.connect(node.data / "node.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.row_factory = sqlite3.Row
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name")]
        views = {name: [dict(row) for row in db.execute(f"SELECT * FROM {name}")] for name in names}
    shown = node.folder / "views.json"
    shown.write_text(json.dumps(views, ensure_ascii=False, indent=0), encoding="utf-8")
    with tarfile.open(target, "w:xz", preset=9) as archive:
        archive.add(shown, "views.json")
        archive.add(node.data / "node.db", "data/node.db")
        archive.add(node.data / "dicom", "data/dicom")
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB")


def settings_of(checkout: Path) -> str:
    """The settings of a commit, as it lists them."""
    return (checkout / "conf/node.toml").read_text(encoding="utf-8")


def takes_back(checkout: Path) -> bool:
    """Whether a commit keeps what a person decides about studies, and objects that were cut off."""
    return (checkout / "node/store/migrations/0029_cut_off.sql").exists()


def free_port() -> int:
    """A port of loopback that nobody uses at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
