"""The certificate without PyTorch: what it proves on another machine, what it refuses, what it says."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import berg_jax
from berg_jax.convert.synthetic import natural_like_images
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError, ValidationError
from berg_jax.experiments.certificate import experiment as module
from berg_jax.experiments.certificate.comparison import check_consistency, compare, error_table
from berg_jax.experiments.certificate.experiment import certify, check_against
from berg_jax.experiments.certificate.facts import provenance, regions
from berg_jax.experiments.certificate.observation import Observation, observe, observe_berg
from berg_jax.experiments.certificate.record import Certificate, Check, pixel_hash, read_certificate
from berg_jax.experiments.certificate.report import write_report
from berg_jax.experiments.certificate.runs import published_package
from berg_jax.experiments.certificate.selections import measured_selection_path, selection_path
from berg_jax.experiments.certificate.stimuli import recorded_stimuli, recorded_vertices
from berg_jax.vertices import Vertices

from ...conftest import Golden
from ..reporting.test_reporting import Page

RESPONSES, TOKENS = "responses in float32 on cpu", "tokens after each tapped block"
HEADS, GRADIENT = "feature maps and global vectors", "gradient with respect to the pixels"


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def made_certificate(golden: Golden, responses: np.ndarray | None = None) -> Certificate:
    """A certificate as the reference's would be, with our own answers in its place."""
    stimuli = recorded_stimuli()
    if responses is None:
        responses = observe(golden.model, stimuli, deep=False).responses
    subject = berg_jax.Subject(golden.folder, golden.subject)
    return Certificate(
        **provenance(subject, stimuli),
        reference={"name": "a stand-in"},
        seconds=1.5,
        checks=[Check("a check", 0.5, 1.0)],
        errors=error_table({("cpu", "float32"): responses}, responses, regions(subject)),
        selection_path={"text": "nothing <b>was</b> run"},
        recorded=module._record(stimuli, responses),
    )


@pytest.fixture(scope="module")
def certificate(complement: Golden) -> Certificate:
    return made_certificate(complement)


@pytest.fixture
def path(certificate: Certificate, tmp_path: Path) -> Path:
    path = tmp_path / "certificate.json"
    path.write_text(certificate.to_json(), encoding="utf-8")
    return path


def change(path: Path, alter: Callable[[dict[str, Any]], object]) -> Path:
    fields = json.loads(path.read_text(encoding="utf-8"))
    alter(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def read_page(path: Path) -> Page:
    """Return a page that is well-formed, needs no other file, and shows the verdict of the certificate beside it."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert all(source.startswith("data:image/") for source in pictures(page))
    fields = json.loads(path.with_name("certificate.json").read_text(encoding="utf-8"))
    verdict = "Passed" if fields["passed"] else "Failed"
    assert page.text["b"] == [verdict]
    assert f"verdict {verdict.lower()}" in [attributes.get("class") for _, attributes in page.tags]
    marks = ["passed" if check["passed"] else "failed" for check in fields["checks"]]
    assert [attributes["class"] for tag, attributes in page.tags if tag == "tr" and attributes] == marks
    return page


def pictures(page: Page) -> list[str]:
    return [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]


def all_text(page: Page) -> str:
    return "\n".join(text for texts in page.text.values() for text in texts)


def test_another_machine_checks_itself(
    complement: Golden, certificate: Certificate, path: Path, tmp_path: Path
) -> None:
    made = check_against(complement.folder, 2, path, tmp_path / "here", show_progress=False)
    assert made.passed
    assert made.checks[0].name.startswith(RESPONSES)
    assert made.checks[0].value == 0  # the stand-in's answers are this machine's
    assert len(made.checks) == 1
    assert made.reference["name"] == f"a stand-in, as recorded on {certificate.date}"
    assert read_certificate(tmp_path / "here" / "certificate.json") == made
    written = {path.name for path in (tmp_path / "here").iterdir()}
    figures = {f"{name}{suffix}" for name in ("errors", "responses") for suffix in (".png", ".pdf", ".csv")}
    assert written == {"certificate.json", "config.json", "report.html", *figures}
    text = all_text(read_page(tmp_path / "here" / "report.html"))
    for shown in (
        "equals the PyTorch reference",
        "nothing <b>was</b> run",
        made.checks[0].name,
        made.versions["jax"],
    ):
        assert shown in text
    for hashes in (made.sources, made.converted, {name: image["sha256"] for name, image in made.stimuli.items()}):
        assert all(value in text for value in hashes.values())
    with pytest.raises(ResourceError, match="exists"):
        check_against(complement.folder, 2, path, tmp_path / "here")


def test_one_wrong_response_fails(complement: Golden, tmp_path: Path) -> None:
    responses = observe(complement.model, recorded_stimuli(), deep=False).responses
    responses[3, 17] += 1.5e-4
    path = tmp_path / "certificate.json"
    path.write_text(made_certificate(complement, responses).to_json(), encoding="utf-8")
    made = check_against(complement.folder, 2, path, tmp_path / "here", show_progress=False)
    assert not made.passed
    assert failed(made.checks) == [f"{RESPONSES}, largest difference (z)"]
    assert made.checks[0].value == pytest.approx(1.5e-4, rel=1e-2)
    assert "does NOT equal" in made.summary()
    page = read_page(tmp_path / "here" / "report.html")
    assert "does NOT equal" in all_text(page)
    assert page.text["td"][:2] == ["✗", f"{RESPONSES}, largest difference (z)"]
    with pytest.raises(ValidationError, match="did not pass"):
        check_against(complement.folder, 2, tmp_path / "here" / "certificate.json")


def flip(fields: dict[str, Any]) -> None:
    values = bytearray(base64.b64decode(fields["recorded"]["responses"]))
    values[100] ^= 1
    fields["recorded"]["responses"] = base64.b64encode(values).decode()


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda fields: fields.update(subject=3), "of subject 3, not 2"),
        (lambda fields: fields["sources"].update(part1="0" * 64), "another part1 than"),
        (lambda fields: fields["sources"].pop("part1_voxel_indices"), "another part1_voxel_indices than"),
        (lambda fields: fields["checks"][0].update(value=2.0), "verdict"),
        (lambda fields: fields["checks"][0].update(value=2.0) or fields.update(passed=False), "did not pass"),
        (lambda fields: fields["checks"][0].update(value=None) or fields.update(passed=False), "did not pass"),
        (lambda fields: fields["checks"].clear() or fields.update(passed=False), "did not pass"),
        (lambda fields: fields.update(passed=1), "verdict"),
        (lambda fields: fields.pop("recorded"), "recorded"),
        (lambda fields: fields.update(extra=1), "extra"),
        (lambda fields: fields.update(format_version=2), "format 2"),
        (lambda fields: fields.update(reference=None), "cannot be read"),
        (lambda fields: fields.update(reference={"name": 1}), "expected type"),
        (lambda fields: fields.update(selection_path={}), "cannot be read"),
        (lambda fields: fields.update(sources=[]), "sources is not"),
        (lambda fields: fields.update(subject=True), "subject is not"),
        (lambda fields: fields.update(checks=3), "cannot be read"),
        (flip, "not the ones that were written"),
        (lambda fields: fields["recorded"].update(responses="*"), "damaged"),
        (lambda fields: fields["recorded"].update(vertices=7), "damaged"),
        (lambda fields: fields["recorded"].pop("responses_sha256"), "damaged"),
        (lambda fields: fields["recorded"]["stimuli"].update({"recorded 1": "0" * 64}), "other images"),
        (lambda fields: fields["recorded"].update(vertices_sha256="0" * 64), "other images or vertices"),
    ],
)
def test_certificates_that_prove_nothing(
    complement: Golden, path: Path, alter: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        check_against(complement.folder, 2, change(path, alter))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\ud800", '{"passed": true}', "[" * 100_000])
def test_what_is_no_certificate(complement: Golden, tmp_path: Path, text: str) -> None:
    path = tmp_path / "certificate.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValidationError, match="cannot be read as a certificate"):
        check_against(complement.folder, 2, path)
    for there in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ModelNotFoundError, match="no file"):
            check_against(complement.folder, 2, there)


def test_what_certify_refuses(
    complement: Golden, berg_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nothing to compare with.*--against"):
        certify(complement.folder, 2, tmp_path / "out")
    with pytest.raises(ModelNotFoundError, match=r"nothing to compare with.*Subjects there: \[1, 2\]"):
        certify(berg_dir, 3, tmp_path / "out")
    with pytest.raises(InvalidParameterError, match="subject"):
        certify(berg_dir, 0, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(ResourceError, match=r"needs torch.*--against"):
        certify(berg_dir, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recorded_stimuli_never_change() -> None:
    stimuli = recorded_stimuli()
    assert [image.shape for image in stimuli.values()] == [(3, 224, 224)] * 2 + [(3, 280, 280)] * 2
    digests = [pixel_hash(image)[:16] for image in stimuli.values()]
    assert digests == ["9b8e4b8a98225945", "abd5f108b250227a", "243eba70d2969bef", "09603eef26edcc88"]
    for image in stimuli.values():
        blocks = image.reshape(3, 8, image.shape[1] // 8, 8, -1).mean((2, 4))
        assert blocks.std() > 30  # there is something to see


@pytest.mark.parametrize("total", [2, 160, 4096, 5000, 327_684])
def test_recorded_vertices(total: int) -> None:
    vertices = recorded_vertices(total)
    assert len(vertices) == min(total, 4096)
    assert (np.diff(vertices) > 0).all()
    assert vertices[0] >= 0
    assert vertices[-1] < total
    if total == 327_684:
        assert vertices[:4].tolist() == [56, 101, 172, 287]
        assert abs(np.mean(vertices < total // 2) - 0.5) < 0.05


def test_error_table() -> None:
    random = np.random.default_rng(0)
    theirs = random.normal(size=(3, 50)).astype(np.float32)
    ours = theirs + random.normal(size=(3, 50)).astype(np.float32) / 100
    some = np.array([4, 2, 9])
    table = error_table(
        {("cpu", "float32"): ours, ("gpu", "bfloat16"): theirs}, theirs, {"some": some, "one": some[:1]}
    )
    assert [(row["device"], row["region"], row["vertices"]) for row in table] == [
        ("cpu", "some", 3),
        ("cpu", "one", 1),
        ("gpu", "some", 3),
        ("gpu", "one", 1),
    ]
    differences = sorted(abs(float(ours[i, v]) - float(theirs[i, v])) for i in range(3) for v in some)
    assert table[0]["largest"] == pytest.approx(differences[-1])
    assert differences[-2] <= table[0]["p999"] <= differences[-1]
    a, b = ours[:, some].ravel(), theirs[:, some].ravel()
    expected = ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())
    assert table[0]["correlation"] == pytest.approx(expected, abs=1e-6)
    assert table[2]["largest"] == 0
    assert table[2]["correlation"] == pytest.approx(1)


def test_regions(complement: Golden, tmp_path: Path) -> None:
    subject = berg_jax.Subject(complement.folder, 2)
    found = regions(subject)
    assert list(found)[:5] == ["all vertices", "left hemisphere", "right hemisphere", "part 1", "part 2"]
    np.testing.assert_array_equal(np.sort(np.concatenate([found["part 1"], found["part 2"]])), np.arange(160))
    for name in set(found) - set(list(found)[:5]):
        np.testing.assert_array_equal(np.sort(found[name]), subject.vertices(name).global_indices)
    folder = Path(shutil.copytree(complement.folder, tmp_path / "copy"))
    (folder / "metadata.npy").unlink()
    assert len(regions(berg_jax.Subject(folder, 2))) == 5


def test_the_selection_path_by_hand() -> None:
    """Vertices 0 to 5; part 1 has 4 and 1. Selecting 0, 2, 3, 5 reads part 2's rows 0, 1, 2, 3."""
    second = np.array([[0, 10, 20, 30, 40, 50], [0, 10, 20, 30, 40, 50.5]], np.float32)
    found = selection_path(second, np.array([4, 1]), "overlay")
    assert (found["how"], found["of"], found["differing"]) == ("derived", 4, 3)
    assert (found["median"], found["largest"]) == (10, 20.5)  # of 0, 10, 10, 20.5
    assert "3 of the 4 vertices" in found["text"]
    found = selection_path(second[:, :4], np.array([4, 1]), "complement")
    assert (found["how"], found["of"], found["differing"], found["largest"]) == ("derived", 4, 0, 0)
    assert "4 rows for all of the 6 vertices" in found["text"]


@pytest.mark.torch  # for its time: it compiles what the others of this group need too
def test_the_published_package_s_interface(complement: Golden) -> None:
    """Run with our class of the same interface, whose selections are right."""
    stimuli = recorded_stimuli()
    images = {name: stimuli[name] for name in ("recorded 2", "recorded 1")}
    full = observe_berg(berg_jax.BERG, complement.folder, 2, images, images_per_batch=2)
    np.testing.assert_array_equal(full, observe(complement.model, images, deep=False).responses)
    found = measured_selection_path(berg_jax.BERG, "ours", complement.folder, 2, images, full, 2)
    assert (found["how"], found["of"], found["differing"]) == ("measured", 160, 0)
    found = measured_selection_path(berg_jax.BERG, "ours", complement.folder, 2, images, full[:, ::-1], 2)
    assert found["differing"] > 150
    assert published_package() is None  # no such package in this environment


def test_a_check_that_is_not_a_number_fails() -> None:
    assert not Check("x", float("nan"), 1.0).passed
    assert not Check("x", float("inf"), 1.0).passed
    assert Check("x", 1.0, 1.0).passed
    good = Observation(np.zeros((1, 4), np.float32))
    bad = Observation(np.full((1, 4), np.nan, np.float32))
    assert failed(compare(bad, good)) == [f"{RESPONSES}, largest difference (z)"]
    assert failed(compare(good, good)) == []
    with pytest.raises(ValidationError, match="4 vertices, the reference for 3"):
        compare(good, Observation(np.zeros((1, 3), np.float32)))
    inside = {("part1", kind, 2): np.ones((1, 4, 3), np.float32) for kind in ("tokens", "map")}
    lacking = failed(compare(good, replace(good, inside=inside)))
    assert [name.partition(",")[0] for name in lacking] == [TOKENS, HEADS]
    odd = {key: np.full_like(values, np.nan) for key, values in inside.items()}
    assert len(failed(compare(replace(good, inside=odd), replace(good, inside=inside)))) == 2
    half = {key: np.concatenate([np.full_like(values, np.nan), values]) for key, values in inside.items()}
    twice = {key: np.concatenate([values, values]) for key, values in inside.items()}
    assert len(failed(compare(replace(good, inside=half), replace(good, inside=twice)))) == 2


def test_what_is_not_finite_is_null_in_json(certificate: Certificate, tmp_path: Path) -> None:
    odd = replace(certificate, checks=[Check("x", float("nan"), 1.0)], errors=[{"correlation": float("nan")}])
    fields = json.loads(odd.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert fields["passed"] is False
    assert fields["checks"][0] == {"name": "x", "value": None, "limit": 1.0, "passed": False}
    assert fields["errors"] == [{"correlation": None}]
    assert not Certificate.from_json(odd.to_json()).passed
    assert "does NOT" in odd.summary()


def test_the_report_of_many_devices_and_of_odd_numbers(certificate: Certificate, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    theirs = random.normal(size=(2, 30)).astype(np.float32)
    ours = {("cpu", "float32"): theirs, ("<GPU>", "bfloat16"): theirs + 5}
    rows = error_table(ours, theirs, {"all vertices": np.arange(30), "<ROI>": np.array([3]), "$ROI$": np.array([4])})
    checks = [Check("<script>alert(1)</script>", float("nan"), 1e-4)]
    odd = replace(certificate, origin="synthetic", errors=rows, checks=checks, notes=["Note & more"])
    page = report_of(tmp_path / "odd", odd, ours, theirs)
    hostile = ("<script>alert(1)</script>", "<ROI>", "<GPU>", "$ROI$")
    for text in ("does NOT equal", "not a number", "SYNTHETIC", "Note & more", *hostile):
        assert text in all_text(page)
    assert len(pictures(page)) == 3
    assert page.text["summary"][0] == "By region"

    constant = np.ones((1, 5), np.float32)
    same = {("cpu", "float32"): constant}
    rows = error_table(same, constant, {"all vertices": np.arange(5)})
    page = report_of(tmp_path / "constant", replace(certificate, errors=rows), same, constant)
    assert len(pictures(page)) == 2
    assert "By region" not in page.text["summary"]
    assert page.text["td"][-3:] == ["0", "0", "–"]  # constant responses have no correlation


def report_of(
    folder: Path, certificate: Certificate, ours: dict[tuple[str, str], np.ndarray], theirs: np.ndarray
) -> Page:
    folder.mkdir()
    (folder / "certificate.json").write_text(certificate.to_json(), encoding="utf-8")
    return read_page(write_report(folder, certificate, ours, theirs, 1e-4, command="c", settings={}))


@pytest.mark.torch  # for its time: it compiles what the others of this group need too
def test_selections_and_repetitions_that_are_wrong(complement: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    images = natural_like_images(2, 1)
    part1 = np.load(complement.folder / "part1_vertices.npy")
    assert failed(check_consistency(complement.model, images, part1)) == []
    right = berg_jax.EncodingModel.select

    def ascending(model: berg_jax.EncodingModel, vertices: Vertices) -> berg_jax.EncodingModel:
        return right(model, Vertices(np.sort(vertices.lh), np.sort(vertices.rh), vertices.hemisphere_size))

    with monkeypatch.context() as patch:
        patch.setattr(berg_jax.EncodingModel, "select", ascending)
        assert len(failed(check_consistency(complement.model, images, part1))) == 3
    call, calls = berg_jax.EncodingModel.__call__, []

    def drifting(model: berg_jax.EncodingModel, images: np.ndarray) -> np.ndarray:
        calls.append(1)
        return np.asarray(call(model, images)) + np.float32(1e-6) * len(calls)

    monkeypatch.setattr(berg_jax.EncodingModel, "__call__", drifting)
    (name,) = failed(check_consistency(complement.model, images, part1))
    assert name.startswith("same images twice")
