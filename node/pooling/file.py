"""The file that a site gives away: its form, checked field by field, and the sums that it stands for.

Nothing else is let through: a field that the form does not have makes the file unusable.
"""

from datetime import date
from math import isfinite
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from analytics.methods.correlation import Correlation
from analytics.paper.regression import PREDICTORS
from analytics.pooling.disclosure import MINIMUM_CELL
from analytics.pooling.histogram import Histogram
from analytics.pooling.sums import CORRELATED, MINIMUM_ROWS, OUTCOME, SiteSums, Sums
from node.errors import InputError

FORMAT: Literal["vbq-node pool"] = "vbq-node pool"
VERSION: Literal[1] = 1
LEAST_MINIMUM = 3
"""A site may lower the fewest patients of a cell to this, no further."""
ROUNDING = 1e-9
"""Share by which sums may miss what no sums of patients can."""


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("not finite")
    return value


Number = Annotated[float, AfterValidator(_finite)]
Row = Annotated[list[Number], Field(min_length=len(PREDICTORS), max_length=len(PREDICTORS))]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cells(_Part):
    """A histogram: one count more than edges."""

    edges: list[Number]
    counts: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or self.edges != sorted(set(self.edges)):
            raise ValueError("counts do not fit the edges")
        if any(count % MINIMUM_CELL for count in self.counts):
            raise ValueError(f"a count is not a multiple of {MINIMUM_CELL}")
        return self

    def histogram(self) -> Histogram:
        """As the pool takes it."""
        return Histogram(edges=tuple(self.edges), counts=tuple(self.counts))


class Rho(_Part):
    """Spearman's ρ with VBQ, and the patients behind it."""

    rho: Annotated[Number, Field(ge=-1, le=1)]
    n: Annotated[int, Field(ge=MINIMUM_ROWS)]


class Group(_Part):
    """Sums of one scanner, or of several added up (then without means, correlations and histogram)."""

    scanner: Name
    strata: Annotated[int, Field(ge=1)]
    n: Annotated[int, Field(ge=MINIMUM_ROWS)]
    means: dict[str, Number] | None
    xx: Annotated[list[Row], Field(min_length=len(PREDICTORS), max_length=len(PREDICTORS))]
    xy: Row
    yy: Annotated[Number, Field(gt=0)]
    spearman: dict[str, Rho] | None
    vbq: Cells | None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        alone = self.strata == 1
        if alone != (self.means is not None) or alone != (self.vbq is not None) or alone != (self.spearman is not None):
            raise ValueError("means, Spearman and histogram are given for one scanner, and for no more than one")
        if self.means is not None and self.means.keys() != {*PREDICTORS, OUTCOME}:
            raise ValueError("means are not those of the model")
        if self.spearman is not None and not self.spearman.keys() <= set(CORRELATED):
            raise ValueError("a correlation is not one of the paper's")
        xy = np.array(self.xy)
        whole = np.block([[np.array(self.xx), xy[:, None]], [xy[None, :], np.array([[self.yy]])]])
        scale = np.sqrt(np.maximum(np.diag(whole), 0))
        scale[scale == 0] = 1
        scaled = whole / np.outer(scale, scale)
        if np.abs(scaled - scaled.T).max() > ROUNDING or np.linalg.eigvalsh(scaled).min() < -ROUNDING * len(scaled):
            raise ValueError("no patients can have these sums of products")
        return self

    def sums(self) -> Sums:
        """As the pool takes them."""
        spearman = None
        if self.spearman is not None:
            spearman = {name: _correlation(self.spearman.get(name)) for name in CORRELATED}
        return Sums(
            scanner=self.scanner,
            strata=self.strata,
            n=self.n,
            xx=np.array(self.xx),
            xy=np.array(self.xy),
            yy=self.yy,
            means=self.means,
            correlations=spearman,
            vbq=None if self.vbq is None else self.vbq.histogram(),
        )


class Guards(_Part):
    """What the sums were held to."""

    minimum_cell: Annotated[int, Field(ge=LEAST_MINIMUM)]
    minimum_rows: Annotated[int, Field(ge=MINIMUM_ROWS)]


class Measured(_Part):
    """By what VBQ was measured: the automatic measurement of that node, and the form of the score."""

    name: Name
    version: Name
    form: Literal["mean", "median"]


class Model(_Part):
    """Which model the sums are for; ``predictors`` in the order of rows and columns."""

    outcome: Literal["vbq"]
    predictors: list[Name]

    @model_validator(mode="after")
    def _the_papers(self) -> Self:
        if self.predictors != list(PREDICTORS):
            raise ValueError("the predictors are not those of the paper, in its order")
        return self


class FlowCounts(_Part):
    """Rows of the cohort and why others are not in the sums: rounded to multiples of 5, ``null`` for fewer than 5."""

    rows: int | None
    left_out: dict[Name, int | None]


class Content(_Part):
    """All that a site gives away."""

    format: Literal["vbq-node pool"]
    version: Literal[1]
    site: Name
    exported_on: date
    software: Name
    measurement: Measured
    model: Model
    guards: Guards
    n: int
    groups: Annotated[list[Group], Field(min_length=1)]
    ratios: dict[str, Cells]
    flow: FlowCounts

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.n != sum(group.n for group in self.groups):
            raise ValueError("n is not the sum of the groups")
        if len({group.scanner for group in self.groups}) != len(self.groups) or self.ratios.keys() != {"nlr", "plr"}:
            raise ValueError("a scanner is given twice, or a histogram is missing")
        return self

    def sums(self) -> SiteSums:
        """As the pool takes them; whose rows they are only the site knows."""
        return SiteSums(
            groups=tuple(group.sums() for group in self.groups),
            members=(),
            ratios={name: cells.histogram() for name, cells in self.ratios.items()},
            n_rows=self.n,
            doubts=(),
        )


def _correlation(rho: Rho | None) -> Correlation:
    if rho is None:
        return Correlation(rho=None, p=None, n=0, ci_low=None, ci_high=None)
    return Correlation(rho=rho.rho, p=None, n=rho.n, ci_low=None, ci_high=None)


def group_of(sums: Sums) -> Group:
    """The sums as they stand in the file."""
    found = (sums.correlations or {}).items()
    return Group(
        scanner=sums.scanner,
        strata=sums.strata,
        n=sums.n,
        means=sums.means,
        xx=sums.xx.tolist(),
        xy=sums.xy.tolist(),
        yy=sums.yy,
        spearman=None
        if sums.correlations is None
        else {name: Rho(rho=one.rho, n=one.n) for name, one in found if one.rho is not None},
        vbq=None if sums.vbq is None else cells_of(sums.vbq),
    )


def cells_of(histogram: Histogram) -> Cells:
    """A histogram as it stands in the file."""
    return Cells(edges=list(histogram.edges), counts=list(histogram.counts))


def checked(content: dict[str, object]) -> Content:
    """The content of a file by its form.

    Raises
    ------
    InputError
        It is of another version, or something in it cannot be.
    """
    if content.get("format") == FORMAT and content.get("version") != VERSION:
        raise InputError(f"it is of version {content.get('version')} of the form; this software reads {VERSION}")
    try:
        return Content.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise InputError(f"{where}: {first['msg']}") from None
