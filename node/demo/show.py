"""What the demo shows at its end, all of it asked of the node's views as anybody can ask them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from sqlite_utils import Database

from analytics.episodes.cuts import Cuts
from analytics.episodes.tiers import explain
from node.demo.hospital import Hospital, LivePatient, Part

QUERIES: Mapping[str, str] = {
    "Who is flagged tonight, and against which cut-offs": """
SELECT tier, patient, surgery_date, round(vbq, 2) AS vbq, round(vbq_cut, 2) AS vbq_cut, round(nlr, 2) AS nlr,
       round(nlr_cut, 2) AS nlr_cut, round(plr) AS plr, round(plr_cut) AS plr_cut
FROM flags WHERE latest = 1 ORDER BY tier, surgery_date""",
    "The regression behind the report": """
SELECT term, round(b, 4) AS b, round(ci_low, 4) AS ci_low, round(ci_high, 4) AS ci_high, round(beta_std, 3) AS beta_std,
       round(p, 4) AS p, round(vif, 2) AS vif, round(partial_r2, 3) AS partial_r2
FROM fit_terms JOIN fits USING (fit_id) WHERE night = (SELECT max(night) FROM fits)""",
    "How well it fits": "SELECT night, n_used, round(r2, 3) AS r2, round(adj_r2, 3) AS adj_r2 FROM fits",
    "Operations without a complete pair of MRI and blood count, and why": """
SELECT patient, status, surgery_date, reasons FROM links WHERE status <> 'linked' ORDER BY status, surgery_date""",
    "The measurements": """
SELECT source, status, round(vbq_mean, 3) AS vbq_mean, round(vbq_median, 3) AS vbq_median, round(l1_signal, 1) AS l1,
       round(l2_signal, 1) AS l2, round(l3_signal, 1) AS l3, round(l4_signal, 1) AS l4, round(csf_signal, 1) AS csf
FROM measurements ORDER BY vbq_mean DESC LIMIT 5""",
    "What the patient record got": """
SELECT status, state, round(vbq_mean, 2) AS vbq, round(nlr, 2) AS nlr, round(plr) AS plr, tier, threshold_version
FROM results WHERE latest = 1 AND destination = 'record' ORDER BY tier IS NULL, tier, vbq_mean""",
    "What needs a person": "SELECT step, code, detail FROM problems ORDER BY step, code, detail",
}
"""Shown with their results; each runs as it stands on the published snapshot."""

EVIDENCE: Mapping[str, str] = {
    "P01": "SELECT count(*) || ' message(s) arrived more than once and count once' FROM messages "
    "WHERE times_received > 1",
    "P02": "SELECT 'images of number ' || s.patient_id || ' are linked to the operation of number ' || o.patient_id "
    "FROM links AS l JOIN series AS s USING (series_instance_uid) JOIN operations AS o ON o.booking = l.booking "
    "WHERE l.patient = :patient",
    "P04": "SELECT 'moved from ' || substr(moved_from, 1, 10) || ' to ' || substr(planned_at, 1, 10) FROM operations "
    "WHERE patient = :patient",
    "P05": "SELECT 'blood count is ' || status || ', NLR ' || round(nlr, 2) FROM blood_counts WHERE patient = :patient",
    "P10": "SELECT count(*) || ' blood count(s) belong to nobody who has an MRI or an operation' FROM blood_counts "
    "WHERE patient NOT IN (SELECT patient FROM links)",
    "P11": "SELECT count(*) || ' blood count(s) belong to nobody who has an MRI or an operation' FROM blood_counts "
    "WHERE patient NOT IN (SELECT patient FROM links)",
    "P12": "SELECT detail FROM problems WHERE code = 'unidentified' LIMIT 1",
}
"""What the views say beside the link about some of the parts, in one line each."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What became of one patient, from the views."""

    part: Part
    patient: str | None
    status: str | None
    tier: str | None
    why: tuple[str, ...]

    @property
    def as_meant(self) -> bool:
        """Whether it is what the play promises."""
        return self.status == self.part.status and self.tier == (self.part.tier.value if self.part.tier else None)


def read_endings(db: Database, hospital: Hospital) -> tuple[Ending, ...]:
    """What became of everybody in the play."""
    return tuple(_ending(db, patient) for patient in hospital.patients)


def _ending(db: Database, patient: LivePatient) -> Ending:
    part = patient.part
    found = db.execute(
        "SELECT l.id, l.patient, l.status, l.reasons, l.exclusion_reasons FROM links AS l WHERE l.booking = ? "
        "OR (l.booking IS NULL AND l.series_instance_uid = ?)",
        [f"{patient.placer}/{patient.filler}", patient.examination.t1_series_uid],
    ).fetchone()
    if found is None:
        return Ending(part=part, patient=None, status=None, tier=None, why=("no link",))
    episode, pseudonym, status, reasons, exclusions = found
    flag = db.execute(
        "SELECT f.tier, f.vbq, f.nlr, f.plr, t.method, t.n, f.vbq_cut, f.nlr_cut, f.plr_cut, t.ratios FROM flags AS f "
        "JOIN thresholds AS t ON t.version = f.threshold_version WHERE f.id = ? AND f.latest = 1",
        [episode],
    ).fetchone()
    why = list(dict.fromkeys([*json.loads(reasons), *(json.loads(exclusions) if status == "linked" else ())]))
    tier = None
    if flag is not None:
        tier, vbq, nlr, plr, method, n, vbq_cut, nlr_cut, plr_cut, ratios = flag
        cuts = Cuts(method=method, n=n, vbq=vbq_cut, nlr=nlr_cut, plr=plr_cut, ratios=ratios)
        why.append(str(explain(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts)))
    if part.key in EVIDENCE:
        evidence = db.execute(EVIDENCE[part.key], {"patient": pseudonym}).fetchone()
        why += [str(evidence[0])] if evidence else []
    return Ending(part=part, patient=pseudonym, status=status, tier=tier, why=tuple(why))


def show_endings(console: Console, endings: tuple[Ending, ...]) -> None:
    """Print who has which tier and why, then what went wrong in the hospital and how it was handled."""
    tiered = [ending for ending in endings if ending.tier]
    others = [ending for ending in endings if not ending.tier]
    table = Table("tier", "patient", "what happened", "why", title="Upcoming operations", title_justify="left")
    for ending in tiered:
        table.add_row(ending.tier, ending.patient, ending.part.story, "; ".join(ending.why))
    console.print(table)
    table = Table("link", "patient", "what happened", "why there is no tier", title="Mishaps", title_justify="left")
    for ending in others:
        table.add_row(ending.status or "none", ending.patient or "–", ending.part.story, "; ".join(ending.why))
    console.print(table)


def show_queries(console: Console, snapshot: Database) -> None:
    """Print each query and its result, as ``sqlite3 -column`` does: whole cells, however wide the terminal is."""
    for title, sql in QUERIES.items():
        rows = [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in snapshot.query(sql)
        ]
        lines = ["", f"-- {title}", f"{sql.strip()};"]
        if rows:
            widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
            lines.append("  ".join(name.ljust(width) for name, width in widths.items()).rstrip())
            lines.append("  ".join("-" * width for width in widths.values()))
            lines += ["  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip() for row in rows]
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
