"""Receptive fields: planted ones are found, up is up, and measured ones are compared where they can be trusted."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution, Selection
from berg_jax.cli.app import app
from berg_jax.demo import images as drawings
from berg_jax.errors import InvalidParameterError, Unfinished
from berg_jax.experiments.retinotopy import experiment as retinotopy
from berg_jax.experiments.retinotopy import probes as kinds
from berg_jax.experiments.retinotopy.probes import bars, gaussians, join, natural_images, probe_source, rings, wedges
from berg_jax.experiments.retinotopy.receptive_fields import (
    agreement,
    circular_correlation,
    fit,
    model_centers,
    polar,
)
from berg_jax.stream import Process
from berg_jax.stream.sources.folders import FolderSource
from berg_jax.vertices import HEMISPHERES

from ...conftest import Golden
from ..reporting.standing import check_figure

PIXEL = 8.4 / 224


def seen(window: np.ndarray) -> tuple[float, float]:
    """Middle of a window in degrees, x right and y up, from rows that run down."""
    rows, columns = np.indices(window.shape)
    weights = window.astype(np.float64) / window.sum(dtype=np.float64)
    return (weights * columns).sum() * PIXEL - 4.2 + PIXEL / 2, 4.2 - PIXEL / 2 - (weights * rows).sum() * PIXEL


def planted_of(person: berg_jax.Subject, vertices: berg_jax.Vertices) -> np.ndarray:
    raw = person.metadata.raw["planted"]
    return np.concatenate([raw[f"{h}_rf_center"][getattr(vertices, h)] for h in HEMISPHERES])


def test_windows_stand_where_they_say() -> None:
    probes = gaussians(12, 0.4)
    assert probes.windows.shape == (144, 224, 224)
    np.testing.assert_allclose(probes.centers[0], (-3.85, 3.85))  # the first one is at the upper left
    for index in (40, 66, 103):  # far from the border, which cuts windows
        np.testing.assert_allclose(seen(probes.windows[index]), probes.centers[index], atol=2e-3)
        assert probes.windows[index].max() > 0.98
    spread = (probes.windows[66].astype(float) ** 1).sum() * PIXEL**2 / (2 * np.pi)
    np.testing.assert_allclose(spread**0.5, 0.4, rtol=2e-3)


def test_wedges_turn_counterclockwise_from_the_right() -> None:
    probes = wedges(8, 30)
    for index, window in enumerate(probes.windows):
        x, y = seen(window)
        np.testing.assert_allclose(np.degrees(np.arctan2(y, x)) % 360, 45 * index, atol=0.2)
        np.testing.assert_allclose(window.sum(dtype=float) * PIXEL**2, np.pi * 4.2**2 / 12, rtol=0.01)
    assert np.isnan(probes.centers).all()


def test_rings_and_bars() -> None:
    for index, window in enumerate(rings(6, 0.7).windows):
        middle = (index + 0.5) * 0.7
        np.testing.assert_allclose(window.sum(dtype=float) * PIXEL**2, 2 * np.pi * middle * 0.7, rtol=0.01)
        assert abs(np.array(seen(window))).max() < 1e-3
    across, along = bars(2, 4, 1.05).windows.reshape(2, 4, 224, 224)
    np.testing.assert_allclose([seen(window)[0] for window in across], [-3.15, -1.05, 1.05, 3.15], atol=1e-3)
    np.testing.assert_allclose([seen(window)[1] for window in along], [-3.15, -1.05, 1.05, 3.15], atol=1e-3)
    np.testing.assert_array_equal(across[1], across[1][:1].repeat(224, 0))


def test_probes_are_filled_with_every_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(random.integers(0, 256, (100, 100, 3), np.uint8)).save(tmp_path / f"{name}.png")
    source = FolderSource(tmp_path)
    images = natural_images(source)
    expected = np.asarray(Image.open(tmp_path / "b.png")).transpose(2, 0, 1).astype(np.float64)
    place = np.clip((np.arange(224) + 0.5) * 100 / 224 - 0.5, 0, 99)
    low = np.floor(place).astype(int)
    high, share = np.minimum(low + 1, 99), place - low
    rows = expected[:, low] * (1 - share)[:, None] + expected[:, high] * share[:, None]
    whole = rows[:, :, low] * (1 - share) + rows[:, :, high] * share
    assert abs(images[1] - whole).max() <= 0.5 + 1e-9
    probes = gaussians(3, 0.6)
    made = probe_source(probes, images)
    assert len(made) == 27
    found = np.asarray(made.read([16, 5]))
    window = probes.windows[5].astype(np.float64)
    np.testing.assert_allclose(found[0], 128 + window * (images[1].astype(float) - 128), atol=1e-3)
    window = probes.windows[1].astype(np.float64)
    np.testing.assert_allclose(found[1], 128 + window * (images[2].astype(float) - 128), atol=1e-3)
    assert made.fingerprint != probe_source(probes, images[:, :, ::-1]).fingerprint
    assert made.fingerprint != probe_source(gaussians(3, 0.5), images).fingerprint
    program = made._make.lower(made.key, np.arange(2, dtype=np.int32), *made.held).as_text()
    assert len(program) < 20_000  # neither windows nor images are in the program


@pytest.mark.parametrize("kind", ["gaussians", "bars", "wedges and rings"])
def test_a_fit_finds_planted_receptive_fields(kind: str) -> None:
    """Responses are overlaps with Gaussians, by NumPy on whole pixels, with gain, baseline and a little noise."""
    random = np.random.default_rng(1)
    probes = {"gaussians": lambda: gaussians(14), "bars": bars, "wedges and rings": lambda: join([wedges(), rings()])}
    made = probes[kind]()
    angle, eccentricity = random.uniform(-np.pi, np.pi, 40), random.uniform(0.2, 3.2, 40)
    centers = np.stack([eccentricity * np.cos(angle), eccentricity * np.sin(angle)], axis=1)
    size = random.uniform(0.3, 1.2, 40)
    x = (np.arange(224) + 0.5) * PIXEL - 4.2
    fields = np.exp(
        -((x - centers[:, :1, None]) ** 2 + (-x[:, None] - centers[:, 1:, None]) ** 2) / (2 * size**2)[:, None, None]
    )
    responses = made.windows.reshape(len(made.windows), -1).astype(np.float64) @ fields.reshape(40, -1).T
    responses *= random.uniform(0.5, 3, 40) / responses.std(0)
    responses += random.normal(0, 0.01, responses.shape) * responses.std(0) - 2
    responses[:, 0] = 1.5  # which does not vary
    found = fit(made, responses)
    assert np.isnan(found.centers[0]).all()
    assert np.isnan(found.size[0])
    np.testing.assert_allclose(found.centers[1:], centers[1:], atol=0.08 if kind == "gaussians" else 0.12)
    np.testing.assert_allclose(found.size[1:], size[1:], rtol=0.12)
    assert found.r2[1:].min() > 0.97
    reversed_ = fit(made, -responses)
    assert not (reversed_.r2 > 0.9).any()  # a receptive field's gain is positive


def test_a_fit_s_errors() -> None:
    with pytest.raises(InvalidParameterError, match="at least 8 probes, got 4"):
        fit(gaussians(2), np.zeros((4, 3)))
    with pytest.raises(InvalidParameterError, match="got 8 for 9 probes"):
        fit(gaussians(3), np.zeros((8, 3)))


def test_circular_correlation() -> None:
    """Against the definition, a sum over all pairs."""
    random = np.random.default_rng(0)
    a = random.uniform(-180, 180, 60)
    b = a + random.normal(0, 40, 60)
    pairs = [np.sin(np.radians(x[:, None] - x)) for x in (a, b)]
    expected = (pairs[0] * pairs[1]).sum() / np.sqrt((pairs[0] ** 2).sum() * (pairs[1] ** 2).sum())
    np.testing.assert_allclose(circular_correlation(a, b), expected, rtol=1e-12)
    np.testing.assert_allclose(circular_correlation(a, (a + 200) % 360), 1, rtol=1e-12)
    np.testing.assert_allclose(circular_correlation(a, -a), -1, rtol=1e-12)
    assert np.isnan(circular_correlation(np.zeros(5), a[:5]))


def test_agreement_leaves_out_what_is_not_known() -> None:
    random = np.random.default_rng(0)
    centers = random.normal(0, 2, (50, 2))
    maps = polar(centers)
    angle, eccentricity = maps["angle"].copy(), maps["eccentricity"].copy()
    angle[:10], eccentricity[10:15], centers[15, 0] = 0.0, np.nan, np.nan
    found = agreement(centers, angle, eccentricity, np.arange(50) >= 10)
    assert found["vertices"] == 34
    np.testing.assert_allclose([found["angle"], found["eccentricity"]], 1)
    far = eccentricity.copy()
    far[20] = 1e6
    kept = ~np.isnan(eccentricity) & (np.arange(50) >= 20)
    clipped = np.corrcoef(maps["eccentricity"][kept].clip(max=3), far[kept].clip(max=3))[0, 1]
    at = np.where(np.arange(50)[:, None] == 20, 0, centers)  # the center has an eccentricity and no angle
    central = agreement(at, angle, np.where(np.arange(50) == 20, 0, eccentricity), np.arange(50) >= 10)
    assert central["vertices"] == found["vertices"]
    np.testing.assert_allclose([central["angle"], central["eccentricity"]], 1)
    assert np.isnan(polar(np.zeros((1, 2)))["angle"]).all()
    np.testing.assert_allclose(agreement(centers, angle, far, kept, 3)["eccentricity"], clipped)
    assert np.isnan(agreement(centers, angle, eccentricity, np.arange(50) == 20)["angle"])
    assert np.isnan(found["angle_interval"].low)  # without patches there is none
    noise = random.normal(size=(2, 50))
    angle, eccentricity = angle + 20 * noise[0], eccentricity + noise[1]
    found = agreement(centers, angle, eccentricity, np.arange(50) >= 10, patches=np.arange(50) // 2)
    for name in ("angle", "eccentricity"):
        low, high = found[f"{name}_interval"]
        assert -1 <= low < found[name] < high <= 1


@pytest.fixture(scope="module")
def person(demo: Path) -> berg_jax.Subject:
    return berg_jax.Subject("demo", 1)


def test_the_model_s_model_centers_are_the_planted_ones(person: berg_jax.Subject) -> None:
    early = person.vertices("early + hV4")
    random = np.random.default_rng(0)
    shuffled = berg_jax.Vertices(random.permutation(early.lh)[:50], random.permutation(early.rh)[:40], 10_242)
    for vertices in (early, shuffled):
        np.testing.assert_allclose(model_centers(person.model(vertices)), planted_of(person, vertices), atol=1e-6)
    upper = model_centers(person.model(roi="V1v"))
    assert (upper[:, 1] > -0.01).all()  # the ventral bank sees the upper field


@pytest.fixture
def measured(person: berg_jax.Subject, tmp_path: Path) -> Path:
    """Measured maps as NSD's files: the planted ones where prfR2 is high, nonsense elsewhere."""
    random = np.random.default_rng(0)
    folder = tmp_path / "measured"
    folder.mkdir()
    for hemisphere in HEMISPHERES:
        maps = polar(person.metadata.raw["planted"][f"{hemisphere}_rf_center"])
        trusted = random.random(10_242) < 0.7
        nonsense = random.uniform(0, 360, 10_242)
        for name, values in (
            ("prfangle", np.where(trusted, maps["angle"] % 360, nonsense)),
            ("prfeccentricity", np.where(trusted, maps["eccentricity"], 100)),
            ("prfR2", np.where(trusted, 80.0, 19.9)),
        ):
            image = nibabel.MGHImage(values.astype(np.float32).reshape(-1, 1, 1), np.eye(4))
            image.to_filename(folder / f"{hemisphere}.{name}.mgz")
    return folder


@pytest.mark.nightly
def test_the_command_finds_planted_receptive_fields(person: berg_jax.Subject, measured: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    np.save(tmp_path / "natural.npy", drawings("natural", 5))
    command = ["retinotopy", str(tmp_path / "natural.npy"), "--images", "0-3", "--berg-dir", "demo", "--subject", "1"]
    command += ["--roi", "early + hV4", "--probes", "wedges", "--probes", "rings"]
    command += ["--measured", str(measured), "--output", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "SYNTHETIC" in result.output

    maps = dict(np.load(output / "maps.npz"))
    vertices = berg_jax.Vertices(maps["lh"], maps["rh"], int(maps["hemisphere_size"]))
    assert vertices == person.vertices("early + hV4")
    truth = polar(planted_of(person, vertices))
    assert circular_correlation(maps["fit_angle"], truth["angle"]) >= 0.95
    for name in ("x", "y", "eccentricity"):
        assert np.corrcoef(maps[f"fit_{name}"], truth[name])[0, 1] >= 0.95, name
    np.testing.assert_allclose(maps["model_y"], truth["y"], atol=1e-6)
    assert circular_correlation(-maps["fit_angle"], truth["angle"]) < 0  # y taken for rows would be seen
    assert 0.3 < np.median(maps["fit_size"]) < 0.9  # 0.45° were planted, and the network's patches blur

    facts = json.loads((output / "results.json").read_text())
    rows = {(row["with"], row["region"]): row for row in facts["agreement"]}
    whole, kept = rows["planted", "V1"], rows["measured", "V1"]
    assert whole["vertices"] == 335
    assert 200 < kept["vertices"] < 270
    for name in ("angle", "eccentricity"):  # nonsense would ruin it
        np.testing.assert_allclose(kept[name], whole[name], atol=0.02)
    assert (facts["settings"]["windows"], facts["settings"]["images"]) == (40, 4)
    assert facts["synthetic"]
    right = nibabel.load(output / "maps" / "fit_x.rh.func.gii").darrays[0].data
    np.testing.assert_allclose(right[vertices.rh], maps["fit_x"][len(vertices.lh) :], rtol=1e-6)
    assert np.nanmedian(right) < 0  # the right hemisphere sees the left half
    page, config = (output / "report.html").read_text(), json.loads((output / "config.json").read_text())
    assert page.count("<figure>") == 7
    assert "SYNTHETIC weights." in page
    lines = {row["area"]: row for row in facts["size over eccentricity"]}
    assert list(lines) == ["V1", "V2", "V3", "hV4"]
    assert all(row["contralateral"] > 0.8 for row in facts["coverage"])
    for name in ("agreement_planted", "agreement_measured", "size_eccentricity", "coverage"):
        assert len(check_figure(output / f"{name}.png")) > 100
    assert config["command"].startswith(f"berg-jax retinotopy {tmp_path / 'natural.npy'} --berg-dir demo --subject 1")
    assert config["settings"]["roi"] == "early + hV4"
    for name in ("angle", "eccentricity", "size"):
        with Image.open(output / f"{name}.png") as picture:
            assert picture.width == 1350


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"probes": ["discs"]}, r"probes must be one or more of \['gaussians'"),
        ({"probes": []}, "probes must be"),
        ({"sigma": 0}, "sigma must be above 0, got 0"),
        ({"selection": Selection("V9")}, "Invalid ROI"),
    ],
)
def test_mistakes(options: dict[str, Any], said: str, demo: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        retinotopy.map_retinotopy(berg_jax.Subject("demo", 1), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_measured_maps_that_cannot_be_compared(demo: Path, measured: Path, tmp_path: Path) -> None:
    for name, values, said in (
        ("prfR2", np.full(10_242, 0.8), "prfR2 of at least 20 .* the largest is 0.8. It is in per cent"),
        ("prfR2", np.zeros(32_492), "32492 values for lh, which looks like a hemisphere of fs_LR 32k"),
    ):
        for hemisphere in HEMISPHERES:
            image = nibabel.MGHImage(values.astype(np.float32).reshape(-1, 1, 1), np.eye(4))
            image.to_filename(measured / f"{hemisphere}.{name}.mgz")
        with pytest.raises(InvalidParameterError, match=said):
            retinotopy.map_retinotopy(berg_jax.Subject("demo", 1), tmp_path / "out", measured=measured)
    shutil.rmtree(measured)
    with pytest.raises(berg_jax.ModelNotFoundError, match=r"neither .*prfangle\.lh\.mgz nor .*lh\.prfangle\.mgz"):
        retinotopy.map_retinotopy(berg_jax.Subject("demo", 1), tmp_path / "out", measured=measured)


def test_real_subjects_need_images(complement: Golden, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="give a folder or an array, such as NSD's"):
        retinotopy.map_retinotopy(berg_jax.Subject(complement.folder, 2), tmp_path / "out")


def test_parts_of_vertices_are_put_together(
    complement: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 probes take 128 bytes a vertex: of 160 vertices 50 fit into 6,400 bytes."""
    np.save(tmp_path / "natural.npy", np.zeros((2, 3, 224, 224), np.uint8))
    options: dict[str, Any] = {"images": tmp_path / "natural.npy", "grid": 4, "fit_sizes": True}
    asked: list[tuple[str, int, str]] = []

    def answer(model: Any, probes: Any, images: Any, output: Path, identity: str, **_: Any) -> dict[str, np.ndarray]:
        asked.append((output.name, len(model.vertices), identity))
        centers = polar(model_centers(model))
        model_, fit_ = ({f"{kind}_{name}": values for name, values in centers.items()} for kind in ("model", "fit"))
        return {**model_, **fit_, "fit_size": centers["x"] ** 2, "fit_r2": np.ones(len(model.vertices))}

    monkeypatch.setattr(retinotopy, "probe_model", answer)
    monkeypatch.setattr(retinotopy, "sections", lambda *_: [])  # no figures
    subject = berg_jax.Subject(complement.folder, 2)
    retinotopy.map_retinotopy(subject, tmp_path / "whole", **options)
    retinotopy.map_retinotopy(subject, tmp_path / "parts", fit_memory=6_400e-9, **options)
    assert [name for name, _, _ in asked] == ["stream", "stream-1", "stream-2", "stream-3", "stream-4"]
    assert [count for _, count, _ in asked] == [160, 40, 40, 40, 40]
    assert len({identity for _, _, identity in asked}) == 5
    whole, parts = (dict(np.load(tmp_path / name / "maps.npz")) for name in ("whole", "parts"))
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values, err_msg=name)
    options["fit_sizes"] = False  # nothing is kept then
    retinotopy.map_retinotopy(subject, tmp_path / "unfitted", fit_memory=6_400e-9, **options)
    assert [(name, count) for name, count, _ in asked[5:]] == [("stream", 160)]
    options["fit_sizes"] = True
    with pytest.raises(InvalidParameterError, match=r"room for a vertex: 1.3e-07 GB for 16 probes; got 1e-09"):
        retinotopy.map_retinotopy(subject, tmp_path / "none", fit_memory=1e-9, **options)


@pytest.mark.nightly
def test_processes_share_the_work(complement: Golden, tmp_path: Path) -> None:
    np.save(tmp_path / "natural.npy", np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), np.uint8))
    options: dict[str, Any] = {"images": tmp_path / "natural.npy", "grid": 4, "fit_sizes": True}
    subject, quiet = berg_jax.Subject(complement.folder, 2), {"batch_size": 2, "show_progress": False}
    retinotopy.map_retinotopy(subject, tmp_path / "alone", execution=Execution(**quiet), **options)
    options["fit_memory"] = 100 * 128e-9  # in two parts
    for index in range(2):
        execution = Execution(process=Process(index, 2), **quiet)
        last = contextlib.nullcontext() if index else pytest.raises(Unfinished, match="done its share")
        with last:
            retinotopy.map_retinotopy(subject, tmp_path / "shared", execution=execution, **options)
        assert (tmp_path / "shared" / "report.html").exists() == (index == 1)
    alone, shared = (dict(np.load(tmp_path / name / "maps.npz")) for name in ("alone", "shared"))
    assert alone.keys() == shared.keys()
    for name, values in alone.items():
        np.testing.assert_allclose(shared[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_every_kind_of_probe_is_a_command_s(demo: Path) -> None:
    from berg_jax.cli.experiments import ProbeKind

    assert [kind.value for kind in ProbeKind] == list(kinds.KINDS)


@pytest.mark.nightly
@pytest.mark.parametrize("probes", [["gaussians"], ["bars"], ["wedges", "rings"]])
def test_the_demo_s_default(probes: list[str], demo: Path, tmp_path: Path) -> None:
    """Over all early vertices together, by a fit; x and y of the best Gaussian, too."""
    options: dict[str, Any] = {"selection": Selection("early + hV4"), "execution": Execution(show_progress=False)}
    retinotopy.map_retinotopy(berg_jax.Subject("demo", 1), tmp_path / "out", probes=probes, fit_sizes=True, **options)
    facts = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {(row["with"], row["region"]): row for row in facts["agreement"]}
    maps = dict(np.load(tmp_path / "out" / "maps.npz"))
    for name in ("x", "y"):
        assert np.corrcoef(maps[f"fit_{name}"], maps[f"model_{name}"])[0, 1] >= 0.95
        if probes == ["gaussians"]:
            (line,) = (row for row in facts["size over eccentricity"] if row["area"] == "V1")
            assert abs(line["slope"]) < 0.03  # all sizes are 0.45°
            assert abs(line["intercept"] - 0.45) < 0.02
            assert np.corrcoef(maps[f"probe_{name}"], maps[f"model_{name}"])[0, 1] >= 0.95
    for other in ("planted", "the model's own"):
        print(probes, other, rows[other, "all vertices"])
        assert rows[other, "all vertices"]["angle"] >= 0.95
        assert rows[other, "all vertices"]["eccentricity"] >= 0.95
