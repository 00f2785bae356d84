"""Small pictures of the slices that were measured, for the worklist of the mail."""

from collections.abc import Callable
from functools import partial

from sqlite_utils import Database

from node.measure.pictures import draw_small, stored_reading
from node.nightly.report import Content
from node.nightly.sections.section import Figure
from node.nightly.sections.upcoming import LISTED, Upcoming
from node.settings import Settings
from node.store.archive import Archive
from node.store.failures import tried

MOST = 40
"""Patients with a picture, the soonest first: each is some ten kilobytes of a mail."""


def slice_pictures(db: Database, settings: Settings, content: Content) -> dict[str, Figure]:
    """By episode; none of an MRI whose slice is gone or cannot be drawn, of which `problems` tells."""
    archive = Archive(settings.storage.folder)
    listed = [one for one in content.section(Upcoming).rows if one.standing.tier in LISTED][:MOST]
    found = {}
    for number, one in enumerate(listed):
        drawn = _drawn(partial(_draw, db, archive, one.standing.episode))
        if drawn is not None:
            words = f"Slice that was measured, with its circles; VBQ {one.standing.values.vbq:.2f}"
            found[one.standing.episode] = Figure(name=f"slice{number}", png=drawn, alt_text=words)
    return found


def _draw(db: Database, archive: Archive, episode: str) -> bytes | None:
    row = db.execute("SELECT series_instance_uid FROM derived_link WHERE episode = ?", [episode]).fetchone()
    if row is None or row[0] is None:
        return None
    return draw_small(db, archive, stored_reading(db, row[0]))


def _drawn(draw: Callable[[], bytes | None]) -> bytes | None:
    outcome = tried(draw)
    return None if outcome.error is not None else outcome.result()
