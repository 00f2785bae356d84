"""What the conformance statements say is what the node does, asked from outside."""

from collections import defaultdict
from pathlib import Path

from pydicom.uid import UID, UID_dictionary
from pynetdicom import AE

from node.dicom.contexts import transfer_syntaxes
from node.hl7.interpret import interpret_frame
from node.settings import Settings
from tests.conformance import fields_read, keywords_read, reads
from tests.node.dicom_samples import receiver, settings_for
from tests.node.test_hl7_samples import SAMPLES, needs_samples

STORAGE = [one for one, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Storage" in UID(one).name]
MOST_CONTEXTS = 128


def test_a_peer_gets_the_contexts_that_the_statement_lists(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    taken = []
    with receiver(settings):
        for start in range(0, len(STORAGE), MOST_CONTEXTS):
            entity = AE(ae_title="SENDER")
            for one in STORAGE[start : start + MOST_CONTEXTS]:
                entity.add_requested_context(one)
            association = entity.associate("127.0.0.1", settings.dicom.port)
            taken += [str(one.abstract_syntax) for one in association.accepted_contexts]
            association.release()
    assert taken == [one for one in STORAGE if transfer_syntaxes(one, accept="all")]
    assert len(taken) > 150


@needs_samples
def test_fields_that_are_read_are_listed() -> None:
    """In messages of real senders, which have more than those that the table is made from."""
    listed = fields_read()
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted(SAMPLES.glob("*.hl7")):
        with reads() as looked_at:
            messages = interpret_frame(path.read_bytes(), Settings())
        codes = {one.header.message_code for one in messages if one.header}
        allowed = {name: set().union(*(listed.get(code, {}).get(name, ()) for code in codes)) for name in looked_at}
        for name, numbers in looked_at.items():
            found[",".join(codes)] |= {f"{name}-{number}" for number in numbers - allowed[name]}
    assert {code: fields for code, fields in found.items() if fields} == {}


def test_attributes_that_the_measurement_needs_are_listed() -> None:
    assert {"PatientID", "PixelData", "ImageOrientationPatient", "SeriesTime", "PixelSpacing"} <= keywords_read()
