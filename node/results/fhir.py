"""A result as FHIR R4: a transaction of one DiagnosticReport and its Observations, each found again by its identifier.

What an earlier version told and this one does not is in it as ``entered-in-error``, without its values. A server that
gets the same transaction twice has each resource once: they are put where their identifier is.

References
----------
HL7 FHIR 4.0.1, http://hl7.org/fhir/R4: Bundle (transaction, conditional update), Observation, DiagnosticReport.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from analytics.reasons import load_language
from analytics.records import Tier
from node.errors import InputError
from node.hl7.times import Moment
from node.results.content import Earlier, Result, Status, Whose
from node.results.records import Rendered
from node.results.scheme import SCHEME, SCHEME_UID
from node.results.statements import CODES, NOTICE, Statement, statements
from node.settings import FhirReceiver, ResultName, Settings

Resource = dict[str, Any]

CODE_SYSTEMS = {SCHEME: f"urn:oid:{SCHEME_UID}", "LN": "http://loinc.org"}
IDENTIFIERS = f"urn:oid:{SCHEME_UID}.1"
"""System of the identifiers of what this software tells: a branch of that of its codes."""
UCUM = "http://unitsofmeasure.org"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"
FLAGS = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
ACCESSION = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
TEST_DATA = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
"""The tag of what is of no patient: test health data."""
IN_ERROR = "entered-in-error"
STATUSES = {
    Status.PRELIMINARY: "preliminary",
    Status.FINAL: "final",
    Status.CORRECTED: "corrected",
    Status.WITHDRAWN: IN_ERROR,
}
VALUES = (
    "valueQuantity", "valueCodeableConcept", "valueInteger", "component", "interpretation", "referenceRange",
    "conclusion", "result",
)  # fmt: skip
"""What an entry in error no longer has."""
MEDIA_TYPE = "application/fhir+json"


def render(result: Result, *, receiver: FhirReceiver, settings: Settings) -> Rendered:
    """The transaction, as JSON in UTF-8."""
    entries = [] if result.finding.score is None else _entries(result, receiver, settings)
    now = {_identifier(one["resource"]) for one in entries}
    gone = [
        _entry(_in_error(one["resource"], result, settings))
        for one in _before(result.replaces)
        # Also what the version before has taken back already: it may be replaced before it is sent.
        if _identifier(one["resource"]) not in now
    ]
    if result.banner:
        for one in [*gone, *entries]:
            one["resource"]["meta"] = {"tag": [TEST_DATA]}
    identifier = str(uuid4())
    bundle = {
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{identifier}"},
        "type": "transaction",
        "timestamp": _instant(result, settings),
        "entry": [*gone, *entries],
    }
    return Rendered(identifier=identifier, content=json.dumps(bundle, ensure_ascii=False, indent=1).encode())


# ---- what holds ------------------------------------------------------------------------------------------------
def _entries(result: Result, receiver: FhirReceiver, settings: Settings) -> list[Resource]:
    if result.whose is None:
        raise InputError("there is a score and no image that says whose it is")
    whose = result.whose
    said = statements(result, receiver.tell, settings.site)
    common = {"subject": _subject(whose, receiver), "issued": _instant(result, settings)}
    # Of the images one observation with its parts, of the rest one each, and the version beside the tier.
    score, *parts = [one for one in said if one.of_images]
    version = [one for one in said if one.name == "threshold_version"]
    others = [one for one in said if not one.of_images and one not in version]
    observations = [_observation(score, parts, result, whose, settings) | common]
    for one in others:
        beside = version if one.name == "tier" else []
        observations.append(_observation(one, beside, result, whose, settings) | common)
    entries = [_entry(one) for one in observations]
    report = _report(result, whose, settings) | common
    report["result"] = [{"reference": one["fullUrl"]} for one in entries]
    return [*entries, _entry(report)]


def _observation(
    one: Statement, parts: Sequence[Statement], result: Result, whose: Whose, settings: Settings
) -> Resource:
    finding = result.finding
    made: Resource = {
        "resourceType": "Observation",
        "identifier": [_number(result, whose, one.name)],
        "status": STATUSES[result.status],
        "category": [_coded((CATEGORIES, "imaging" if one.of_images else "laboratory"))],
        "code": _code(one.name),
        **_value(one),
        "note": [{"text": text} for text in _notes(result, settings)],
    }
    if one.at is not None:
        made["effectiveDateTime"] = _time(one.at, settings)
    if one.of_images:
        made["method"] = {"text": finding.algorithm}
        made["performer"] = [{"display": finding.approval.name if finding.approval else settings.site.name}]
        made["derivedFrom"] = [
            {
                "type": "ImagingStudy",
                "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{whose.study_instance_uid}"},
            }
        ]
    if parts:
        made["component"] = [{"code": _code(part.name), **_value(part)} for part in parts]
    return made


def _report(result: Result, whose: Whose, settings: Settings) -> Resource:
    made: Resource = {
        "resourceType": "DiagnosticReport",
        "identifier": [_number(result, whose, "report")],
        "status": STATUSES[result.status],
        "category": [_coded((SECTIONS, "RAD"))],
        "code": _code("report"),
        "performer": [{"display": settings.site.name}],
        "conclusion": " ".join(_notes(result, settings)),
    }
    if whose.accession_number:
        accession = {"type": {"coding": [ACCESSION]}, "value": whose.accession_number}
        made["basedOn"] = [{"type": "ServiceRequest", "identifier": accession}]
    if result.finding.approval:
        made["resultsInterpreter"] = [{"display": result.finding.approval.name}]
    return made


def _notes(result: Result, settings: Settings) -> list[str]:
    language = load_language(settings.site.language)
    finding = result.finding
    notes = [*([f"{result.banner}."] if result.banner else []), NOTICE, f"Study protocol: {result.protocol}."]
    if finding.standing is not None:
        notes.append(f"The tier is that of the operation planned on {finding.standing.surgery_date:%Y-%m-%d}.")
    return [*notes, *(reason.words(language) for reason in finding.remarks)]


def _value(one: Statement) -> Resource:
    if isinstance(one.value, Tier):
        coding = {"system": CODE_SYSTEMS[SCHEME], "code": one.text.upper(), "display": one.text}
        return {"valueCodeableConcept": {"coding": [coding]}}
    if not one.unit:
        return {"valueInteger": int(one.value)}
    found: Resource = {"valueQuantity": {"value": float(one.text), "unit": one.unit, "system": UCUM, "code": one.unit}}
    if one.high is not None:
        found["interpretation"] = [_coded((FLAGS, "H" if one.high else "N"))]
        sign = "<" if one.high_at_cut else "≤"
        found["referenceRange"] = [{"text": f"{sign} {one.limit}"}]
    return found


def _code(name: ResultName) -> Resource:
    code, display, system = CODES[name].split("^")
    return {"coding": [{"system": CODE_SYSTEMS[system], "code": code, "display": display}]}


def _coded(*codings: tuple[str, str]) -> Resource:
    return {"coding": [{"system": system, "code": code} for system, code in codings]}


# ---- whose, which, when ----------------------------------------------------------------------------------------
def _subject(whose: Whose, receiver: FhirReceiver) -> Resource:
    number: Resource = {"value": whose.patient_id}
    if receiver.patient_system:
        number["system"] = receiver.patient_system
    elif whose.issuer:
        number["assigner"] = {"display": whose.issuer}
    return {"type": "Patient", "identifier": number}


def _number(result: Result, whose: Whose, name: ResultName) -> Resource:
    digest = hashlib.sha256(f"{result.finding.series_instance_uid}/{whose.patient_id}".encode()).hexdigest()
    return {"system": IDENTIFIERS, "value": f"{digest[:32]}-{name.replace('_', '-')}"}


def _instant(result: Result, settings: Settings) -> str:
    return result.made_at.astimezone(settings.site.zone).isoformat(timespec="seconds")


def _time(moment: Moment, settings: Settings) -> str:
    at = moment.at.astimezone(settings.site.zone)
    return at.date().isoformat() if moment.date_only else at.isoformat(timespec="seconds")


# ---- transaction -----------------------------------------------------------------------------------------------
def _identifier(resource: Resource) -> str:
    return str(resource["identifier"][0]["value"])


def _entry(resource: Resource) -> Resource:
    name = _identifier(resource)
    return {
        # References within the transaction; a server puts its own in their place.
        "fullUrl": f"urn:uuid:{_uuid(name)}",
        "resource": resource,
        "request": {"method": "PUT", "url": f"{resource['resourceType']}?identifier={IDENTIFIERS}|{name}"},
    }


def _uuid(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def _before(earlier: Earlier | None) -> list[Resource]:
    if earlier is None or earlier.body is None:
        return []
    entries: list[Resource] = json.loads(earlier.body)["entry"]
    return entries


def _in_error(resource: Resource, result: Result, settings: Settings) -> Resource:
    kept = {key: value for key, value in resource.items() if key not in VALUES}
    kept |= {"status": IN_ERROR, "issued": _instant(result, settings)}
    if "note" in kept:
        kept["note"] = [{"text": text} for text in _notes(result, settings)]
    return kept
