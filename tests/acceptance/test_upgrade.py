"""A node of this version on the data folder of an earlier one, as a user starts it."""

from pathlib import Path

from analytics.vbq.version import AUTOMATIC_VERSION
from tests.acceptance.harness import Node, mllp_send
from tests.node.golden_data import lines, shown, unpack

NEW = b"MSH|^~\\&|LIS|LAB|VBQ|SITE|20261122||ADT^A08^ADT_A01|new-1|P|2.5\rPID|1||0012345^^^DEMO||||19550704|F\r"


def test_a_node_upgrades_acknowledges_from_the_first_second_and_shows_what_it_showed(tmp_path: Path) -> None:
    golden = unpack("4ec8441", tmp_path)
    node = Node(tmp_path)
    node.config.write_text(
        node.config.read_text()
        .replace("[site]\n", "[site]\nname = 'Golden'\n")
        .replace("quiet_s = 1.0", "quiet_s = 2.0")
    )
    assert node.data == golden.folder
    node.start(timeout_s=180)
    try:
        (answer,) = mllp_send(node.hl7_port, NEW)
        assert b"\rMSA|AA|new-1" in answer
        node.settle()
        with node.database() as db:
            after = shown(db, golden.views)
    finally:
        node.stop()
    automatic = [row for row in golden.views["measurements"] if row["source"] == "auto"]
    measured_anew = {row["algorithm_version"] for row in automatic} != {AUTOMATIC_VERSION}
    for view in set(golden.views) - {"messages", "problems"} - ({"measurements", "series"} if measured_anew else set()):
        assert after[view] == lines(golden.views[view]), view
    # Another version of the algorithm measures anew and keeps what the earlier one measured, as of an earlier state.
    kept = lines(row | ({"current": 0, "in_effect": 0} if measured_anew else {}) for row in automatic)
    assert set(kept) <= set(after["measurements"])
    assert set(lines(golden.views["messages"])) < set(after["messages"])
    assert len(list((golden.folder / "backups").iterdir())) == 1
