"""What the node is made of, and under which licences: a CycloneDX bill of materials and a list to read.

``python -m node.operate.components requirements.lock FOLDER`` writes ``sbom.cdx.json`` and ``licences.txt`` of the
environment that it runs in; the lock says which packages of it the node runs on, and the SHA-256 of their files. The
same environment gives the same bytes.

References
----------
CycloneDX 1.6 (ECMA-424); SPDX license list 3.27.
"""

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import analytics
from node import __version__
from node.errors import InputError
from node.store.public_id import public_id

SBOM, LICENCES = "sbom.cdx.json", "licences.txt"
OURS = "Apache-2.0"
NETWORKS = ("segmentation.onnx", "fluid.onnx")
"""In ``analytics/vbq``; what they are, how they were trained and on what stands beside them, in ``networks.md``."""

UNSTATED = {"pyrage": "MIT", "pysqlite3": "Zlib"}
"""Packages whose metadata name no licence, by the licence file that they bring."""

SPDX = {
    "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0", "mit license": "MIT", "isc license (iscl)": "ISC", "isc license": "ISC",
    "bsd 3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "2-clause bsd": "BSD-2-Clause",
    "python software foundation license": "PSF-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}  # fmt: skip
"""Licences as packages write them, in lower case."""
EXPRESSION = re.compile(r"[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*")
LONGEST_NAME = 60
"""Some packages have the whole text of the licence where its name belongs."""

FORBIDDEN = re.compile(r"\bA?GPL(?![a-z]{2})|(?<!Lesser )General Public Licen[sc]e", re.IGNORECASE)
"""Licences under which nothing may be that the node runs on."""

LOCKED = re.compile(r"^([\w.-]+)==([^\s;]+)( ;)?", re.MULTILINE)
"""Name and version, and whether it is for some machines and versions of Python only."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A package that the node runs on."""

    name: str
    version: str
    licence: str
    """An SPDX expression, or the package's own words where those say less."""
    needs: tuple[str, ...]
    hashes: tuple[str, ...]

    @property
    def reference(self) -> str:
        """Package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def components(lock: str) -> list[Component]:
    """The packages of a lock as they are installed here.

    Raises
    ------
    InputError
        One is not installed, or in a version that the lock does not have.
    """
    locked: dict[str, dict[str, tuple[str, ...]]] = {}
    not_everywhere = set()
    for name, version, hashes, conditional in _locked(lock):
        locked.setdefault(name, {})[version] = hashes
        if conditional:
            not_everywhere.add(name)
    found = []
    here = {name for name in locked if name not in not_everywhere or _is_installed(name)}
    for name in sorted(here):
        versions = locked[name]
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise InputError(f"{name} of the lock is not installed: make install") from None
        if installed.version not in versions:
            raise InputError(
                f"{name} {installed.version} is installed, the lock has {', '.join(versions)}: make install"
            )
        needs = {_normal(re.split(r"[^\w.-]", one, maxsplit=1)[0]) for one in installed.requires or []}
        found.append(
            Component(
                name=name,
                version=installed.version,
                licence=licence(installed),
                needs=tuple(sorted(needs & here - {name})),
                hashes=versions[installed.version],
            )
        )
    return found


def licence(installed: Distribution) -> str:
    """The licence of a package, by its metadata; empty where it states none."""
    stated = installed.metadata
    if "License-Expression" in stated:
        return stated["License-Expression"]
    words = stated["License"].strip() if "License" in stated else ""
    if words.lower() in SPDX:
        return SPDX[words.lower()]
    if words and words.upper() != "UNKNOWN" and len(words) <= LONGEST_NAME and "\n" not in words:
        return words
    classes = [one.rpartition("::")[2].strip() for one in stated.get_all("Classifier") or [] if "License ::" in one]
    named = [SPDX.get(one.lower(), one) for one in classes if one != "OSI Approved"]
    return " OR ".join(named) or UNSTATED.get(_normal(stated["Name"]), "")


def forbidden(found: list[Component]) -> list[str]:
    """Packages that the node must not run on, each with its licence; those without a licence are among them."""
    return [f"{one.name} ({one.licence})" for one in found if not one.licence or FORBIDDEN.search(one.licence)]


def bill_of_materials(found: list[Component]) -> dict[str, Any]:
    """The bill of materials: the packages with their licences, and the networks."""
    by_name = {one.name: one.reference for one in found}
    ours = f"pkg:generic/vbq-node@{__version__}"
    networks = [_network(name) for name in NETWORKS]
    needed = {name for one in found for name in one.needs}
    bill: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": "vbq-node",
                "version": __version__,
                "licenses": _licences(OURS),
            }
        },
        "components": [*map(_package, found), *networks],
        "dependencies": [
            {
                "ref": ours,
                "dependsOn": sorted(
                    [
                        *(ref for name, ref in by_name.items() if name not in needed),
                        *(one["bom-ref"] for one in networks),
                    ]
                ),
            },
            *(
                {"ref": one.reference, "dependsOn": [by_name[name] for name in one.needs if name in by_name]}
                for one in found
            ),
        ],
    }
    content = json.dumps(bill, sort_keys=True)
    return bill | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"}


def licence_list(found: list[Component]) -> str:
    """A line for each package."""
    lines = [f"{one.name} {one.version}: {one.licence}" for one in found]
    return "\n".join([f"vbq-node {__version__}, with its networks {', '.join(NETWORKS)}: {OURS}", *lines]) + "\n"


def _package(one: Component) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": one.reference,
        "name": one.name,
        "version": one.version,
        "purl": one.reference,
        "licenses": _licences(one.licence),
        "externalReferences": [
            {
                "type": "distribution",
                "url": one.reference,
                "comment": "the files that the lock allows",
                "hashes": [{"alg": "SHA-256", "content": sha256} for sha256 in one.hashes],
            }
        ],
    }


def _network(name: str) -> dict[str, Any]:
    path = Path(analytics.__file__).parent / "vbq" / name
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "machine-learning-model",
        "bom-ref": f"network:{name}@{public_id(sha256)}",
        "name": name,
        "version": public_id(sha256),
        "description": "U-Nets trained on public lumbar MR (CC BY 4.0); analytics/vbq/networks.md is the model card",
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "licenses": _licences(OURS),
    }


def _licences(licence: str) -> list[dict[str, Any]]:
    if " " in licence and EXPRESSION.fullmatch(licence):
        return [{"expression": licence}]
    known = licence in SPDX.values() or EXPRESSION.fullmatch(licence)
    return [{"license": {"id" if known else "name": licence}}]


def _locked(lock: str) -> Iterator[tuple[str, str, tuple[str, ...], bool]]:
    """Name, version, SHA-256 of the files of each package, and whether it is not for every machine."""
    starts = [*LOCKED.finditer(lock)]
    for one, following in zip(starts, [*starts[1:], None], strict=True):
        block = lock[one.end() : following.start() if following else None]
        yield _normal(one[1]), one[2], tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block)), bool(one[3])


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(lock: Path, folder: Path) -> None:
    """Write both.

    Raises
    ------
    InputError
        The environment is not that of the lock, or something in it has a licence that must not be.
    """
    found = components(lock.read_text(encoding="utf-8"))
    if wrong := forbidden(found):
        raise InputError(f"these licences must not be in it: {', '.join(wrong)}")
    (folder / SBOM).write_text(json.dumps(bill_of_materials(found), indent=1) + "\n", encoding="utf-8")
    (folder / LICENCES).write_text(licence_list(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
