"""The catalogue of reasons: every code that the software uses is in it with its values, and it holds no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics import reasons
from analytics.reasons import Reason, from_dict, load_catalogue, load_language, placeholders, to_dict, words

ROOT = Path(__file__).parents[2]
GERMAN = load_language("de")
VIEWS = ROOT / "node" / "store" / "views.sql"
DOES = {"holds", "excludes", "informs"}


def made() -> Iterator[tuple[str, ast.Call]]:
    """Every ``Reason(…)`` in the two packages, with its place."""
    for package in ("analytics", "node"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "reasons.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def code_of(call: ast.Call) -> str:
    (code, *_) = call.args
    assert isinstance(code, ast.Constant), ast.unparse(call)
    return str(code.value)


def test_every_code_used_is_catalogued_and_every_catalogued_one_is_used() -> None:
    used = {code_of(call): place for place, call in made()}
    views = VIEWS.read_text(encoding="utf-8")
    used |= {code: VIEWS.name for code in load_catalogue() if f"'{code}'" in views}
    assert {code: place for code, place in used.items() if code not in load_catalogue()} == {}
    assert load_catalogue().keys() - used.keys() == set()


def test_every_reason_brings_the_values_that_its_words_name() -> None:
    """Where they stand as a literal; a mapping that is built before it is checked by the tests of its module."""
    wrong = []
    for place, call in made():
        values = call.args[1] if len(call.args) > 1 else ast.Dict(keys=[], values=[])
        if not isinstance(values, ast.Dict) or None in values.keys:
            continue
        given = {key.value for key in values.keys if isinstance(key, ast.Constant)}
        entry = load_catalogue()[code_of(call)]
        if given != placeholders(entry.words) | placeholders(entry.short or ""):
            wrong.append(f"{place}: {code_of(call)} {sorted(map(str, given))}")
    assert wrong == []


def test_every_entry_is_complete() -> None:
    actions = load_language().actions
    for code, entry in load_catalogue().items():
        assert entry.does in DOES, code
        assert entry.do in actions, code
        assert placeholders(entry.short or "") <= placeholders(entry.words), code
    assert actions.keys() - {entry.do for entry in load_catalogue().values()} == set(), (
        "an action that nothing asks for"
    )


def test_a_held_thing_always_has_something_for_a_person_to_do() -> None:
    assert [code for code, one in load_catalogue().items() if one.does == "holds" and one.do == "none"] == []


def test_the_german_words_are_complete_and_have_the_same_values() -> None:
    content = reasons._read(reasons.CATALOGUE_FILE.with_name("reasons.de.toml"))
    catalogue = load_catalogue()
    assert content["words"].keys() == catalogue.keys()
    assert content["short"].keys() == {code for code, entry in catalogue.items() if entry.short is not None}
    assert content["actions"].keys() == load_language().actions.keys()
    for code, entry in catalogue.items():
        assert placeholders(content["words"][code]) == placeholders(entry.words), code
        assert placeholders(content["short"].get(code, "")) == placeholders(entry.short or ""), code


def test_words_in_two_languages_from_one_reason() -> None:
    found = Reason("age-below-minimum", {"age": 49.0, "minimum": 50})
    assert (str(found), found.short()) == ("age 49 is below 50 years", "age below 50 years")
    assert found.words(GERMAN) == "Alter 49 liegt unter 50 Jahren"
    held = Reason("contradictory-person", {"what": ("birth date", "sex")})
    assert words([held]) == ["birth date and sex in the images and in the messages contradict each other"]
    assert held.words(GERMAN) == "Geburtsdatum und Geschlecht in den Bildern und in den Nachrichten widersprechen sich"


def test_a_site_gives_its_own_words_and_what_it_leaves_out_stays_english(tmp_path: Path) -> None:
    file = tmp_path / "fr.toml"
    file.write_text('[words]\nno-mri = "aucune IRM"\n', encoding="utf-8")
    french = load_language(str(file))
    assert words([Reason("no-mri"), Reason("id-blank")], french) == ["aucune IRM", "id is blank"]


def test_a_reason_is_the_same_after_it_was_stored() -> None:
    inner = Reason("incomplete-data", {"columns": ("vbq", "nlr")})
    outer = Reason("not-eligible-by-table", {"why": inner})
    assert from_dict(to_dict(outer)) == outer
    assert {outer, from_dict(to_dict(outer))} == {outer}
    assert str(outer) == "not eligible by the table itself: incomplete data: vbq, nlr"
    assert outer.words(GERMAN) == "nach der Tabelle selbst nicht geeignet: unvollständige Daten: VBQ, NLR"


def test_a_code_of_another_version_is_shown_as_it_is() -> None:
    assert str(Reason("from-the-future", {"n": 3})) == "from-the-future (n 3)"
    assert not Reason("from-the-future").transient


@pytest.mark.parametrize("code", ["incomplete-data", "no-degenerative-diagnosis"])
def test_what_later_data_can_complete(code: str) -> None:
    assert Reason(code).transient


def test_german_words_have_a_decimal_comma_and_their_own_plurals() -> None:
    far = Reason("far-from-automatic", {"distance": 3.25, "automatic": 2.5})
    assert "3.2 " in far.words()
    assert "3,2 " in far.words(GERMAN)
    assert "2,50" in far.words(GERMAN)


@pytest.mark.parametrize(
    ("more", "said"), [(0, "S: w."), (1, "S and 1 more: w."), (3, "S and 3 more: w."), ("", "S: w.")]
)
def test_words_for_some_are_said_only_where_there_are_some(more: int | str, said: str) -> None:
    assert Reason("whose-it-is", {"source": "S", "more": more, "why": "w"}).words().startswith(said)


def test_a_file_whose_words_name_a_value_that_there_is_not_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fr.toml"
    file.write_text('[words]\nno-mri = "aucune IRM de {qui}"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="no-mri"):
        load_language(str(file))
