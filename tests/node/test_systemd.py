"""The units: one for each role, starting commands that exist, in a form systemd accepts."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from node.run.roles import ROLES
from node.settings import Settings
from tests.acceptance.harness import vbq_node

UNITS = Path(__file__).resolve().parents[2] / "systemd"


def unit(name: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str
    parsed.read(UNITS / name)
    return parsed


UNATTENDED = ["backup", "failed@"]
"""Commands that a timer, or the failure of a service, starts."""


def test_every_role_has_a_unit_and_belongs_to_the_target() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == {
        f"vbq-node-{name}.service" for name in [*ROLES, *UNATTENDED]
    }
    for role in ROLES:
        parsed = unit(f"vbq-node-{role}.service")
        assert parsed["Unit"]["PartOf"] == parsed["Install"]["WantedBy"] == "vbq-node.target"
        assert (parsed["Service"]["User"], parsed["Service"]["Restart"]) == ("vbq-node", "always")
        assert parsed["Service"]["Environment"] == "ORT_DISABLE_TELEMETRY=1"
        assert (parsed["Service"]["Type"], parsed["Unit"]["OnFailure"]) == ("notify", "vbq-node-failed@%n.service")
        # Its main thread waits for the hour of the night: that it goes on waiting is no progress.
        assert ("WatchdogSec" in parsed["Service"]) == (role != "nightly")
        assert (parsed["Service"]["UMask"], parsed["Service"]["StateDirectoryMode"]) == ("0027", "0750")


def test_the_mail_names_the_unit_as_systemctl_does() -> None:
    # %I undoes an escaping that nobody has done: `systemd-escape --unescape vbq-node-hl7` is vbq/node/hl7.
    assert unit("vbq-node-failed@.service")["Service"]["ExecStart"].split()[1:3] == ["service-failed", "%i"]
    assert not [path.name for path in UNITS.iterdir() if "%I" in path.read_text(encoding="utf-8")]


def test_each_unit_is_handed_the_secrets_of_its_role_alone() -> None:
    handed = {
        path.name.removeprefix("vbq-node-").removesuffix(".service"): {
            line.removeprefix("LoadCredential=")
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("LoadCredential=")
        }
        for path in UNITS.glob("*.service")
    }
    assert handed == {
        "dicom": {"vbq-node.dicom-tls"},
        "hl7": {"vbq-node.hl7-tls"},
        "web": {"vbq-node.web-tls"},
        "outgoing": {"vbq-node.dicom-client", "vbq-node.hl7-client", "vbq-node.fhir", "vbq-node.syslog"},
        "nightly": {"vbq-node.mail"},
        "failed@": {"vbq-node.mail"},
        "steps": set(),
        "backup": set(),
    }


def test_a_secret_of_the_settings_is_found_where_systemd_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = {"mail": {"password_file": "credential:vbq-node.mail"}}
    assert Settings.model_validate(mail).mail.password_file == Path("credential:vbq-node.mail")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Settings.model_validate(mail).mail.password_file == tmp_path / "vbq-node.mail"
    (tmp_path / "vbq-node.mail").write_text("x")
    (tmp_path / "vbq-node.mail").chmod(0o644)
    with pytest.raises(ValidationError, match="every user of this machine may read it"):
        Settings.model_validate(mail)
    with pytest.raises(ValidationError, match="names no credential"):
        Settings.model_validate({"mail": {"password_file": "credential:../node.db"}})


@pytest.mark.parametrize("role", [*ROLES, *UNATTENDED])
def test_what_a_unit_starts_is_a_command(role: str, tmp_path: Path) -> None:
    program, *arguments = unit(f"vbq-node-{role}.service")["Service"]["ExecStart"].split()
    assert program.endswith("/vbq-node")
    config = arguments.index("--config") + 1
    # With a wrong setting in place of the site's file the command gets as far as reading it, and no further.
    (tmp_path / "node.toml").write_text("[nonsense]\n")
    arguments[config] = str(tmp_path / "node.toml")
    done = vbq_node(*arguments, check=False)
    assert done.returncode == 2
    assert "nonsense is not a setting" in done.stderr


@pytest.mark.parametrize("role", [*ROLES, *UNATTENDED])
def test_a_unit_is_locked_up(role: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    path = UNITS / f"vbq-node-{role}.service"
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", "--threshold=15", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    service = unit(path.name)["Service"]
    assert service["Type"] == "oneshot" or service["RestartPreventExitStatus"] == "2"


def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    for path in UNITS.glob("vbq-node*"):
        # The program is not installed where the units expect it; everything else is verified as it is.
        text = path.read_text().replace("/opt/vbq-node/.venv/bin/vbq-node", "/bin/true")
        (tmp_path / path.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.glob("*.[st]*[er]"))
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    about_us = [line for line in done.stderr.splitlines() if "vbq-node" in line and "User" not in line]
    assert about_us == []
