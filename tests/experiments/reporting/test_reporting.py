"""Reports: whole in one file, whatever names are in them; and settings that repeat an experiment."""

from __future__ import annotations

import base64
import importlib
import io
import json
import shlex
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from berg_jax import Images, Selection, Subject
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.experiments.reporting.command import plain
from berg_jax.experiments.reporting.page import (
    Gallery,
    Link,
    Pairs,
    Picture,
    Section,
    SideBySide,
    Table,
    write_report,
)
from berg_jax.experiments.reporting.results import regions_of, write_results
from berg_jax.vertices import Vertices

from ...conftest import Golden

HOSTILE = """<script>alert(1)</script> & "FFA" 'x' $title </figure> ü.png"""


class Page(HTMLParser):
    """Tags in their order, with attributes; the text inside each kind of tag; and what was left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "input", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)


def write(folder: Path, **changed: Any) -> Page:
    picture = folder / "made by <b> & 'you'.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(picture)
    options: dict[str, Any] = {
        "title": f"Title {HOSTILE}",
        "sections": [
            Section(
                f"Section {HOSTILE}",
                [
                    f"text {HOSTILE}",
                    Picture(picture, f"caption {HOSTILE}", {f"name {HOSTILE}": HOSTILE, "limit": 0.25}),
                    Table(f"table {HOSTILE}", ["roi", HOSTILE], [[HOSTILE, 0.12345], ["V1", float("nan")]]),
                ],
            )
        ],
        "lead": f"lead {HOSTILE}",
        "command": f"command {HOSTILE}",
        "settings": {"roi": HOSTILE, HOSTILE: [1, HOSTILE], "empty": {}, "hidden": None},
        "provenance": {"1": {"path": HOSTILE, "vertices": 10242}},
        "synthetic": True,
        **changed,
    }
    path = write_report(folder, **options)
    return Page(path.read_text(encoding="utf-8"))


def test_names_cannot_change_the_page(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "b", "link", "iframe", "object"}
    for tag, kind in (("h1", "Title"), ("h2", "Section"), ("p", "lead"), ("p", "text"), ("pre", "command")):
        assert f"{kind} {HOSTILE}" in "".join(page.text[tag])
    assert f"caption {HOSTILE}" in "".join(page.text["figcaption"])
    assert (tmp_path / "made by <b> & 'you'.png").name in "".join(page.text["small"])
    assert f"name {HOSTILE}: {HOSTILE} · limit: 0.25" in "".join(page.text["small"])
    assert HOSTILE in "".join(page.text["td"])
    assert HOSTILE in "".join(page.text["dt"])
    assert HOSTILE in "".join(page.text["dd"])


@pytest.mark.parametrize("passed", [True, False])
def test_names_cannot_change_checks_and_folded_parts(tmp_path: Path, passed: bool) -> None:
    path = tmp_path / "<i>.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    parts = [
        Table(f"checks {HOSTILE}", [HOSTILE], [[HOSTILE], [HOSTILE]], passed=[True, passed]),
        Table(f"folded {HOSTILE}", [HOSTILE], [[HOSTILE]], folded=True),
        Pairs(f"pairs {HOSTILE}", {f"name {HOSTILE}": f"value {HOSTILE}"}),
        SideBySide([Picture(path, f"beside {HOSTILE}")]),
    ]

    page = write(tmp_path, sections=[Section("s", parts)], passed=passed)

    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "i", "link", "iframe", "object"}
    for tag, kind in (("p", "lead"), ("h3", "checks"), ("dt", "name"), ("dd", "value"), ("figcaption", "beside")):
        assert f"{kind} {HOSTILE}" in "".join(page.text[tag])
    assert page.text["summary"] == [f"folded {HOSTILE}", f"pairs {HOSTILE}"]


def test_verdict_and_marks(tmp_path: Path) -> None:
    table = Table("t", ["check", "found"], [["a", 1e-5], ["b", 2.0]], passed=[True, False])
    page = write(tmp_path, sections=[Section("s", [table])], passed=False)

    assert page.text["b"] == ["Failed"]
    assert next(attributes["class"] for tag, attributes in page.tags if tag == "div") == "verdict failed"
    assert [attributes["class"] for tag, attributes in page.tags if tag == "tr" and attributes] == [
        "passed",
        "failed",
    ]
    assert page.text["td"] == ["✓", "a", "1 × 10⁻⁵", "✗", "b", "2.000"]
    page = write(tmp_path, sections=[Section("s", [table._replace(passed=None)])], passed=True)
    assert page.text["b"] == ["Passed"]
    assert page.text["td"] == ["a", "1 × 10⁻⁵", "b", "2.000"]
    assert "verdict" not in {attributes.get("class") for _, attributes in write(tmp_path).tags}
    assert "b" not in write(tmp_path).text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12.3456, "12.346"),
        (-0.0123, "-0.012"),
        (0.00149, "0.00149"),
        (0.000123456, "1.23 × 10⁻⁴"),
        (-2e-12, "-2 × 10⁻¹²"),
        (999.9, "999.900"),
        (123456.0, "1.23 × 10⁵"),
        (np.float32(1e-4), "1 × 10⁻⁴"),
        (float("inf"), "–"),
        (1234, "1,234"),
    ],
)
def test_numbers_of_tables(tmp_path: Path, value: float, text: str) -> None:
    page = write(tmp_path, sections=[Section("s", [Table("t", ["n"], [[value]])])])
    assert page.text["td"] == [text]


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = write(tmp_path)
    (image,) = (attributes for tag, attributes in page.tags if tag == "img")
    kind, _, data = (image["src"] or "").partition(",")
    assert kind in ("data:image/png;base64", "data:image/webp;base64")
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.size == (4, 4)
    assert image["alt"] == f"caption {HOSTILE}"
    for tag, attributes in page.tags:
        assert not {"href", "srcset", "onload", "onerror", "style"} & set(attributes), tag
    policy = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "@import" not in "".join(page.text["style"]) + "url("
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [a for _, a in page.tags]


def test_large_pictures_take_less_room(tmp_path: Path) -> None:
    x, y = np.indices((300, 400)) / 400
    made = np.stack([x, y, np.sin(9 * x * y) ** 2], axis=-1)
    Image.fromarray((255 * made).astype(np.uint8)).save(tmp_path / "x.png")
    page = write(tmp_path, sections=[Section("s", [Picture(tmp_path / "x.png", "c")])])
    (source,) = (attributes["src"] or "" for tag, attributes in page.tags if tag == "img")
    kind, _, data = source.partition(",")
    assert kind == "data:image/webp;base64"
    assert len(data) < 0.5 * (tmp_path / "x.png").stat().st_size
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert abs(np.asarray(shown.convert("RGB")) - 255 * made).mean() < 2


def test_a_gallery_is_text_beside_pictures(tmp_path: Path) -> None:
    tiles = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((4, 4, 3), 50 * number, np.uint8)).save(path)
        tiles.append((path, [f"value {number}", HOSTILE]))
    page = write(tmp_path, sections=[Section("s", [Gallery(tiles, f"caption {HOSTILE}", {"steps": 2000})])])
    assert page.open == []
    shown = [attributes for tag, attributes in page.tags if tag == "img"]
    for number, attributes in enumerate(shown):
        assert attributes["alt"] == f"{number}.png, value {number}, {HOSTILE}"
        data = (attributes["src"] or "").partition(",")[2]
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert abs(np.asarray(picture.convert("RGB")) - 50.0 * number).max() < 4
    assert page.text["small"] == ["value 0", HOSTILE, "value 1", HOSTILE, "value 2", HOSTILE, "steps: 2,000"]
    assert page.text["figcaption"] == [f"caption {HOSTILE}"]


def test_numbers_and_warnings(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert page.text["td"] == [HOSTILE, "0.123", "V1", "–"]
    assert "10,242" in "".join(page.text["dd"])
    assert "hidden" not in page.text["dt"]
    numbers = [tag for tag, attributes in page.tags if attributes.get("class") == "number"]
    assert numbers == ["th", "td", "td"]
    assert "".join(page.text["strong"]).startswith("SYNTHETIC")
    assert "strong" not in write(tmp_path, synthetic=False).text


def test_the_settings_file(tmp_path: Path) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["settings"] == {"roi": HOSTILE, HOSTILE: [1, HOSTILE], "empty": {}, "hidden": None}
    assert config["command"] == f"command {HOSTILE}"
    assert config["provenance"]["1"]["vertices"] == 10242


def test_files_beside_the_page_are_linked(tmp_path: Path) -> None:
    write(tmp_path, sections=[Section("s", [Link(tmp_path / "subj 01" / "brain.html", "A <brain>:")])])
    page = (tmp_path / "report.html").read_text()
    assert '<a href="subj%2001/brain.html">A &lt;brain&gt;:</a>' in page


def test_what_is_refused(tmp_path: Path) -> None:
    for part, error, said in (
        (Table("t", ["a", "b"], [[1]]), InvalidParameterError, "'t' has 2 columns, and a row of 1 cells"),
        (Table("t", ["a"], [[1], [2]], [True]), InvalidParameterError, "'t' has 2 rows, and marks for 1"),
        (Picture(tmp_path / "x.svg", "c"), InvalidParameterError, r"shows \.png, .* got .*x\.svg"),
        (Picture(tmp_path / "x.png", "c"), ResourceError, "Cannot read .*x.png"),
    ):
        with pytest.raises(error, match=said):
            write(tmp_path, sections=[Section("s", [part])])
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="Cannot write"):
        write_report(tmp_path / "file", "t", [], lead="", command="", settings={}, provenance={}, synthetic=False)


def test_json() -> None:
    found = plain({1: np.float32(2), "a": (np.inf, Path("x"), np.array([1, 2])), "b": np.int64(3)})
    assert found == {"1": 2.0, "a": [None, "x", [1, 2]], "b": 3}


COMMANDS = {
    "retinotopy": "'a b/x.hdf5' --images test --fit-images crop --layout NCHW --berg-dir dir --subject 3 "
    "--output out --roi 'V1 - V1d' --hemisphere lh --min-ncsnr 0.2 --min-explained-variance 20.0 --batch-size 3 "
    "--fit --fit-memory 2.5 --probes bars --probes rings --grid 7 --sigma 0.25 --measured maps --precision bfloat16",
    "localize": "x --images 3,5 --berg-dir dir --subject 1 --subject 4 --output out --roi FFA --hemisphere rh "
    "--table t.csv --contrast 'a > b' --contrast b --alpha 0.01 --measured 'a > b=m.mgz'",
    "accuracy": "x --images test --berg-dir dir --subject 1 --output out --betas b.npy --table t.csv --zscored",
    "rsa": "x --berg-dir dir --subject 2 --output out --min-ncsnr 0.1 --roi V1 --roi 'FFA-1 + FFA-2' "
    "--features a=x.npy --matrix b=y.npy --matrix c=z.npy --searchlight 50 --searchlight-correction fdr --dinov2 d "
    "--categories c.csv",
    "control": "x --images test --berg-dir dir --subject 1 --subject 3 --output out --roi V1 --roi 'FFA-1 + FFA-2' "
    "--kind multivariate --k 3 --margin 0.5 --synthesize 2 --steps 9 --set-size 7 --population 20 --generations 30 "
    "--seed 5 --min-ncsnr 0.1 --precision bfloat16",
    "synthesize": "--berg-dir dir --subject 1 --output out --drive V1 --drive V2 --suppress PPA --margin 0.5 "
    "--hemisphere lh --images phases --photographs p --start s.png --radius 3.0 --n 3 --steps 9 --learning-rate 0.1 "
    "--jitter 2 --total-variation 0.5 --draws 2 --seed 7 --microbatch 2",
}
FEW = {
    name: " ".join(["x"] * (name == "accuracy") + ["--berg-dir dir --subject 1 --output out", more])
    for name, more in {**dict.fromkeys(COMMANDS, ""), "accuracy": "--betas b", "synthesize": "--drive V1"}.items()
}
FUNCTIONS = {
    "retinotopy": ("retinotopy", "map_retinotopy"),
    "localize": ("localizer", "localize"),
    "accuracy": ("accuracy", "measure_accuracy"),
    "rsa": ("representations", "compare_representations"),
    "control": ("control", "control_regions"),
    "synthesize": ("synthesis", "synthesize"),
}


class _Described(NamedTuple):
    subject: int


class _Subject(Subject):
    """A subject that is not there, for commands that are only taken apart."""

    def __init__(self, berg_dir: Path, subject_id: int) -> None:
        self.berg_dir, self.description = str(berg_dir), _Described(subject_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Subject) and vars(self) == vars(other)

    __hash__ = None


class _Asked(Exception):
    """Raised where an experiment would begin to work, with the command that it has made of its arguments."""


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("arguments", [COMMANDS, FEW], ids=["all options", "few options"])
def test_the_recorded_command_asks_for_the_same(
    name: str, arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report's command is, option for option, the one that was given; what is by default is left out."""
    module = importlib.import_module(f"berg_jax.experiments.{FUNCTIONS[name][0]}.experiment")
    real = module.command_of

    def stop(*values: Any, **options: Any) -> None:
        raise _Asked(real(*values, **options))

    monkeypatch.setattr(module, "command_of", stop)
    monkeypatch.setattr(Images, "require_there", lambda images: None)
    monkeypatch.setattr("berg_jax.subject.Subject", _Subject)
    found = [CliRunner().invoke(app, shlex.split(f"{name} {arguments[name]}")).exception]
    assert isinstance(found[0], _Asked), found[0]
    line = found[0].args[0].line
    found.append(CliRunner().invoke(app, shlex.split(line)[1:]).exception)
    assert sorted(shlex.split(line)) == sorted(["berg-jax", name, *shlex.split(arguments[name])])
    assert found[1].args[0] == found[0].args[0]
    json.dumps(found[0].args[0].settings)


def test_maps_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    vertices, folder = Vertices([1, 2], [0], 642), tmp_path / "out"
    write_results(folder, vertices, {"old": np.ones(3), "both": np.ones(3)}, {})
    for path in (folder / "old.png", folder / "both.png", folder / "lh.png", folder / "maps" / "mine.lh.func.gii"):
        path.touch()
    write_results(folder, vertices, {"both": np.zeros(3), "new": np.ones(3)}, {})
    assert {path.name for path in folder.glob("*.png")} == {"both.png", "lh.png"}
    kept = {path.name.split(".")[0] for path in (folder / "maps").iterdir()}
    assert kept == {"both", "new", "mine"}
    with zipfile.ZipFile(folder / "maps.npz", "w") as hostile:
        hostile.writestr("../mine.npy", b"")
    (tmp_path / "mine.png").touch()
    write_results(folder, vertices, {"new": np.ones(3)}, {})
    assert (tmp_path / "mine.png").exists()


def test_a_part_of_a_region_is_not_called_by_its_name(complement: Golden) -> None:
    """Of a selection by ROIs: those ROIs, and none of which it holds only a part; of thresholds: all of them."""
    subject = Subject(complement.folder, 2)
    names = subject.rois
    first = next(name for name in names if len(subject.vertices(name)) > 3)

    def regions(selection: Selection) -> dict[str, int]:
        return {name: len(some) for name, some in regions_of(subject, selection.of(subject), selection).items()}

    chosen = regions(Selection(first))
    assert chosen[first] == len(subject.vertices(first))
    assert all(size == len(subject.vertices(name)) for name, size in chosen.items())
    left = regions(Selection(first, hemisphere="lh"))
    assert left.get(first, 0) == len(subject.metadata.roi(first)[0])
    assert set(regions(Selection(hemisphere="lh"))) == {name for name in names if len(subject.metadata.roi(name)[0])}
    half = Vertices.from_global(subject.vertices(first).global_indices[:2], subject.hemisphere_size)
    assert regions(Selection(half))[first] == 2  # vertices that were given are not an expression
