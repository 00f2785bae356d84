"""What an erasure leaves to people: what names the person elsewhere, and what others were given."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress

from sqlite_utils import Database

from node.operate.person import MESSAGE, OBJECT, SERIES, TABLE, Whole, not_indexed
from node.operate.words import finding, in_table, spoken_forms, telling
from node.outgoing.fhir import NAME as FHIR
from node.settings import Settings
from node.store.archive import Archive
from node.store.public_id import public_id

HEADER_BYTES = 128 * 1024
"""Of an image: how much of what stands before its pixels is read."""
PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
"""The tag of Pixel Data in either order of bytes."""

TOLD = """
SELECT DISTINCT r.queue, r.destination, r.identifier, r.status = 'withdrawn' OR EXISTS (
    SELECT 1 FROM record_result AS w WHERE w.queue = r.queue AND w.destination = r.destination
      AND w.subject = r.subject AND w.kind = r.kind AND w.version > r.version AND w.status = 'withdrawn')
FROM record_result AS r JOIN state_outgoing AS o
  ON o.kind = r.queue AND o.peer = r.destination AND CAST(o.key AS INTEGER) = r.result_id AND o.status = 'done'
WHERE r.subject = ?
"""
"""Results of a series that somebody was sent, and whether they were taken back."""
SENT_ON = "SELECT peer FROM state_outgoing_peer WHERE kind = 'forward' AND enrolled_up_to >= ? ORDER BY peer"
EXPORTS = "SELECT DISTINCT subject FROM record_audit WHERE action = 'export' ORDER BY 1"

IMAGES = """
SELECT series_instance_uid, sha256 FROM derived_instance JOIN fact_object USING (object_id)
UNION ALL
SELECT series_instance_uid, sha256 FROM derived_superseded JOIN fact_object USING (object_id)
"""


def still_named(db: Database, archive: Archive, *, words: Collection[str], study_ids: Collection[str]) -> Iterator[str]:
    """Each message, series, object and imported table in which a word stands; what an erasure takes begins so."""
    told = telling({*words, *spoken_forms(words)})
    if told:
        found = finding(told)
        for sha256, raw in db.execute("SELECT sha256, raw FROM fact_frame"):
            if found(bytes(raw)):
                yield f"{MESSAGE}{public_id(sha256)}"
        series = Counter(uid for uid, sha256 in db.execute(IMAGES) if found(_header(archive, sha256)))
        for uid, number in sorted(series.items()):
            yield f"{SERIES}{uid}, in the header of {number} images"
        for _, sha256 in not_indexed(db):
            with suppress(FileNotFoundError):
                if found(archive.path(sha256).read_bytes()):
                    yield f"{OBJECT}{public_id(sha256)}, which could not be read as an image"
        for path in archive.leftovers():
            with suppress(FileNotFoundError):
                if found(path.read_bytes()):
                    yield "an object that is being received, or was not to its end (the next start deletes it)"
    for import_id, content in db.execute("SELECT import_id, content FROM fact_import"):
        if in_table(bytes(content), (*words, *study_ids)):
            yield f"{TABLE}{import_id}"


def given_away(db: Database, settings: Settings, whole: Whole) -> Iterator[str]:
    """What others have of a person: results, images that were sent on, exports; asked before the rows are gone."""
    ids = [object_id for object_id, _ in whole.objects]
    marks = ", ".join("?" * len(ids))
    series = db.execute(f"SELECT DISTINCT series_instance_uid FROM derived_instance WHERE object_id IN ({marks})", ids)
    results: Counter[str] = Counter()
    for (uid,) in series.fetchall():
        for queue, destination, identifier, taken_back in db.execute(TOLD, [uid]).fetchall():
            receiver = settings.fhir.receivers.get(destination) if queue == FHIR else None
            if receiver is None or receiver.folder is None:
                results[destination] += not taken_back
            elif (path := receiver.folder / f"{identifier}.json").exists():
                yield f"the file {path}"
    yield from (f"{number} results at {destination}" for destination, number in sorted(results.items()) if number)
    if ids:
        yield from (f"images that were sent on to {peer}" for (peer,) in db.execute(SENT_ON, [min(ids)]).fetchall())
    if whole.numbers:
        yield from (f"exports for {receiver}" for (receiver,) in db.execute(EXPORTS).fetchall())


def _header(archive: Archive, sha256: str) -> bytes:
    """What stands in a file before its pixels; nothing of one that is gone."""
    try:
        with archive.path(sha256).open("rb") as file:
            content = file.read(HEADER_BYTES)
    except FileNotFoundError:
        return b""
    # The last one: those before it are of an icon.
    end = max(content.rfind(tag) for tag in PIXELS)
    return content[:end] if end >= 0 else content
