"""A node of this version on the data folder of an earlier one, as a user starts it."""

from pathlib import Path

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
    for view in set(golden.views) - {"messages", "problems"}:
        assert after[view] == lines(golden.views[view]), view
    assert set(lines(golden.views["messages"])) < set(after["messages"])
    assert len(list((golden.folder / "backups").iterdir())) == 1
