"""What is settled from the worklist by a button: counts, identities, studies, cut-offs."""

from starlette.responses import Response

from node.errors import InputError
from node.people import counts, studies, thresholds
from node.people import identity as identities
from node.web.pages.worklist import back
from node.web.visit import Visit
from node.web.worklist import APPROVED_CELLS


def count(visit: Visit) -> Response:
    """Approve a held count, as it is or with correct values, or take an approval back."""
    specimen, patient = visit.form.get("specimen", ""), visit.form.get("patient") or None
    if visit.form.get("do") == "withdraw":
        counts.withdraw(visit.db, specimen, by=visit.name, now=visit.now, patient=patient)
    else:
        cells = {name: _number(visit, name) for name in APPROVED_CELLS if visit.form.get(name, "").strip()}
        counts.approve(visit.db, specimen, by=visit.name, now=visit.now, patient=patient, cells=cells)
    return _done(visit, f"count {visit.form.get('do', 'approve')}", patient or "")


def identity(visit: Visit) -> Response:
    """Say whether what is in doubt is the patient's, or two numbers are one patient."""
    authority, number = visit.form.get("authority", ""), visit.form.get("patient_id", "")
    confirmed = visit.form.get("do") == "confirm"
    other = visit.form.get("other_patient_id")
    if other:
        identities.decide(
            visit.db, numbers=(authority, number, other), confirmed=confirmed, by=visit.name, now=visit.now
        )
    else:
        signs = visit.form.get("signs") or None
        identities.decide_signs(
            visit.db, number=(authority, number), signs=signs, confirmed=confirmed, by=visit.name, now=visit.now
        )
    return _done(visit, "identity " + ("confirmed" if confirmed else "rejected"), "")


def study(visit: Visit) -> Response:
    """Say that what came last of a study holds, or take that back."""
    uid, taken_back = visit.form.get("study", ""), visit.form.get("do") == "withdraw"
    (studies.withdraw if taken_back else studies.use_newest)(visit.db, uid, by=visit.name, at=visit.now)
    return _done(visit, "study withdraw" if taken_back else "study use-newest", "")


def threshold(visit: Visit) -> Response:
    """Adopt or decline a version of the cut-offs."""
    version = visit.form.get("version", "")
    if not version.isdecimal():
        raise InputError(visit.words("no_version"))
    if visit.form.get("do") == "adopt":
        thresholds.adopt(visit.db, int(version), by=visit.name, now=visit.now)
    else:
        thresholds.retire(visit.db, int(version), by=visit.name, now=visit.now)
    return _done(visit, f"threshold {visit.form.get('do', '')}", version)


def _number(visit: Visit, name: str) -> float:
    try:
        return float(visit.form[name].strip())
    except ValueError as error:
        raise InputError(visit.words("no_number", name=visit.words(name))) from error


def _done(visit: Visit, action: str, subject: str) -> Response:
    visit.note(action, subject)
    return back(visit, "settled")
