"""Reports: whole in one file, whatever names are in them; and settings that repeat an experiment."""

from __future__ import annotations

import base64
import importlib
import inspect
import io
import json
import shlex
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.experiments.reporting.command import command_line, plain, settings_of
from berg_jax.experiments.reporting.page import Gallery, Pairs, Picture, Section, SideBySide, Table, write_report
from berg_jax.experiments.reporting.results import write_results
from berg_jax.vertices import Vertices

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


def function(berg_dir: Path, images: Path | None = None, *, fit_sizes: bool = False, sigma: float = 0.5) -> None:
    """With three kinds of arguments."""


def test_commands_of_settings() -> None:
    names = {"images": None, "fit_sizes": "fit"}
    given = {"berg_dir": Path("a b"), "images": Path("x'y"), "fit_sizes": True, "sigma": 0.5, "time_limit": 3}
    settings = settings_of(given)
    assert settings == {"berg_dir": "a b", "images": "x'y", "fit_sizes": True, "sigma": 0.5}
    assert command_line("go", function, settings, names) == """berg-jax go 'x'"'"'y' --berg-dir 'a b' --fit"""
    settings = {"berg_dir": ["a", "b"], "sigma": {"m": 1.5}, "images": None}
    assert command_line("go", function, settings, names) == "berg-jax go --berg-dir a --berg-dir b --sigma m=1.5"


def test_json() -> None:
    found = plain({1: np.float32(2), "a": (np.inf, Path("x"), np.array([1, 2])), "b": np.int64(3)})
    assert found == {"1": 2.0, "a": [None, "x", [1, 2]], "b": 3}


CALLS: list[tuple[str, str, str, dict[str, Any]]] = [
    (
        "retinotopy",
        "map_retinotopy",
        "retinotopy",
        {
            **{
                "subject": 3,
                "images": "a b/'x'.hdf5",
                "choose": "test",
                "fit_sizes": True,
                "fit_memory": 2.5,
                "grid": 7,
                "sigma": 0.25,
            },
            **{"probes": ["bars", "rings"], "measured": "maps", "roi": "V1 - V1d", "hemisphere": "lh"},
            **{"min_ncsnr": 0.2, "min_explained_variance": 20.0, "fit_images": "crop", "precision": "bfloat16"},
            **{"batch_size": 3},
        },
    ),
    (
        "localizer",
        "localize",
        "localize",
        {
            **{"subjects": [1, 4], "images": "x", "choose": "3,5", "table": "t.csv", "alpha": 0.01},
            **{"contrasts": ["a > b", "b"], "measured": {"a > b": "m.mgz"}, "roi": "FFA", "hemisphere": "rh"},
        },
    ),
    (
        "accuracy",
        "measure_accuracy",
        "accuracy",
        {"subject": 1, "images": "x", "betas": "b.npy", "table": "t.csv", "zscored": True, "choose": "test"},
    ),
    (
        "representations",
        "compare_representations",
        "rsa",
        {
            **{"subjects": [2], "images": "x", "rois": ["V1", "FFA-1 + FFA-2"], "features": {"a": "x.npy"}},
            **{"matrices": {"b": "y.npy", "c": "z.npy"}, "searchlight": 50, "dinov2": "d", "min_ncsnr": 0.1},
        },
    ),
    (
        "control",
        "control_regions",
        "control",
        {
            **{"subjects": [1, 3], "images": "x", "choose": "test", "rois": ["V1", "FFA-1 + FFA-2"]},
            **{"kind": "multivariate", "k": 3, "margin": 0.5, "synthesize": 2, "steps": 9, "set_size": 7},
            **{"population": 20, "generations": 30, "seed": 5, "min_ncsnr": 0.1, "precision": "bfloat16"},
        },
    ),
    (
        "synthesis",
        "synthesize",
        "synthesize",
        {
            **{"subject": 1, "drive": ["V1", "V2"], "suppress": ["PPA"], "margin": 0.5, "hemisphere": "lh"},
            **{"images": "phases", "photograph_folder": "p", "start": "s.png", "radius": 3.0, "n": 3, "steps": 9},
            **{"learning_rate": 0.1, "jitter": 2, "total_variation": 0.5, "draws": 2, "seed": 7, "microbatch": 2},
        },
    ),
]


@pytest.mark.parametrize(("module", "name", "command", "given"), CALLS, ids=[call[2] for call in CALLS])
@pytest.mark.parametrize("few", [False, True])
def test_the_command_asks_for_the_same(
    module: str, name: str, command: str, given: dict[str, Any], few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call's command makes of itself on the command line is that call, whatever is as by default."""
    found = importlib.import_module(f"berg_jax.experiments.{module}.experiment")
    function = getattr(found, name)
    needed = {"subject", "subjects", "images", "betas", "drive"}
    given = {key: value for key, value in given.items() if not few or key in needed}
    asked = inspect.signature(function).bind("my dir", output="out", **given)
    asked.apply_defaults()
    settings = settings_of(asked.arguments)
    called = []

    def record(*arguments: Any, **options: Any) -> str:
        bound = inspect.signature(function).bind(*arguments, **options)
        bound.apply_defaults()
        called.append(settings_of(bound.arguments))
        return ""

    monkeypatch.setattr(found, name, record)
    line = command_line(command, function, settings, found.ARGUMENTS)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    assert [{k: v or None for k, v in call.items()} for call in called] == [
        {k: v or None for k, v in settings.items()}
    ]
    assert line.count(" --") <= sum(len(v) if isinstance(v, list | dict) else 1 for v in given.values()) + 2


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
