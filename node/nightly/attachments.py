"""The upcoming operations as a table, for who wants it attached."""

import csv
import io
from collections.abc import Iterator

from node.analysis.cells import guarded
from node.nightly.flags import Standing
from node.nightly.report import Content
from node.nightly.sections.tiers import Tiers
from node.nightly.sections.upcoming import Upcoming

CSV_COLUMNS = (
    "id", "patient_number", "surgery_date", "tier", "tonight", "was", "vbq", "vbq_cut", "vbq_error", "near_cut", "nlr",
    "nlr_cut", "plr", "plr_cut", "scanner", "cut_of", "values_against_cuts", "threshold_version", "fit_id", "night",
    "p_flagged", "p_intermediate", "p_lower",
)  # fmt: skip


def operations_csv(content: Content) -> bytes:
    """Every upcoming operation with a tier that this recipient is told of, one row each, in UTF-8.

    ``tonight`` says whether the tier is ``new`` or ``changed`` tonight, ``was`` what it was before;
    ``patient_number`` is empty unless the recipient's policy says otherwise. Values and cuts are numbers with all their
    digits: VBQ is high at ``vbq_cut`` (which is ``cut_of``), a ratio above its cut; ``vbq_error`` is the standard error
    of measurement of the VBQ, ``p_flagged``, ``p_intermediate`` and ``p_lower`` are how likely each tier is given the
    errors of measurement.
    """
    changes = {flag.episode: flag for flag in content.section(Upcoming).changes if flag.change != "resolved"}
    rows = io.StringIO(newline="")
    writer = csv.DictWriter(rows, CSV_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for one in _told(content):
        change = changes.get(one.episode)
        row: dict[str, str | float] = {
            "id": one.episode,
            "patient_number": content.audience.numbers.get(one.episode, ""),
            "surgery_date": one.surgery_date,
            "tier": one.tier.value,
            "tonight": change.change if change else "",
            "was": change.previous.value if change and change.previous else "",
            "vbq": one.values.vbq,
            "vbq_cut": one.cuts.vbq,
            "vbq_error": one.vbq_error,
            "near_cut": "yes" if one.near_cut else "no",
            "nlr": one.values.nlr,
            "nlr_cut": one.cuts.nlr,
            "plr": one.values.plr,
            "plr_cut": one.cuts.plr,
            "scanner": one.values.scanner or "",
            "cut_of": str(one.cut_of),
            "values_against_cuts": str(one.explanation),
            "threshold_version": one.version,
            "fit_id": content.fit_id,
            "night": content.night.isoformat(),
            "p_flagged": round(one.odds.flagged, 4),
            "p_intermediate": round(one.odds.intermediate, 4),
            "p_lower": round(one.odds.lower, 4),
        }
        writer.writerow({name: guarded(value) for name, value in row.items()})
    return rows.getvalue().encode("utf-8")


def _told(content: Content) -> Iterator[Standing]:
    audience = content.audience
    return (one for one in content.section(Tiers).theirs(audience) if audience.is_told(one.tier))
