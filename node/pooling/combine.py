"""``vbq-node pool combine``: several sites' files in, the paper's model over all of them out.

The same files give the same bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

from analytics.methods.random_effects import RandomEffects
from analytics.paper.regression import EFFECT_UNITS, PREDICTORS
from analytics.pictures.forest import ForestLine, forest
from analytics.pooling.pool import Pool, Site, pool
from analytics.pooling.sums import OUTCOME
from analytics.reasons import Reason, codes, words
from node.analysis.cells import LABELS
from node.analysis.pages import Picture, clear, page_template, write_pages
from node.errors import InputError
from node.pooling.file import Content, checked
from node.pooling.signature import verified
from node.pooling.tables import NOT_POOLED, tables

WRITTEN = (
    "pool", "report", "pool_files", "pool_sites", "pool_model", "pool_effects", "pool_random", "pool_without",
    "pool_levels", "pool_correlations", "pool_quantiles", "pool_flow", "not_pooled", "forest_nlr", "forest_plr",
    "forest_levels",
)  # fmt: skip
"""Names of the files that a pool may write."""
LARGEST_BYTES = 4 * 1024**2
"""A file with a hundred scanners has a tenth of this."""


@dataclass(frozen=True, kw_only=True)
class PoolFile:
    """A site's file as read: ``sha256`` of its bytes, ``fingerprint`` of the key that signed it.

    ``compared`` says that a person named this fingerprint.
    """

    sha256: str
    fingerprint: str
    compared: bool
    content: Content


@dataclass(frozen=True, kw_only=True)
class Combined:
    """The files, in the order of their sites, and what comes of them."""

    files: tuple[PoolFile, ...]
    pool: Pool
    software: str

    def alerts(self) -> tuple[Reason, ...]:
        """What a person should look at before believing the numbers."""
        found = []
        unknown = tuple(one.content.site for one in self.files if not one.compared)
        if unknown:
            found.append(Reason("pool-signer-not-compared", {"sites": unknown}))
        measured = sorted({f"{m.name} {m.version}" for m in (one.content.measurement for one in self.files)})
        if len(measured) > 1:
            found.append(Reason("pool-measured-differently", {"versions": tuple(measured)}))
        return (*found, *self.pool.alerts)

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        files = [
            {
                "site": one.content.site, "sha256": one.sha256, "fingerprint": one.fingerprint,
                "fingerprint_compared": one.compared, "exported_on": one.content.exported_on.isoformat(),
                "software": one.content.software, "measurement": one.content.measurement.model_dump(),
                "guards": one.content.guards.model_dump(), "n": one.content.n, "flow": one.content.flow.model_dump(),
            }
            for one in self.files
        ]  # fmt: skip
        alerts = self.alerts()
        return {
            "software": self.software, "outcome": OUTCOME, "predictors": list(PREDICTORS), "files": files,
            **self.pool.to_json_dict(), "not_pooled": [dict(zip(("what", "why", "instead"), one, strict=True))
                                                       for one in NOT_POOLED],
            "alerts": words(alerts), "alert_codes": codes(alerts),
        }  # fmt: skip


def combine(paths: Sequence[Path], *, signers: Collection[str] = ()) -> Combined:
    """Read files, see that they can be pooled, and pool them.

    Parameters
    ----------
    signers
        Fingerprints that a person has compared; when there are any, a file by another key is refused.

    Raises
    ------
    InputError
        A file cannot be used, or the files do not go together.
    """
    trusted = {_hexadecimal(one) for one in signers}
    files = sorted((_read(path, trusted) for path in paths), key=lambda one: one.content.site)
    twice = sorted(site for site, times in Counter(one.content.site for one in files).items() if times > 1)
    if twice:
        raise InputError(f"several files of one site would count its patients twice: {', '.join(twice)}")
    for first, second in combinations(files, 2):
        same = "are signed by one key" if first.fingerprint == second.fingerprint else _same_sums(first, second)
        if same:
            raise InputError(
                f"the files of {first.content.site} and {second.content.site} {same}: their patients would count twice"
            )
    forms = sorted({one.content.measurement.form for one in files})
    if len(forms) > 1:
        raise InputError(f"some sites give the mean form of VBQ, others the median form: {', '.join(forms)}")
    try:
        found = pool([Site(name=one.content.site, sums=one.content.sums()) for one in files])
    except ValueError as error:
        raise InputError(f"the sums cannot be pooled: {error}") from None
    return Combined(files=tuple(files), pool=found, software=f"vbq-node {version('vbq-node')}")


def _same_sums(first: PoolFile, second: PoolFile) -> str | None:
    """That a scanner's sums stand in both files: no two cohorts have the same to all digits."""
    shared = [one.scanner for one in first.content.groups for other in second.content.groups if one.xx == other.xx]
    return f"hold the same sums ({', '.join(shared)})" if shared else None


def _hexadecimal(text: str) -> str:
    plain = text.replace(" ", "").replace(":", "").lower()
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise InputError(f"a fingerprint is 64 hex digits, not {text!r}")
    return plain


def _read(path: Path, trusted: Collection[str]) -> PoolFile:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        content, fingerprint = _signed(raw, trusted)
        found = checked(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return PoolFile(
        sha256=hashlib.sha256(raw).hexdigest(), fingerprint=fingerprint, compared=bool(trusted), content=found
    )


def _signed(raw: bytes, trusted: Collection[str]) -> tuple[dict[str, Any], str]:
    if len(raw) > LARGEST_BYTES:
        raise InputError("it is larger than any pool file")
    content, fingerprint = verified(raw.decode("utf-8", errors="replace"))
    if trusted and fingerprint not in trusted:
        raise InputError(f"it is signed by {fingerprint}, which is none of the signers named")
    return content, fingerprint


def write(run: Combined, folder: Path) -> None:
    """Write ``pool.json``, tables, figures and ``report.html`` into a folder, which is made; what an earlier run left
    there goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder, WRITTEN)
    text = json.dumps(run.to_json_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / "pool.json").write_text(text + "\n", encoding="utf-8")
    template = page_template("pool.html.j2", package="node.pooling")
    shown = tables(run.pool, [one.content for one in run.files], run.to_json_dict()["files"])
    write_pages(folder, template, run=run, tables=shown, pictures=_pictures(run.pool))


def _pictures(found: Pool) -> list[Picture]:
    drawn = [_forest_of(name, found) for name in EFFECT_UNITS]
    if len(found.levels) > 1:
        lines = [
            ForestLine(
                label=f"{one.site}: {one.scanner}", n=one.n, b=one.offset, ci_low=one.ci_low, ci_high=one.ci_high
            )
            for one in found.levels
        ]
        caption = (
            "Level of VBQ of each scanner against the one with most patients, at equal predictors, 95 % intervals."
        )
        figure = forest(lines, x_label="VBQ, difference from the reference scanner")
        drawn.append(Picture(name="forest_levels", caption=caption, figure=figure))
    return drawn


def _forest_of(name: str, found: Pool) -> Picture:
    """Each site's own coefficient, the common one, the mean of all sites, and where a further site would lie."""
    per = EFFECT_UNITS[name]
    step = f" per {per:g}" if per != 1 else ""
    lines = [
        ForestLine(label=site.site, n=site.n, b=one.b * per, ci_low=one.ci_low * per, ci_high=one.ci_high * per)
        for site in found.sites
        for one in site.terms
        if one.term == name
    ]
    lines += [
        ForestLine(
            label="Common slope", n=found.n, b=one.b * per, ci_low=one.ci_low * per,
            ci_high=one.ci_high * per, summary=True,
        )
        for one in found.terms
        if one.term == name
    ]  # fmt: skip
    mean = found.random[name]
    if isinstance(mean, RandomEffects):
        ends = mean.prediction_low, mean.prediction_high
        lines.append(
            ForestLine(
                label="Mean of sites (random effects)", n=None, b=mean.b * per, ci_low=mean.ci_low * per,
                ci_high=mean.ci_high * per, summary=True,
                beyond=None if ends[0] is None or ends[1] is None else (ends[0] * per, ends[1] * per),
            )
        )  # fmt: skip
    caption = (
        f"VBQ on {LABELS[name]}{step} by site with 95 % intervals, adjusted as in the model; diamonds: all sites; "
        "thin line: where a further site is expected (95 %)."
    )
    figure = forest(lines, x_label=f"VBQ{step or ' per 1'} {LABELS[name]}")
    return Picture(name=f"forest_{name}", caption=caption, figure=figure)
