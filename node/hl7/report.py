"""What the node makes of HL7 bytes, as promised for ``vbq-node interpret --json``."""

from collections.abc import Iterable

from analytics.columns import CELLS, INDICES
from analytics.counts.blood import CombinedCount, SpecimenResults, combine
from analytics.reasons import codes, words
from node.hl7.acknowledge import reply_code
from node.hl7.context import PatientNumber
from node.hl7.extracts import AppointmentExtract, MergeExtract, SpecimenExtract, UnmergeExtract
from node.hl7.framing import START, FrameDecoder
from node.hl7.interpret import Interpretation, Item, interpret_frame
from node.settings import Settings


def interpretation_json(raw: bytes, settings: Settings) -> list[dict[str, object]]:
    """One object per message: what it is, how it is acknowledged, its blood counts, events and problems.

    ``raw`` is a file as a person has it: one frame's bytes, or a recording of frames with their MLLP framing. Nothing
    is stored, and messages that the derivation refuses (MSH-11 other than P) are shown as they read.
    """
    return [_shown(one) for body in _bodies(raw) for one in interpret_frame(body, settings)]


def _bodies(raw: bytes) -> list[bytes]:
    if not raw.lstrip(b"\r\n").startswith(START):
        return [raw]
    decoder = FrameDecoder(len(raw))
    # Where the recording ends within a frame, what is there of it is shown as well; framing without a message is said.
    return decoder.feed(raw) + ([decoder.pending] if decoder.pending else []) or [raw]


def _shown(one: Interpretation) -> dict[str, object]:
    header = one.header
    outcome = "rejected" if one.status == "refused" or header is None else "accepted"
    reasons = one.reasons if one.status != "ignored" else ()
    problems = list(dict.fromkeys([*reasons, *(reason for _, reason in one.problems)]))
    return {
        "message": {
            "control_id": header.control_id if header else None,
            "type": header.type if header else None,
            "version": header.version if header else None,
        },
        "ack": reply_code(header, "rejected" if outcome == "rejected" else "accepted") or None,
        "status": one.status,
        "cbcs": [_cbc(patient, count) for patient in _patients(one.items) for count in _counts(one, patient)],
        "events": [event for item in one.items if (event := _event(item)) is not None],
        "problems": words(problems),
        "problem_codes": codes(problems),
    }


def _patients(items: Iterable[Item]) -> list[PatientNumber | None]:
    return list(dict.fromkeys(item.patient for item in items))


def _counts(one: Interpretation, patient: PatientNumber | None) -> list[CombinedCount]:
    said = [
        SpecimenResults(
            specimen=item.extract.specimen,
            taken_at=item.extract.taken_at,
            date_only=item.extract.date_only,
            observed_only=item.extract.observed_only,
            results=item.extract.results,
            sent_at=one.sent_at,
            tie_break="",
        )
        for item in one.items
        if item.patient == patient and isinstance(item.extract, SpecimenExtract)
    ]
    return combine(said)


def _number(patient: PatientNumber | None) -> dict[str, str | None]:
    authority, number = patient or (None, None)
    return {"id": number, "authority": authority}


def _cbc(patient: PatientNumber | None, count: CombinedCount) -> dict[str, object]:
    taken = count.taken_at
    shown = None if taken is None else (taken.date().isoformat() if count.date_only else taken.isoformat())
    return {
        "patient": _number(patient),
        "specimen": count.specimen,
        "specimen_time": shown,
        "status": "held" if patient is None else count.status.value,
        **{f"{name}_10e9_per_l": count.cells[name] for name in CELLS},
        **{one.name: count.indices[one.name] for one in INDICES},
        "basis": count.basis,
        "notes": words(count.notes),
        "reason_codes": codes(count.notes),
    }


def _event(item: Item) -> dict[str, object] | None:
    extract = item.extract
    if isinstance(extract, SpecimenExtract):
        return None
    told = {key: value for key, value in extract.model_dump(mode="json").items() if key != "kind"}
    if isinstance(extract, MergeExtract):
        told = {"retired": {"id": extract.retired_id, "authority": extract.retired_authority}}
    if isinstance(extract, UnmergeExtract):
        told = {"other": {"id": extract.other_id, "authority": extract.other_authority}}
    if isinstance(extract, AppointmentExtract):
        told = {"booking": extract.booking, **told}
    kind = extract.event if isinstance(extract, AppointmentExtract) else extract.kind
    return {**told, "event": kind, "kind": extract.kind, "patient": _number(item.patient)}
