"""Studies that are to be judged again: marked when an image of them comes, goes or takes the place of another."""

from sqlite_utils import Database

from node.store.failures import Unit, forget_failure
from node.store.pending import touch, touch_known
from node.store.problems import forget_problems


def make_stale(db: Database, *, study: str, series: str) -> None:
    """Have the study (and that of the series, should the image say it is of another one) judged again when quiet.

    Until then what was derived of it holds: one late image must not unlink an operation in the meantime.
    """
    studies = {study} | {
        uid
        for (uid,) in db.execute(
            "SELECT study_instance_uid FROM derived_series WHERE series_instance_uid = ?", [series]
        ).fetchall()
    }
    for uid in studies:
        db.execute("UPDATE derived_series SET stale = 1 WHERE study_instance_uid = ?", [uid])
        forget_problems(db, "catalogue", "study", uid)
        forget_failure(db, "catalogue", Unit("study", uid))


def make_named_stale(db: Database, *, note: int) -> None:
    """Have the studies judged again in which the images lie that a rejection note (an object) names."""
    for study, series in db.execute(
        "SELECT DISTINCT i.study_instance_uid, i.series_instance_uid FROM derived_rejection AS j "
        "JOIN derived_instance AS i USING (sop_instance_uid) WHERE j.object_id = ?",
        [note],
    ).fetchall():
        make_stale(db, study=study, series=series)


def take_away(db: Database, series: str) -> None:
    """Take the row of an earlier judgement away; whoever the series belonged to by it is derived anew.

    There may be one although the study is new: a series whose images name two studies is judged with each of them.
    """
    for authority, patient_id in db.execute(
        "DELETE FROM derived_series WHERE series_instance_uid = ? RETURNING patient_authority, patient_id", [series]
    ).fetchall():
        if authority is not None:
            touch(db, authority, patient_id)
    db.execute("DELETE FROM derived_series_names WHERE series_instance_uid = ?", [series])


def take_claims_away(db: Database, study: str) -> None:
    """Forget whom the images of a study named without being linked; they are derived anew."""
    for authority, patient_id in db.execute(
        "DELETE FROM derived_claim WHERE study_instance_uid = ? RETURNING authority, patient_id", [study]
    ).fetchall():
        touch_known(db, authority, patient_id)


def forget_empty(db: Database, *, study: str, series: str) -> None:
    """Forget what was derived of a series, and of a study, in which no object stands any more."""
    if not db.execute("SELECT 1 FROM derived_instance WHERE series_instance_uid = ? LIMIT 1", [series]).fetchone():
        take_away(db, series)
        db.execute("DELETE FROM derived_measurement WHERE series_instance_uid = ?", [series])
        forget_failure(db, "catalogue", Unit("series", series))
    if not db.execute("SELECT 1 FROM derived_instance WHERE study_instance_uid = ? LIMIT 1", [study]).fetchone():
        take_claims_away(db, study)
        db.execute("DELETE FROM derived_unsent_series WHERE study_instance_uid = ?", [study])
