"""Stock DINOv2 backbones: the same tokens as transformers' own model, and files that are none are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import berg_jax
from berg_jax import Execution
from berg_jax.convert.dinov2 import load_dinov2
from berg_jax.errors import ModelLoadError, ModelNotFoundError
from berg_jax.experiments.representations.experiment import compare_representations
from berg_jax.experiments.representations.given import class_tokens
from berg_jax.model.nn.precision import PRECISIONS
from berg_jax.model.nn.preprocess import preprocess
from berg_jax.model.nn.vit import ViT
from berg_jax.stream.sources.arrays import ArraySource

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.numpy")
pytestmark = pytest.mark.torch


def make(folder: Path, side: int, **options: Any) -> Any:
    """A random model of transformers', written as it writes them."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 3, "patch_size": 14, **options}
    model = transformers.Dinov2Model(transformers.Dinov2Config(image_size=side, **sizes)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += 0.3 * torch.randn_like(value) * (1 if "weight" in name or "embed" in name else 0.5)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("side", [224, 518])
def test_tokens_are_transformers(side: int, tmp_path: Path) -> None:
    """At 224 nothing is resized; at 518 the position embedding is, by transformers' rule."""
    model = make(tmp_path / "model", side)
    backbone = load_dinov2(tmp_path / "model")
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224)).astype(np.float32)
    pixels = np.asarray(preprocess(images))
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels.copy()), output_hidden_states=True).hidden_states
    layers = tuple(range(5))
    _, taps = ViT(backbone.config, PRECISIONS["float32"], layers).apply({"params": backbone.params}, pixels)
    for layer in layers:
        theirs = expected[layer + 1].numpy()
        error = np.linalg.norm(np.asarray(taps[layer]) - theirs) / np.linalg.norm(theirs - theirs.mean())
        assert error < 1e-5, layer
    np.save(tmp_path / "images.npy", images)
    tokens = class_tokens(backbone, ArraySource(tmp_path / "images.npy"), 2)
    assert list(tokens) == ["dinov2-0", "dinov2-1", "dinov2-2", "dinov2-4"]
    np.testing.assert_allclose(tokens["dinov2-4"], expected[5][:, 0].numpy(), rtol=1e-3, atol=1e-3)
    if side == 518:  # the other rule is another model
        other = load_dinov2(tmp_path / "model", 0.1)
        assert abs(other.params["pos_embed"] - backbone.params["pos_embed"]).max() > 1e-3


def test_both_spellings_of_the_names(tmp_path: Path) -> None:
    make(tmp_path / "model", 224)
    tensors = safetensors.load_file(tmp_path / "model" / "model.safetensors")
    names = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj"}
    names |= {"attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}
    expected = load_dinov2(tmp_path / "model")
    for pairs in (names.items(), [(new, old) for old, new in names.items()]):
        changed = {}
        for name, tensor in tensors.items():
            for old, new in pairs:
                name = name.replace(f".{old}.", f".{new}.")
            changed[f"dinov2.{name}"] = tensor
        safetensors.save_file(changed, tmp_path / "model" / "model.safetensors")
        found = load_dinov2(tmp_path / "model")
        np.testing.assert_array_equal(
            found.params["blocks"]["attn"]["qkv"]["kernel"], expected.params["blocks"]["attn"]["qkv"]["kernel"]
        )


def test_files_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make(folder, 224)
    file = folder / "model.safetensors"
    tensors = safetensors.load_file(file)

    def refused(said: str, **changes: Any) -> None:
        safetensors.save_file({k: v for k, v in {**tensors, **changes}.items() if v is not None}, file)
        with pytest.raises(ModelLoadError, match=said):
            load_dinov2(folder)

    refused("embeddings.cls_token is missing", **{"embeddings.cls_token": None})
    refused("embeddings.register_tokens is not expected", **{"embeddings.register_tokens": np.zeros((1, 4, 48))})
    refused(r"fc2.bias has shape \(47,\), expected \(48,\)", **{"encoder.layer.2.mlp.fc2.bias": np.zeros(47)})
    refused(
        "256 patches|255 patches, which is no square", **{"embeddings.position_embeddings": np.zeros((1, 256, 48))}
    )
    safetensors.save_file(tensors, file)
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 7}))
    with pytest.raises(ModelLoadError, match="48 does not divide into 7 heads"):
        load_dinov2(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config\.json cannot be read"):
        load_dinov2(folder)
    file.write_bytes(b"no safetensors")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        load_dinov2(file)
    with pytest.raises(ModelNotFoundError, match="There is no file"):
        load_dinov2(tmp_path / "none")


def test_a_baseline_stands_beside_the_regions(demo: Path, tmp_path: Path) -> None:
    make(tmp_path / "model", 224)
    options: dict[str, Any] = {"rois": ["V1", "FFA-1"], "dinov2": tmp_path / "model"}
    options["execution"] = Execution(show_progress=False)
    said = compare_representations([berg_jax.Subject("demo", 1)], tmp_path / "out", **options)
    assert "dinov2-4" in said
    with np.load(tmp_path / "out" / "similarities.npz") as found:
        assert found["names"].tolist() == ["V1", "FFA-1", "dinov2-0", "dinov2-1", "dinov2-2", "dinov2-4"]
        assert not np.isnan(found["matrix"]).any()
