"""What the node is made of: all of the lock and the networks, under licences that may be; known holes are asked for."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from node.errors import InputError
from node.operate import components as module
from node.operate.components import NETWORKS, bill_of_materials, components, forbidden, licence_list
from tests.readme import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
AUDIT = ROOT / ".ci" / "audit"


@pytest.fixture(scope="module")
def found() -> list[module.Component]:
    return components(LOCK)


def test_every_package_that_the_node_runs_on_has_a_licence_and_none_is_gpl(found: list[module.Component]) -> None:
    assert forbidden(found) == []
    assert {"numpy", "pydicom", "pynetdicom", "onnxruntime", "starlette"} <= {one.name for one in found}


@pytest.mark.parametrize(
    ("words", "may_be"),
    [
        ("MIT", True), ("Apache-2.0 OR BSD-3-Clause", True), ("MPL-2.0", True), ("LGPL-2.1-or-later", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", True), ("", False), ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0", False), ("GPLv3", False), ("GNU General Public License v2 (GPLv2)", False),
        ("GNU Affero General Public License v3", False),
    ],
)  # fmt: skip
def test_licences_that_must_not_be(found: list[module.Component], words: str, may_be: bool) -> None:
    assert (forbidden([replace(found[0], licence=words)]) == []) == may_be


def test_the_bill_of_materials_can_be_read_and_has_all_of_it(found: list[module.Component]) -> None:
    bill = bill_of_materials(found)
    read = Bom.from_json(json.loads(json.dumps(bill)))
    assert read.validate()
    names = {one.name: one for one in read.components}
    assert names.keys() == {one.name for one in found} | set(NETWORKS)
    for network in NETWORKS:
        sha256 = hashlib.sha256((ROOT / "analytics" / "vbq" / network).read_bytes()).hexdigest()
        assert [one.content for one in names[network].hashes] == [sha256]
    assert all(one.licenses for one in names.values())
    for one in found:
        assert one.hashes, one.name
    assert bill == bill_of_materials(components(LOCK))
    assert "\nnumpy " in licence_list(found)


def test_another_environment_than_the_lock_is_refused() -> None:
    with pytest.raises(InputError, match=r"numpy .* is installed, the lock has 0.1: make install"):
        components("numpy==0.1 \\\n    --hash=sha256:" + "0" * 64)
    with pytest.raises(InputError, match="nothing-of-this-name of the lock is not installed"):
        components("nothing-of-this-name==1\n")
    assert components("nothing-of-this-name==1 ; sys_platform == 'win32' \\\n") == []


HOLE = {"name": "idna", "version": "3.6", "vulns": [{"id": "PYSEC-2024-60", "fix_versions": ["3.7"]}]}
KNOWN = {"name": "click", "version": "8.1", "vulns": []}
UNKNOWN = {"name": "attrs", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (None, 0, "!!! NO PACKAGE WAS LOOKED UP"),
        (2, 1, "pip-audit was called wrongly"),
        ([UNKNOWN], 0, "!!! NO PACKAGE WAS LOOKED UP"),
        ([KNOWN, UNKNOWN], 0, "!!! not looked up, as pypi does not know them: attrs !!!"),
        ([KNOWN], 0, "1 packages looked up at pypi, 0 known holes"),
        ([KNOWN, HOLE], 1, "idna 3.6: PYSEC-2024-60, mended in 3.7"),
    ],
)
def test_known_holes_fail_and_an_unreachable_database_of_them_is_said(
    tmp_path: Path, answer: list[object] | int | None, code: int, said: str
) -> None:
    program = tmp_path / "pip-audit"
    (tmp_path / "answer").write_text(json.dumps({"dependencies": answer}))
    wrote = (
        f"exit {answer or 1}"
        if not isinstance(answer, list)
        else f'while [ "$1" != --output ]; do shift; done; cp {tmp_path}/answer "$2"'
    )
    program.write_text(f"#!/bin/sh\n{wrote}\n")
    program.chmod(0o755)
    done = subprocess.run([sys.executable, AUDIT, program], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


PIP_AUDIT = Path(sys.prefix) / "audit" / "bin" / "pip-audit"


@contextmanager
def advisories(holes: dict[str, dict[str, object]], *, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A stand-in for OSV's POST /v1/query: its address, and the packages that it was asked for."""
    asked: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = query["package"]["name"]
            asked.append(f"{name}=={query['version']}")
            content = json.dumps({"vulns": [holes[name]]} if name in holes else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
        finally:
            server.shutdown()


@pytest.mark.skipif(not PIP_AUDIT.exists(), reason="needs pip-audit: make audit")
@pytest.mark.parametrize("case", ["a hole", "none", "no answer"])
def test_pip_audit_itself_asks_a_database_of_advisories_for_each_package(case: str) -> None:
    version = next(line.split("==")[1].split()[0] for line in LOCK.splitlines() if line.startswith("numpy=="))
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
    affected = [{"package": {"name": "numpy", "ecosystem": "PyPI"}, "ranges": ranges}]
    hole: dict[str, object] = {"schema_version": "1.6.0", "id": "PYSEC-0000-1", "summary": "", "affected": affected}
    with advisories({"numpy": hole} if case == "a hole" else {}, status=500 if case == "no answer" else 200) as (
        url,
        asked,
    ):
        done = subprocess.run(
            [sys.executable, AUDIT, PIP_AUDIT], capture_output=True, text=True, check=False,
            env=os.environ | {"PIP_AUDIT_OSV_URL": url},
        )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == int(case == "a hole"), said
    assert f"numpy=={version}" in asked or case == "no answer"
    if case == "a hole":
        assert f"numpy {version}: PYSEC-0000-1, mended in 99.1" in said
    elif case == "none":
        assert f"{len(set(asked))} packages looked up at osv, 0 known holes" in said
        assert len(asked) > 50
    else:
        assert "!!! NO PACKAGE WAS LOOKED UP" in said
