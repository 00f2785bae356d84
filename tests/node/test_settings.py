"""Settings: the reference file, refusals that name the key, and no open door by accident."""

import tomllib
from pathlib import Path

import pytest

from node.conf import conf_path
from node.errors import SettingsError
from node.settings import Settings, load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_reference_file_is_the_defaults() -> None:
    reference = load_settings(conf_path("node.toml"))
    relative = reference.storage.model_copy(update={"folder": Path("data")})
    assert reference.model_copy(update={"storage": relative}) == Settings()


def test_the_reference_file_names_every_setting() -> None:
    text = conf_path("node.toml").read_text(encoding="utf-8")
    active = tomllib.loads(text)
    for section, model in Settings():
        for name in type(model).model_fields:
            assert name in active[section] or f"\n# {name} = " in text, f"{section}.{name} is not in conf/node.toml"


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings() == Settings()


def test_a_relative_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, '[storage]\nfolder = "x"\n')).storage.folder == tmp_path / "x"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[dicom]\nprot = 1\n", "dicom.prot is not a setting"),
        ("[dicom]\nport = 70000\n", "dicom.port"),
        ("[retention]\nimages_days = true\n", "retention.images_days: true is neither a number nor a text"),
        ("[backup]\nkeep = true\n", "backup.keep: true is neither a number nor a text"),
        ("[retention]\nreports_days = 99999999\n", "retention.reports_days"),
        ("[storage]\nfolder = '~/data'\n", "storage.folder: '~/data': ~ stands for no folder here"),
        ("[backup]\nfolder = '~/data'\n", "backup.folder: '~/data': ~ stands for no folder here"),
        (
            "[site]\nprotocol = 'EK'\n[fhir.receivers.a]\nfolder = '/srv/../srv/a'\n[storage]\nfolder = '/srv'\n",
            "lies in the data folder",
        ),
        ("[dicom]\nport = 2575\n", "dicom and hl7 are to listen on the same port, 2575"),
        ("[web]\nport = 9112\nhost = 'localhost'\n", "metrics and web are to listen on the same port, 9112"),
        (
            "[web]\nport = 9112\n[metrics]\nhost = '0.0.0.0'\nallow = ['10.0.0.0/8']\n",
            "metrics and web are to listen on the same port, 9112",
        ),
        (
            "[dicom]\nport = 2762\n[dicom.tls]\ncertificate = 'a'\nkey = 'b'\n",
            "dicom and dicom.tls are to listen on the same port, 2762",
        ),
        (
            "[identity]\nauthorities = {KIS = 'LAB', LAB = 'KIS'}\n",
            "identity.authorities: 'KIS' is to be 'LAB', and 'LAB' is to be 'KIS': write the site's own name",
        ),
        (
            "[identity]\nauthorities = {MIE = 'KIS', KIS = 'LOCAL'}\n",
            "identity.authorities: 'MIE' is to be 'KIS', and 'KIS' is to be 'LOCAL': write the site's own name",
        ),
        ('[site]\nname = "A\\nBcc: x"\n', "site.name: a line of printable characters"),
        ("[site]\nname = ''\n", "site.name"),
        ("[site]\ntime_zone = 'Europe'\n", "unknown time zone 'Europe'"),
        ("[site]\ntime_zone = 'Mars/Olympus'\n", "unknown time zone 'Mars/Olympus'"),
        ("[site]\nlanguage = 'klingon'\n", "unknown language 'klingon'"),
        ("[hl7]\ndefault_charset = 'klingon'\n", "unknown character set 'klingon'"),
        ("[hl7.senders.'LAB|H']\ncharset = 'klingon'\n", "unknown character set 'klingon'"),
        ("[hl7.senders.'LAB|H']\ncharset = 'utf-16'\n", "does not contain ASCII"),
        ("[hl7.senders.'LAB|H']\ncomma = true\n", "hl7.senders.LAB|H.comma is not a setting"),
        ("[hl7.senders.LAB]\ndecimal_comma = true\n", "'LAB' is no sender"),
        ("[dicom]\nhost = '0.0.0.0'\n", "'allow' is empty"),
        ("[metrics]\nhost = '::'\n", "'allow' is empty"),
        ("[dicom]\nallow = ['10.1.2.300']\n", "dicom.allow"),
        ("[dicom]\nallow = ['10.1.2.3']\n[dicom.peers.a]\nae_titles = ['A']\naddresses = ['10.1.2.3']\n", "not both"),
        ("[dicom.peers.a]\nae_titles = ['A']\naddresses = ['pacs.example']\n", "dicom.peers.a.addresses"),
        ("[dicom.peers.a]\nae_titles = []\naddresses = ['10.1.2.3']\n", "dicom.peers.a: one that sends needs both"),
        ("[dicom.peers.a]\n", "dicom.peers.a: it neither sends"),
        ("[dicom.peers.a.query]\nae_title = 'A'\nhost = 'h'\nport = 104\nretrieve = 'fax'\n", "query.retrieve"),
        ("[dicom.peers.a]\nforward = {ae_title = 'A', host = 'h', port = 4, tls = {ca = 'a', key = 'k'}}\n", "neither"),
        ("[dicom.tls]\nhost = '0.0.0.0'\ncertificate = 'a'\nkey = 'b'\n", "'allow' is empty"),
        ("[thresholds]\nmethod = 'institutional'\nvbq = 3.0\n", "needs all of vbq, nlr and plr"),
        ("[thresholds]\nvbq = 3.0\n", 'used only with method = "institutional"'),
        ("[dicom\n", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match="settings file") as raised:
        load_settings(write(tmp_path, text))
    assert named in str(raised.value)


def test_a_file_of_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "\ufeff[site]\r\nname = 'Ümit'\r\n")).site.name == "Ümit"


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(write(tmp_path, "[dicom]\nport = 0\n[hl7]\nport = 0\n[nonsense]\n"))
    assert all(name in str(raised.value) for name in ("dicom.port", "hl7.port", "nonsense"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml")


def test_who_may_connect(tmp_path: Path) -> None:
    closed = Settings().dicom
    assert closed.allows("127.0.0.1")
    assert closed.allows("::1")
    assert not closed.allows("10.0.0.1")
    text = "[dicom]\nhost = '0.0.0.0'\nallow = ['10.1.2.0/24', '192.168.7.9']\n"
    listed = load_settings(write(tmp_path, text)).dicom
    assert listed.allows("10.1.2.77")
    assert listed.allows("::ffff:10.1.2.77"), "an IPv4 peer of a dual-stack socket"
    assert listed.allows("192.168.7.9")
    assert not listed.allows("192.168.7.10")
    assert not listed.allows("127.0.0.1"), "the list is the whole list"


@pytest.mark.parametrize(
    "text",
    [
        "[metrics]\nhost = '127.0.0.2'\nport = 9180\n",
        "[identity]\nauthorities = {LOCAL = 'LOCAL', KIS = 'LOCAL', MIE = 'LOCAL'}\n",
        "[dicom.peers.pacs.query]\nae_title = 'PACS'\nhost = '127.0.0.1'\nport = 11112\n",
    ],
    ids=["another address of this machine", "a name that is the site's own", "a port of another machine"],
)
def test_what_only_looks_taken_or_circular_is_allowed(tmp_path: Path, text: str) -> None:
    load_settings(write(tmp_path, text))


def test_authorities_are_mapped_and_never_empty(tmp_path: Path) -> None:
    identity = load_settings(write(tmp_path, "[identity]\nauthorities = {KIS = 'LOCAL', LAB = 'L2'}\n")).identity
    assert [identity.authority(sent) for sent in ("KIS", "LAB", "OTHER", "", None, "  ")] == [
        "LOCAL",
        "L2",
        "OTHER",
        "LOCAL",
        "LOCAL",
        "LOCAL",
    ]


def test_a_peer_that_is_only_asked_or_sent_to_does_not_say_who_may_send(tmp_path: Path) -> None:
    text = (
        "[dicom]\nallow = ['10.1.2.0/24']\n"
        "[dicom.peers.pacs.query]\nae_title = 'PACSQR'\nhost = '10.1.2.3'\nport = 104\n"
        "[dicom.peers.archive.forward]\nae_title = 'ARCHIVE'\nhost = '10.1.2.9'\nport = 104\n"
    )
    dicom = load_settings(write(tmp_path, text)).dicom
    assert dicom.refusal(address="10.1.2.7", calling_ae="ANYBODY") is None
    assert dicom.refusal(address="10.9.9.9", calling_ae="PACSQR") is not None
    assert dicom.peers["pacs"].own_ae_titles == {"PACSQR"}
    assert dicom.peers["pacs"].query is not None
    assert dicom.peers["pacs"].query.retrieve == "move"
