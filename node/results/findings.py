"""What is known of a series now, read from the database; of one about which something is still to be derived, nothing.

Only what is measured or approved has a score. What was told before and does not hold any more is a finding without one,
with the reasons.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from sqlite_utils import Database

from analytics.reasons import Reason
from analytics.records import MeasurementStatus, Tier
from node.clock import from_text
from node.results.content import Approval, Blood, Finding, Region, Score, Standing
from node.store.derivation import again_since
from node.store.reasons import loaded

PASSED = "operation-past"
"""Code by which an episode leaves the list because its operation was done: its tier was not taken back."""

# Of series that are judged and measured as they stand. A person whose row is missing is about to be derived anew, and
# it may turn out that the images are somebody else's.
FINDINGS = """
WITH told (uid) AS (
    SELECT DISTINCT subject FROM record_result WHERE queue = :queue AND destination = :destination
), asked (uid, request, why, name) AS (
    SELECT series_instance_uid, request, why, requested_by FROM fact_result_request
    WHERE request_id IN (SELECT max(request_id) FROM fact_result_request WHERE request IN ('send', 'withdraw')
                         GROUP BY series_instance_uid)
)
SELECT s.series_instance_uid, s.study_instance_uid, s.study_date, s.patient_authority, s.patient_id, s.withheld,
       s.withdrawn, s.rejections, m.sop_instance_uid, m.instance_number, m.frame_number, m.status, m.reasons,
       m.vbq_mean, m.vbq_median, m.vbq_sd, m.rois, m.levels_confidence, m.algorithm_name, m.algorithm_version,
       m.reading_id, r.approves, r.reader, r.added_at,
       (SELECT i.headers ->> '$.issuer' FROM derived_instance AS i
        WHERE i.series_instance_uid = s.series_instance_uid
        ORDER BY i.sop_instance_uid IS m.sop_instance_uid DESC LIMIT 1) AS issuer,
       (SELECT p.reason FROM derived_shared_pixels AS p WHERE p.series_instance_uid = s.series_instance_uid) AS shared,
       (SELECT json_group_array(json(d.reason)) FROM derived_doubt AS d, json_each(d.sources) AS source
        WHERE d.authority = s.patient_authority AND d.patient_id = s.patient_id AND d.kind = 'image'
          AND source.value = 'series ' || s.series_instance_uid) AS doubts,
       asked.request, asked.why, asked.name
FROM derived_series AS s
LEFT JOIN derived_measurement AS m ON m.rowid = (
    SELECT n.rowid FROM derived_measurement AS n
    WHERE n.series_instance_uid = s.series_instance_uid AND n.current = 1 ORDER BY n.reading_id DESC LIMIT 1)
LEFT JOIN fact_reading AS r ON r.reading_id = m.reading_id
LEFT JOIN asked ON asked.uid = s.series_instance_uid
WHERE s.stale = 0
  AND (s.series_instance_uid IN (SELECT uid FROM told)
       OR m.status = 'measured' AND (asked.request = 'send' OR EXISTS (
           SELECT 1 FROM derived_instance AS i
           WHERE i.series_instance_uid = s.series_instance_uid AND i.object_id > :after)))
  -- Not while it waits to be measured as it stands.
  AND NOT (s.chosen = 1 AND NOT EXISTS (
      SELECT 1 FROM derived_measurement AS a WHERE a.series_instance_uid = s.series_instance_uid
      AND a.reading_id IS NULL AND a.current = 1 AND a.instances_sha256 = s.inputs_sha256)
      AND NOT EXISTS (SELECT 1 FROM state_failure AS f WHERE f.step = 'measure' AND f.unit_kind = 'study'
                      AND f.unit_key = s.study_instance_uid AND f.final = 1))
  AND NOT EXISTS (SELECT 1 FROM fact_reading AS u WHERE u.series_instance_uid = s.series_instance_uid
                  AND u.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)
                  AND NOT EXISTS (SELECT 1 FROM derived_measurement AS v
                                  WHERE v.series_instance_uid = u.series_instance_uid AND v.reading_id = u.reading_id
                                    AND v.instances_sha256 = s.instances_sha256)
                  AND NOT EXISTS (SELECT 1 FROM state_failure AS f WHERE f.step = 'measure' AND f.unit_kind = 'reading'
                                  AND f.unit_key = CAST(u.reading_id AS TEXT) AND f.final = 1))
  AND NOT EXISTS (SELECT 1 FROM derived_identifier AS n
                  WHERE n.authority = s.patient_authority AND n.patient_id = s.patient_id
                    AND n.person NOT IN (SELECT person FROM derived_person))
ORDER BY s.series_instance_uid
"""

GONE = """
SELECT DISTINCT subject FROM record_result AS r
WHERE queue = :queue AND destination = :destination
  AND NOT EXISTS (SELECT 1 FROM derived_instance AS i WHERE i.series_instance_uid = r.subject)
  AND NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.series_instance_uid = r.subject)
ORDER BY subject
"""
"""Series of which no image stands any more: a person, or the PACS, has moved them."""

BUSY = """
SELECT (SELECT count(*) FROM fact_object) - (SELECT count(*) FROM derived_instance)
     - (SELECT count(*) FROM derived_superseded) - (SELECT count(*) FROM derived_problem WHERE step = 'index')
"""
"""Objects of which it is not known yet what they are; a series that seems gone may lie among them."""

LINKED = """
SELECT l.episode, l.surgery_date, l.nlr, l.plr, l.specimen, b.taken_at, b.date_only, b.neutrophils_10e9_per_l,
       b.lymphocytes_10e9_per_l, b.platelets_10e9_per_l
FROM derived_link AS l JOIN derived_blood_count AS b USING (person, specimen)
WHERE l.series_instance_uid = ? AND l.status IN ('linked', 'provisional') AND b.status IN ('final', 'corrected')
ORDER BY l.surgery_date IS NULL, l.surgery_date DESC, l.episode LIMIT 1
"""

NEWEST_FLAGS = """
SELECT f.change, f.tier, f.threshold_version, f.vbq_cut, t.nlr, t.plr, f.surgery_date, f.cause_reasons,
       f.cut_of_reasons, f.offset_decision
FROM record_flag AS f LEFT JOIN record_threshold AS t ON t.version = f.threshold_version
WHERE f.episode = ? ORDER BY f.flag_id DESC LIMIT 2
"""


def findings(db: Database, *, queue: str, destination: str, after: int) -> Iterator[Finding]:
    """What is known of each series that this destination is to be told of, or was.

    Parameters
    ----------
    queue, destination
        As in ``record_result``.
    after
        Series of which every object has at most this number are not told of, unless a person wants it.
    """
    if again_since(db) is not None:
        return
    values = {"queue": queue, "destination": destination, "after": after}
    cursor = db.execute(FINDINGS, values)
    names = [column for column, *_ in cursor.description]
    for row in cursor.fetchall():
        yield _finding(db, dict(zip(names, row, strict=True)))
    gone = [uid for (uid,) in db.execute(GONE, values)]
    if gone and not db.execute(BUSY).fetchone()[0]:
        for uid in gone:
            yield _gone(db, uid, values)


def _finding(db: Database, row: Mapping[str, Any]) -> Finding:
    against = _against(row)
    algorithm = row["algorithm_name"] or "", row["algorithm_version"] or ""
    blood, standing = (None, None) if against else _linked(db, row["series_instance_uid"])
    return Finding(
        series_instance_uid=row["series_instance_uid"],
        study_instance_uid=row["study_instance_uid"],
        study_date=date.fromisoformat(row["study_date"]) if row["study_date"] else None,
        patient_id=row["patient_id"] or "",
        issuer=row["issuer"],
        sop_instance_uid=row["sop_instance_uid"],
        instance_number=row["instance_number"],
        frame_number=row["frame_number"],
        score=None if against else _score(db, row),
        reasons=against or loaded(row["reasons"]),
        algorithm_name=algorithm[0],
        algorithm_version=algorithm[1],
        circles_of=row["approves"],
        approval=_approval(row) if not against else None,
        blood=blood,
        standing=standing,
    )


def _against(row: Mapping[str, Any]) -> tuple[Reason, ...]:
    """Why there is no number to be told; empty where there is one."""
    if row["request"] == "withdraw":
        return (Reason("result-withdrawn", {"name": row["name"], "why": row["why"]}),)
    if row["withdrawn"]:
        return loaded(row["rejections"])
    whose = _not_sure_whose(row)
    if whose:
        return whose
    if row["status"] == MeasurementStatus.MEASURED.value and row["vbq_mean"] is not None:
        return ()
    return loaded(row["reasons"] or "[]") or (Reason("result-not-measured"),)


def _not_sure_whose(row: Mapping[str, Any]) -> tuple[Reason, ...]:
    if row["withheld"]:
        return (Reason("result-of-several-patients"),)
    if row["patient_id"] is None:
        return (Reason("result-of-nobody"),)
    shared = loaded(row["shared"] or "[]")
    return (*shared, *(reason for one in json.loads(row["doubts"]) for reason in loaded(json.dumps(one))))


def _score(db: Database, row: Mapping[str, Any]) -> Score:
    vbq_sd = row["vbq_sd"]
    if vbq_sd is None and row["reading_id"] is not None:
        # Who approves the automatic circles takes their standard deviation with them; the view knows it.
        (vbq_sd,) = db.execute(
            "SELECT vbq_sd FROM measurements WHERE series_instance_uid = ? AND in_effect = 1",
            [row["series_instance_uid"]],
        ).fetchone()
    regions = {
        name: Region(**{field: roi[field] for field in ("row", "col", "radius_px", "mean", "sd", "pixels")})
        for name, roi in sorted(json.loads(row["rois"]).items())
    }
    return Score(
        vbq_mean=row["vbq_mean"],
        vbq_median=row["vbq_median"],
        vbq_sd=vbq_sd,
        regions=regions,
        levels_confidence=row["levels_confidence"],
    )


def _approval(row: Mapping[str, Any]) -> Approval | None:
    return None if row["reading_id"] is None else Approval(name=row["reader"], at=from_text(row["added_at"]))


def _linked(db: Database, series_uid: str) -> tuple[Blood | None, Standing | None]:
    row = db.execute(LINKED, [series_uid]).fetchone()
    if row is None:
        return None, None
    episode, _, nlr, plr, specimen, taken_at, date_only, neutrophils, lymphocytes, platelets = row
    blood = Blood(
        specimen=specimen,
        taken_at=from_text(taken_at) if taken_at else None,
        date_only=bool(date_only),
        neutrophils=neutrophils,
        lymphocytes=lymphocytes,
        platelets=platelets,
        nlr=nlr,
        plr=plr,
    )
    return blood, standing_of(db, episode)


def standing_of(db: Database, episode: str) -> Standing | None:
    """The tier as it was last written; also that of an operation which is done since."""
    for row in db.execute(NEWEST_FLAGS, [episode]):
        change, tier, version, vbq_cut, nlr_cut, plr_cut, surgery_date, causes, cut_of, offset = row
        if change == "resolved":
            if PASSED not in {one.code for one in loaded(causes or "[]")}:
                return None
            continue
        return Standing(
            tier=Tier(tier),
            threshold_version=version,
            vbq_cut=vbq_cut,
            nlr_cut=nlr_cut,
            plr_cut=plr_cut,
            surgery_date=date.fromisoformat(surgery_date),
            reasons=()
            if offset is None
            else tuple(Reason("vbq-cut-of", {"whose": one}) for one in loaded(cut_of or "[]")),
        )
    return None


def _gone(db: Database, uid: str, values: Mapping[str, object]) -> Finding:
    """As it was last told, without a number."""
    (text,) = db.execute(
        "SELECT content FROM record_result WHERE queue = :queue AND destination = :destination AND subject = :uid "
        "ORDER BY result_id DESC LIMIT 1",
        {**values, "uid": uid},
    ).fetchone()
    told = json.loads(text)
    return Finding(
        series_instance_uid=uid,
        study_instance_uid=told["study_instance_uid"],
        study_date=date.fromisoformat(told["study_date"]) if told["study_date"] else None,
        patient_id=told["patient_id"],
        issuer=told["issuer"],
        sop_instance_uid=None,
        instance_number=None,
        frame_number=None,
        score=None,
        reasons=(Reason("result-images-gone"),),
        algorithm_name=told["algorithm_name"],
        algorithm_version=told["algorithm_version"],
        circles_of=None,
        approval=None,
    )
