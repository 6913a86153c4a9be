"""Vertices: checked, ordered, comparable; ROI expressions, masks and thresholds."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berg_jax.errors import InvalidParameterError
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.published.metadata import Metadata
from berg_jax.rois import resolve
from berg_jax.vertices import Vertices, places_in

from ..conftest import DATA


def test_order_is_kept_and_left_comes_first() -> None:
    vertices = Vertices([5, 2], np.array([7, 0], np.int32), 10)
    assert vertices.global_indices.tolist() == [5, 2, 17, 10]
    assert vertices.indices.tolist() == [5, 2, 7, 0]
    assert vertices.hemispheres.tolist() == ["lh", "lh", "rh", "rh"]
    assert len(vertices) == 4
    assert Vertices.from_global(vertices.global_indices, 10) == vertices
    assert Vertices([2, 5], [7, 0], 10) != vertices
    assert len({vertices, Vertices([5, 2], [7, 0], 10), Vertices.all(10)}) == 2
    assert Vertices.all(3).global_indices.tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="read-only"):
        vertices.lh[0] = 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 1], [], 10), "lh holds 1 vertices more than once, such as 1"),
        (([], [10], 10), "rh must hold indices within the hemisphere, 0 to 9, got 10"),
        (([-1], [], 10), "got -1"),
        (([0.5], [], 10), "float64"),
        ((np.ones(10, bool), [], 10), "flatnonzero"),
        (([[1]], [], 10), "one-dimensional"),
        (([1], [], 0), "hemisphere_size"),
        (([1], [], 2.5), "hemisphere_size"),
    ],
)
def test_bad_vertices(arguments: tuple, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        Vertices(*arguments)


@pytest.fixture(scope="module", params=[1, 2])
def metadata(request: pytest.FixtureRequest) -> Metadata:
    return Metadata(SubjectFiles(DATA / "golden", request.param).metadata)


def sets(vertices: Vertices) -> set[int]:
    return set(vertices.global_indices.tolist())


def roi(metadata: Metadata, name: str) -> set[int]:
    size = metadata.hemisphere_size
    return set(metadata.rois["lh"][name].tolist()) | {i + size for i in metadata.rois["rh"][name].tolist()}


def test_expressions_are_set_algebra(metadata: Metadata) -> None:
    def r(name: str) -> set[int]:
        return roi(metadata, name)

    for text, expected in {
        "V1v": r("V1v"),
        " V1v+V1d ": r("V1v") | r("V1d"),
        "V1": r("V1v") | r("V1d"),
        "FFA + VWFA": r("FFA-1") | r("FFA-2") | r("VWFA-1") | r("VWFA-2"),
        "OVWFA": r("OWFA"),
        "nsdgeneral - early": r("nsdgeneral") - r("early"),
        "early & nsdgeneral": r("early") & r("nsdgeneral"),
        "V1v + early & nsdgeneral": r("V1v") | (r("early") & r("nsdgeneral")),
        "(V1v + early) & nsdgeneral": (r("V1v") | r("early")) & r("nsdgeneral"),
        "nsdgeneral - V1v - V1d + V1v": (r("nsdgeneral") - r("V1v") - r("V1d")) | r("V1v"),
        "((nsdgeneral) - (V1v + V1d))": r("nsdgeneral") - r("V1v") - r("V1d"),
    }.items():
        got = resolve(text, metadata)
        assert sets(got) == expected, text
        assert (np.diff(got.lh) > 0).all()
        assert (np.diff(got.rh) > 0).all()
    assert sets(resolve(["V1v", "early - V1v"], metadata)) == r("V1v") | r("early")


def test_hemispheres_and_other_selections(metadata: Metadata) -> None:
    size = metadata.hemisphere_size
    assert len(resolve(None, metadata)) == 2 * size
    assert sets(resolve("V1v", metadata, hemisphere="rh")) == {i for i in roi(metadata, "V1v") if i >= size}
    mask = np.zeros(size, np.int8)
    mask[[3, 5]] = 1
    for values in (mask, mask.astype(bool), mask.tolist(), [5, 3]):
        assert resolve({"lh": values}, metadata) == Vertices([3, 5], [], size)
    vertices = Vertices([5, 3], [1], size)
    assert resolve(vertices, metadata) == Vertices([3, 5], [1], size)


def test_thresholds(metadata: Metadata) -> None:
    size = metadata.hemisphere_size
    ncsnr = np.concatenate([metadata.ncsnr(h) for h in ("lh", "rh")])
    variance = np.concatenate([metadata.accuracy("explained_variance", h) for h in ("lh", "rh")])
    cut_ncsnr, cut_variance = np.nanmedian(ncsnr), np.nanmedian(variance)
    got = resolve(None, metadata, min_ncsnr=cut_ncsnr, min_explained_variance=cut_variance)
    assert sets(got) == set(np.flatnonzero((ncsnr >= cut_ncsnr) & (variance >= cut_variance)).tolist())
    with pytest.raises(InvalidParameterError, match=f"No vertex of the selection passes.*{2 * size} were there"):
        resolve(None, metadata, min_ncsnr=1e9)


def test_nan_never_passes_a_threshold(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.full(metadata.hemisphere_size, np.nan)
    values[4] = 0.5
    monkeypatch.setattr(metadata, "ncsnr", lambda hemisphere: values)
    assert resolve(None, metadata, min_ncsnr=-1e9).lh.tolist() == [4]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ("FFB-1", r"Invalid ROI: 'FFB-1'. Valid ROIs are: \['V1v'.*Nearest: \['FFA-1'"),
        ("FFA-1 -FFA-2", "spaces on both sides"),
        ("ffa-1", r"Nearest: \['FFA-1'[^.]*\]\.$"),
        ("v1-ffa-1", "spaces on both sides"),
        ("", "expected at its end"),
        ("V1 +", "expected at its end"),
        ("V1 & & V2", "expected before '&'"),
        ("(V1", "not closed"),
        ("V1)", r"'\)' is not expected"),
        ("(" * 60 + "V1" + ")" * 60, "nested"),
        ("V1v - V1", "no vertices in either hemisphere"),
        (["V1", 3], "A selection is"),
        ([], "A selection is"),
        (3, "A selection is"),
        ({"left": [1]}, "keys 'lh' and 'rh'"),
        ({"lh": [10**6]}, "within the hemisphere"),
        ({"lh": np.ones(5, bool)}, "a mask must have"),
        ({"lh": []}, "no vertices"),
        (Vertices([0], [], 7), "hemispheres of 7"),
    ],
)
def test_bad_selections(selection: object, said: str, metadata: Metadata) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        resolve(selection, metadata)


def test_an_empty_roi_says_so(metadata: Metadata) -> None:
    with pytest.raises(InvalidParameterError, match="'mTL-bodies' has no vertices in either hemisphere"):
        resolve("mTL-bodies", metadata)
    assert not len(metadata.rois["lh"]["FFA-2"])
    assert len(resolve("FFA-2", metadata)) == len(metadata.rois["rh"]["FFA-2"])
    with pytest.raises(InvalidParameterError, match="no vertices in lh"):
        resolve("FFA-2", metadata, hemisphere="lh")
    with pytest.raises(InvalidParameterError, match="'lh', 'rh' or 'both'"):
        resolve("V1", metadata, hemisphere="left")


@settings(max_examples=200, deadline=None)
@given(st.text("V1vd+-&() FA2é\t", max_size=30))
def test_any_text_gives_vertices_or_a_sentence(text: str) -> None:
    golden = Metadata(SubjectFiles(DATA / "golden", 1).metadata)
    with contextlib.suppress(InvalidParameterError):
        resolve(text, golden)


def test_places_in_any_order() -> None:
    known = np.array([7, 2, 9, 4])
    places, lacking = places_in(known, np.array([4, 3, 7, 99, 0]))
    np.testing.assert_array_equal(lacking, [False, True, False, True, True])
    np.testing.assert_array_equal(places[~lacking], [3, 0])
