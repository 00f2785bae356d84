"""Plugin script for Orthanc: shows at a series what vbq-node has measured in it.

It reads the node's snapshot (read-only, renewed while the node writes) whenever somebody looks, and keeps nothing.
"""

import html
import json
import sqlite3
from urllib.parse import quote

import orthanc

SETTINGS = json.loads(orthanc.GetConfiguration()).get("VbqNode", {})
SNAPSHOT = SETTINGS.get("Snapshot", "/var/lib/vbq-node/snapshots/node.db")
PROTOCOL = SETTINGS.get("Protocol", "")
"""Study protocol or ethics number, printed with every result; without it none is shown."""
TWO_SIDED_95 = 1.96

MEASURED = """
SELECT status, source, vbq_mean, vbq_sd, reasons, algorithm_name, algorithm_version, sop_instance_uid, frame_number,
       rois
FROM measurements WHERE series_instance_uid = ? AND current = 1 AND in_effect = 1
"""
RECEIVED = "SELECT state, reasons, instances FROM series WHERE series_instance_uid = ?"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>VBQ</title>
<style>
body {{ font: 1rem/1.5 sans-serif; margin: 1.5rem; max-width: 60rem }}
svg {{ width: 100%; max-height: 80vh }}
circle {{ fill: none; stroke: #ffd400; vector-effect: non-scaling-stroke }}
</style></head><body>
<h1>Vertebral bone quality</h1>
{content}
<p>Research use only; a person decides. {protocol}</p>
</body></html>
"""


def ask(query, uid):
    """The rows of a query about a series, each as a dictionary."""
    db = sqlite3.connect(f"file:{quote(SNAPSHOT)}?mode=ro", uri=True)
    try:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query, [uid])]
    finally:
        db.close()


def picture(row):
    """The slice as Orthanc renders it, with the circles over it."""
    found = json.loads(orthanc.RestApiPost("/tools/lookup", row["sop_instance_uid"]))
    ids = [one["ID"] for one in found if one["Type"] == "Instance"]
    if not ids or not row["rois"]:
        return ""
    tags = json.loads(orthanc.RestApiGet(f"/instances/{ids[0]}/simplified-tags"))
    rows, columns = int(tags["Rows"]), int(tags["Columns"])
    frame = f"frames/{row['frame_number'] - 1}/" if row["frame_number"] else ""
    # Rows and columns are centres of pixels; the picture counts from the corner of the first one.
    circles = "".join(
        f'<circle cx="{one["col"] + 0.5:.2f}" cy="{one["row"] + 0.5:.2f}" r="{one["radius_px"]:.2f}">'
        f"<title>{html.escape(name)}</title></circle>"
        for name, one in json.loads(row["rois"]).items()
    )
    source = f"../../instances/{ids[0]}/{frame}preview"
    return (
        f'<svg viewBox="0 0 {columns} {rows}" role="img" aria-label="slice with the five circles">'
        f'<image href="{source}" width="{columns}" height="{rows}"/>{circles}</svg>'
    )


def reasons(text):
    """Reasons of the views as a list of HTML."""
    return "".join(f"<li>{html.escape(str(one))}</li>" for one in json.loads(text or "[]"))


def shown(uid):
    """What is known of a series, as HTML; only what is measured has a number."""
    measured = ask(MEASURED, uid)
    if not measured:
        received = ask(RECEIVED, uid)
        if not received:
            return "<p>Not at vbq-node.</p>"
        row = received[0]
        return f"<p>Status: <b>{html.escape(row['state'])}</b></p><ul>{reasons(row['reasons'])}</ul>"
    row = measured[0]
    parts = [f"<p>Status: <b>{html.escape(row['status'])}</b>, by {html.escape(row['source'])}</p>"]
    if row["status"] == "measured":
        sd = row["vbq_sd"]
        reach = f" ± {TWO_SIDED_95 * sd:.2f} (95 %)" if sd is not None else ""
        parts.append(f"<p>VBQ <b>{row['vbq_mean']:.2f}</b>{reach}</p>")
    version = " ".join(str(one) for one in (row["algorithm_name"], row["algorithm_version"]) if one)
    parts.append(f"<ul>{reasons(row['reasons'])}</ul><p>{html.escape(version)}</p>{picture(row)}")
    return "".join(parts)


def answer(output, uri, **request):
    """The page of a series."""
    if request["method"] != "GET":
        output.SendMethodNotAllowed("GET")
        return
    try:
        if not PROTOCOL:
            content = "<p>Nothing is shown: VbqNode.Protocol is not set in Orthanc's configuration.</p>"
        else:
            series = json.loads(orthanc.RestApiGet(f"/series/{request['groups'][0]}"))
            content = shown(series["MainDicomTags"]["SeriesInstanceUID"])
    except Exception as error:  # noqa: BLE001  a page that says what is wrong, in place of one of Orthanc's own
        orthanc.LogError(f"vbq-node: {type(error).__name__}: {error}")
        content = f"<p>It cannot be read ({type(error).__name__}); Orthanc's log says more.</p>"
    page = PAGE.format(content=content, protocol=html.escape(PROTOCOL))
    output.AnswerBuffer(page, "text/html; charset=utf-8")


orthanc.RegisterRestCallback("/vbq-node/series/([-0-9a-f]+)", answer)
# A button beside those of Orthanc Explorer, on the page of a series.
orthanc.ExtendOrthancExplorer("""
$('#series').live('pagebeforecreate', function() {
  var button = $('<a>').attr('data-role', 'button').attr('href', '#').attr('data-icon', 'info').text('VBQ');
  button.insertBefore($('#series-delete').parent().parent());
  button.click(function() { window.open('../vbq-node/series/' + $.mobile.pageData.uuid); return false; });
});
""")
