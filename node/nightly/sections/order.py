"""The sections of the report, in the order of its body; a new one is a module, two templates and a line here."""

from node.nightly.sections import (
    counts,
    cutoffs,
    drift,
    missed,
    readers,
    regression,
    resolved,
    tiers,
    upcoming,
    waiting,
)
from node.nightly.sections.section import Read

SECTIONS: tuple[Read, ...] = (
    tiers.read,
    upcoming.read,
    waiting.read,
    resolved.read,
    cutoffs.read,
    regression.read,
    drift.read,
    readers.read,
    counts.read,
    missed.read,
)
