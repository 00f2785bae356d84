"""The surgeon's list: upcoming operations, and one patient on one page."""

import json
from datetime import date
from string import ascii_lowercase
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from analytics.reasons import Reason, actions
from node.clock import from_text, to_text
from node.errors import ReadingError
from node.measure.pictures import draw, stored_reading
from node.people import corrections
from node.people.two_readers import hidden_from
from node.store.public_id import public_id_of
from node.store.reasons import loaded
from node.web.charts import Chart, chart
from node.web.render import page
from node.web.visit import Visit

UPCOMING = """
SELECT l.episode, p.pseudonym, l.person, l.surgery_date, l.status, l.reasons, l.exclusion_reasons, l.eligible,
       l.series_instance_uid, l.mri_date, l.specimen, l.cbc_date, l.vbq, l.vbq_sd, l.nlr, l.plr, l.age, l.sex_male,
       f.tier, f.previous_tier, f.night, f.change, f.near_cut, f.vbq_cut, f.cut_of_reasons,
       t.nlr AS nlr_cut, t.plr AS plr_cut, o.procedure, o.surgeon, o.surgeon_number, o.service
FROM derived_link AS l JOIN derived_person AS p USING (person)
LEFT JOIN derived_operation AS o ON (o.person, o.booking) = (l.person, l.booking)
LEFT JOIN record_flag AS f ON f.flag_id = (SELECT max(n.flag_id) FROM record_flag AS n WHERE n.episode = l.episode)
LEFT JOIN record_threshold AS t ON t.version = f.threshold_version
WHERE l.status IN ('linked', 'incomplete', 'held') AND l.surgery_date >= :today
  AND (:episode IS NULL OR l.episode = :episode)
ORDER BY l.surgery_date, l.episode
"""
OF_THE_SCORE = ("vbq", "vbq_sd", "error", "tier", "previous_tier", "near_cut", "change", "series_instance_uid")
"""What a second reader is not shown."""
LAST_NIGHT = """
SELECT value FROM json_each((SELECT counts FROM record_report WHERE kind = 'nightly' AND made_at <= ?
                             ORDER BY night DESC LIMIT 1), '$.patients')
"""
"""Every operation as the last night judged it: also where its tier stayed and its cut did not."""
COUNTS = """
SELECT taken_at, date_only, status, neutrophils_10e9_per_l AS neutrophils, lymphocytes_10e9_per_l AS lymphocytes,
       platelets_10e9_per_l AS platelets, nlr, plr, notes
FROM derived_blood_count WHERE person = ? ORDER BY taken_at DESC LIMIT 20
"""
HISTORY = """
SELECT night, change, tier, previous_tier, cause, cause_reasons, vbq, nlr, plr FROM record_flag WHERE episode = ?
ORDER BY flag_id DESC
"""
PERSON_OF = """
SELECT i.person FROM derived_series AS s
JOIN derived_identifier AS i ON (i.authority, i.patient_id) = (s.patient_authority, s.patient_id)
WHERE s.series_instance_uid = ?
"""
SEEN = "SELECT max(at) FROM record_audit WHERE name = ? AND action = 'patient opened' AND subject = ?"
READINGS = """
SELECT reader, added_at, vbq_mean, previous_vbq_mean, in_effect FROM readings
WHERE series_instance_uid = ? ORDER BY reading_id DESC
"""


TIERS = ("flagged", "intermediate", "lower", "none")
IN_FORCE = "SELECT ratios FROM thresholds WHERE state = 'adopted' ORDER BY version DESC LIMIT 1"


def show_list(visit: Visit) -> Response:
    """Upcoming operations, the soonest first; of one tier or one surgeon where it is asked so."""
    visit.note("list opened", "")
    rows = [_row(visit, one) for one in _upcoming(visit, None)]
    surgeons = {public_id_of(one["operates"]): one["operates"] for one in rows if one["operates"]}
    tier, surgeon = (visit.request.query_params.get(name, "") for name in ("tier", "surgeon"))
    tier, surgeon = tier if tier in TIERS else "", surgeon if surgeon in surgeons else ""
    rows = [one for one in rows if not surgeon or one["operates"] == surgeons[surgeon]]
    counts = {name: sum(one["shown_tier"] == name for one in rows) for name in TIERS}
    shown = [one for one in rows if not tier or one["shown_tier"] == tier]
    return page(
        visit,
        "patients.html",
        {
            "rows": shown,
            **_rescan(visit),
            "marks": _marks(shown),
            "tiers": _tiers(visit),
            "counts": {name: number for name, number in counts.items() if number or name == tier},
            "all": len(rows),
            "tier": tier,
            "surgeon": surgeon,
            "surgeons": dict(sorted(surgeons.items(), key=lambda one: one[1])) if len(surgeons) > 1 else {},
        },
    )


def _tiers(visit: Visit) -> str:
    """What the tiers are, by the cut-offs in force."""
    (ratios,) = visit.db.execute(IN_FORCE).fetchone() or ("any",)
    return visit.words(f"what_are_tiers_{ratios}")


def _marks(rows: list[dict[str, Any]]) -> dict[str, str]:
    """A letter for each clause that stands at several patients: it is said once, below the list."""
    clauses = dict.fromkeys(clause for row in rows for clause in row["cut_of_others"])
    return dict(zip(clauses, ascii_lowercase, strict=False))


def show_one(visit: Visit) -> Response:
    """One patient and operation."""
    row = _one(visit)
    (seen,) = visit.db.execute(SEEN, [visit.name, row["pseudonym"]]).fetchone()
    visit.note("patient opened", row["pseudonym"])
    counts = [{**one, "notes": visit.words.of(loaded(one["notes"]))} for one in visit.db.query(COUNTS, [row["person"]])]
    return page(
        visit,
        "patient.html",
        {
            "row": _row(visit, row),
            **_rescan(visit),
            "counts": counts,
            "charts": _charts(counts, row),
            "tiers": _tiers(visit),
            "seen": seen or "",
            "history": []
            if row["hidden"]
            else [_cause(visit, one) for one in visit.db.query(HISTORY, [row["episode"]])],
            "readings": [] if row["hidden"] else list(visit.db.query(READINGS, [row["series_instance_uid"]])),
            "series": public_id_of(row["series_instance_uid"]) if row["series_instance_uid"] else None,
            "printed": visit.now.astimezone(visit.settings.site.zone),
        },
    )


def _rescan(visit: Visit) -> dict[str, str]:
    """Of what the error of a VBQ is: the words that say it."""
    return {"rescan": "rescan" if corrections.in_force(visit.db).noise is None else "rescan_adopted"}


def _charts(counts: list[dict[str, Any]], row: dict[str, Any]) -> list[Chart]:
    """NLR and PLR over time, of counts that may be used."""
    usable = [one for one in counts if one["status"] in ("final", "corrected") and one["taken_at"]]
    found = []
    for name, digits in (("nlr", 2), ("plr", 0)):
        values = [(from_text(one["taken_at"]), one[name]) for one in usable if one[name] is not None]
        found.append(chart(name.upper(), values, row[f"{name}_cut"], digits=digits))
    return [one for one in found if one is not None]


def picture(visit: Visit) -> Response:
    """The slice with its circles, as PNG."""
    row = _one(visit)
    if not row["series_instance_uid"] or row["hidden"]:
        raise HTTPException(404)
    try:
        reading = stored_reading(visit.db, row["series_instance_uid"])
        drawn = draw(visit.db, visit.stores.archive, reading)
    except ReadingError as error:
        raise HTTPException(404) from error
    visit.note("picture opened", row["pseudonym"])
    return Response(drawn, media_type="image/png")


def _upcoming(visit: Visit, episode: str | None) -> list[dict[str, Any]]:
    today = visit.now.astimezone(visit.settings.site.zone).date().isoformat()
    rows = visit.db.query(UPCOMING, {"today": today, "episode": episode})
    hidden, judged = _persons_hidden(visit), _last_night(visit)
    noise = corrections.in_force(visit.db)
    found = [{**one, **judged.get(one["episode"], {}), "hidden": None} for one in rows]
    for one in found:
        one["error"] = noise.error(one["vbq_sd"] or 0.0) if one["vbq"] else None
    return [_blinded(one) if one["person"] in hidden else one for one in found]


def _last_night(visit: Visit) -> dict[str, dict[str, Any]]:
    """Cuts and nearness of each operation as the last night judged them."""
    found = {}
    for (text,) in visit.db.execute(LAST_NIGHT, [to_text(visit.now)]):
        one = json.loads(text)
        found[one["episode"]] = {
            **{f"{name}_cut": cut for name, cut in one["cuts"].items()},
            "near_cut": one["near_cut"],
            "cut_of_reasons": json.dumps([one["reasons"]["cut_of"]]) if "reasons" in one else None,
        }
    return found


def _persons_hidden(visit: Visit) -> set[str]:
    """Patients of whom the visitor is to read an MRI as the second."""
    found: set[str] = set()
    if not visit.who.may("reader"):
        return found
    for uid in hidden_from(visit.db, visit.settings.readers, visit.name):
        found |= {person for (person,) in visit.db.execute(PERSON_OF, [uid])}
    return found


def _blinded(row: dict[str, Any]) -> dict[str, Any]:
    """What a second reader sees of a patient."""
    return {**row, **dict.fromkeys(OF_THE_SCORE), "hidden": True}


def _cause(visit: Visit, flag: dict[str, Any]) -> dict[str, Any]:
    """A change of tier with its cause in the visitor's language, where it is kept as reasons."""
    told = visit.words.of(loaded(flag["cause_reasons"])) if flag["cause_reasons"] else []
    return {**flag, "cause": "; ".join(told) or flag["cause"]}


def _one(visit: Visit) -> dict[str, Any]:
    found = _upcoming(visit, visit.parameter("episode"))
    if not found:
        raise HTTPException(404)
    return found[0]


def _row(visit: Visit, row: dict[str, Any]) -> dict[str, Any]:
    today = visit.now.astimezone(visit.settings.site.zone).date()
    authority, _, number = str(row["person"]).partition("|")
    return {
        **row,
        "days": (date.fromisoformat(row["surgery_date"][:10]) - today).days,
        "number": number if visit.who.may("surgeon") else None,
        "operates": (row["surgeon"] or row["surgeon_number"] or "") if visit.who.may("surgeon") else "",
        **_tier(visit, row),
        "authority": authority,
        "missing": visit.words.of(loaded(row["reasons"])),
        "ask": actions(loaded(row["reasons"]), visit.words.reasons),
        "excluded": visit.words.of(loaded(row["exclusion_reasons"])),
        "cut_of_others": visit.words.of(_cut_of_others(row)),
        "interval": 1.96 * row["error"] if row["error"] else None,
    }


def _tier(visit: Visit, row: dict[str, Any]) -> dict[str, str]:
    """The tier that holds, or why there is none, and the one of the last night where what it was made of is gone."""
    if row["hidden"]:
        return {"shown_tier": "none", "tier_words": visit.words("waits_for_you"), "tier_before": ""}
    if row["status"] == "linked" and row["tier"]:
        return {"shown_tier": row["tier"], "tier_words": visit.words(f"tier_{row['tier']}"), "tier_before": ""}
    state = row["status"]
    if state == "linked":
        state = "tonight" if visit.db.execute(IN_FORCE).fetchone() else "not_calibrated"
    before = (
        visit.words("tier_before", tier=visit.words(f"tier_{row['tier']}"), night=row["night"]) if row["tier"] else ""
    )
    return {"shown_tier": "none", "tier_words": visit.words(f"tier_{state}"), "tier_before": before}


def _cut_of_others(row: dict[str, Any]) -> list[Reason]:
    """Why the VBQ cut of this patient is not that of the patient's scanner alone."""
    said = ("cut-of-all-because", "cut-with-offset")
    return [one for one in loaded(row["cut_of_reasons"] or "[]") if one.code in said]
