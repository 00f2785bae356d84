"""``vbq-node pool export``: the sums of this node's cohort as one signed file, never those of a few patients."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

import pandas as pd
from sqlite_utils import Database

from analytics.paper.regression import PREDICTORS
from analytics.pooling.disclosure import MINIMUM_CELL, fewest_shown, rounded
from analytics.pooling.sums import MINIMUM_ROWS, OUTCOME, SiteSums, site_sums
from analytics.reasons import Reason
from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.clock import to_text
from node.errors import InputError
from node.nightly.cohort import cohort_frame, read_snapshot
from node.pooling.file import (
    FORMAT,
    VERSION,
    Content,
    FlowCounts,
    Group,
    Guards,
    Measured,
    Model,
    cells_of,
    group_of,
)
from node.pooling.signature import fingerprint, signed, site_key
from node.settings import Settings
from node.store.database import insert, writing

SEVERAL = "several reasons"
"""Under which those are counted who are left out for a reason that few share."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file to be given away: its text, whose key signed it, and what is to be known of it."""

    text: str
    fingerprint: str
    n: int
    doubts: tuple[Reason, ...]


def export(db: Database, settings: Settings, *, now: datetime, minimum: int = MINIMUM_CELL) -> Exported:
    """Add up the eligible cohort as it stands, sign the sums, and keep as a record what was given away.

    Parameters
    ----------
    minimum
        Fewest patients in a cell of the yes/no columns.

    Raises
    ------
    InputError
        Nothing may be given away; the message says why.
    """
    key = site_key(settings.storage.folder)
    with writing(db):
        cohort = cohort_frame(read_snapshot(db).text)
        sums = site_sums(cohort, minimum=minimum)
        if isinstance(sums, Reason):
            raise InputError(str(sums))
        members = [dict(_members(cohort, ids, _patients(db))) for ids in sums.members]
        earlier: list[dict[str, str]] = [
            one for (text,) in db.execute("SELECT members FROM record_pool_export") for one in json.loads(text)
        ]
        few = fewest_shown([*earlier, *members])
        if few is not None:
            raise InputError(str(Reason("pool-differs-by-few", {"patients": few, "minimum": MINIMUM_CELL})))
        text = signed(_content(db, settings, sums, now=now, minimum=minimum).model_dump(mode="json"), key)
        row = {"exported_at": to_text(now), "n": sums.n, "content": text, "members": json.dumps(members)}
        insert(db, "record_pool_export", [row])
    return Exported(text=text, fingerprint=fingerprint(key), n=sums.n, doubts=sums.doubts)


def _content(db: Database, settings: Settings, sums: SiteSums, *, now: datetime, minimum: int) -> Content:
    return Content(
        format=FORMAT,
        version=VERSION,
        site=settings.site.name,
        exported_on=now.astimezone(settings.site.zone).date(),
        software=f"vbq-node {version('vbq-node')}",
        measurement=Measured(name=AUTOMATIC_NAME, version=AUTOMATIC_VERSION, form=settings.measurement.form),
        model=Model(outcome="vbq", predictors=list(PREDICTORS)),
        guards=Guards(minimum_cell=minimum, minimum_rows=MINIMUM_ROWS),
        n=sums.n,
        groups=_groups(sums),
        ratios={"nlr": cells_of(sums.ratios["nlr"]), "plr": cells_of(sums.ratios["plr"])},
        flow=_flow(db, sums),
    )


def _groups(sums: SiteSums) -> list[Group]:
    return [group_of(one) for one in sums.groups]


def _flow(db: Database, sums: SiteSums) -> FlowCounts:
    """Everybody with an operation or an imported row, and by the first reason who is not in the sums."""
    codes = [
        json.loads(found)[0] for (found,) in db.execute("SELECT exclusion_reason_codes FROM cohort WHERE eligible = 0")
    ]
    left = Counter({**Counter(codes), "not complete, or of a scanner left out": sums.n_rows - sums.n})
    few = {code for code, count in left.items() if 0 < count < MINIMUM_CELL}
    shown = {code: rounded(count) for code, count in sorted(left.items()) if count and code not in few}
    if few:
        shown[SEVERAL] = rounded(sum(left[code] for code in few))
    return FlowCounts(rows=rounded(len(codes) + sums.n_rows), left_out=shown)


def _patients(db: Database) -> Mapping[str, str]:
    """By each episode the first one of its patient, who is named by it; an imported row is a patient of its own."""
    return dict(db.execute("SELECT id, min(id) OVER (PARTITION BY patient) FROM links").fetchall())


def _members(cohort: pd.DataFrame, ids: tuple[str, ...], patients: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A hash of each row as it is in the sums, and whose it is."""
    first = cohort.drop_duplicates("id", keep="first").set_index("id")
    for name in ids:
        row = [first.at[name, column] for column in (OUTCOME, *PREDICTORS, "scanner_stratum")]
        yield hashlib.sha256(json.dumps([name, row]).encode()).hexdigest()[:32], patients.get(name, name)
