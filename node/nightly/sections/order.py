"""The sections of the report, in the order of its body; a new one is a module, two templates and a line here."""

from node.nightly.sections import changes, counts, cutoffs, drift, missed, regression, resolved, tiers, waiting
from node.nightly.sections.section import Read

SECTIONS: tuple[Read, ...] = (
    tiers.read,
    changes.read,
    waiting.read,
    resolved.read,
    cutoffs.read,
    regression.read,
    drift.read,
    counts.read,
    missed.read,
)
