"""Converted subjects, certificates, configurations, backbones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from berg_jax.convert.subject import read_options
from berg_jax.experiments.certificate.record import Certificate, Check, read_certificate, record, recorded
from berg_jax.model.checkpoint import Description, read_description, verify
from berg_jax.model.nn.config import PartConfig, ViTConfig

from ..by_chance import Target
from .common import SIZE


def _description_seeds(folder: Path) -> list[bytes]:
    part = PartConfig(ViTConfig.tiny(2), (1, 3), 8)
    source = {"name": "x.pth", "size": 1, "sha256": "0" * 64, "mtime_ns": 0}
    description = Description(
        subject=1,
        hemisphere_size=SIZE,
        parts={"part1": part, "part2": part},
        rows={"part1": 4, "part2": 12},
        layout="overlay",
        layout_guessed=False,
        options={"lora_scale": 0.2, "retina_sigma": 0.01},
        sources={"part1": source},
        origin="synthetic",
        versions={"jax": "0"},
    )
    (folder / "SHA256SUMS").write_bytes(b"")
    return [description.to_json().encode()]


def _read_description(path: Path) -> Any:
    return dataclasses.asdict(read_description(path.parent))


def _sums_seeds(folder: Path) -> list[bytes]:
    lines = []
    for name in ("metadata.npy", "part1/array", "subject.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"contents")
        lines.append(f"{hashlib.sha256(b'contents').hexdigest()}  {name}\n")
    return ["".join(lines).encode()]


def _certificate_seeds(folder: Path) -> list[bytes]:
    certificate = Certificate(
        subject=1,
        origin="synthetic",
        layout="overlay",
        rows={"part1": 2},
        options={},
        sources={"part1": "0"},
        converted={},
        reference={"name": "torch"},
        versions={},
        machine={},
        date="2026-01-01",
        seconds=1.0,
        stimuli={},
        checks=[Check("responses", 1e-5, 1e-3), Check("tokens", 0.0, 1.0)],
        errors=[],
        selection_path={"text": "the same"},
        recorded=record({"x": np.zeros((3, 4, 4))}, np.arange(4), np.ones((1, 4), np.float32)),
    )
    return [certificate.to_json().encode()]


def _read_certificate(path: Path) -> Any:
    certificate = read_certificate(path)
    certificate.summary()
    return recorded(path, certificate.recorded, {"x": np.zeros((3, 4, 4))}, np.arange(4))


def _yaml_seeds(folder: Path) -> list[bytes]:
    text = (
        "MODEL:\n  BACKBONE:\n    LORA: {SCALE: 0.2, R: 8}\n    LAYERS: [2, 5]\n  RETINA_MAPPER:\n"
        "    CONSTANT_SIGMA: 0.01\nEXPERIMENTAL: &e\n  USE_LAYER_SELECTOR: true\nOTHER: *e\n"
    )
    return [text.encode()]


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    for name, array in tensors.items():
        contents = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + len(contents)]}
        data += contents
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def backbone() -> dict[str, np.ndarray]:
    from berg_jax.convert.dinov2 import _shapes

    shapes = {name: [n or 5 for n in shape] for name, shape in _shapes(1, 2, 4).items()}
    return {name: np.ones(shape) for name, shape in shapes.items()}


def _backbone_seeds(folder: Path) -> list[bytes]:
    (folder / "config.json").write_text('{"num_attention_heads": 1}')
    return [safetensors(backbone())]


def _backbone_sizes_seeds(folder: Path) -> list[bytes]:
    (folder / "model.safetensors").write_bytes(safetensors(backbone()))
    return [b'{"num_attention_heads": 1, "hidden_size": 2}']


def _read_backbone(path: Path) -> Any:
    from berg_jax.convert.dinov2 import load_dinov2

    return load_dinov2(path.parent).config


TARGETS = [
    Target("description", "subject.json", _description_seeds, _read_description),
    Target("sums", "SHA256SUMS", _sums_seeds, lambda path: verify(path.parent)),
    Target("certificate", "certificate.json", _certificate_seeds, _read_certificate),
    Target("config", "config.yaml", _yaml_seeds, read_options, words=(b"<<: *e\n", b"*e", b"&e ", b"!!python/x ")),
    Target("backbone", "model.safetensors", _backbone_seeds, _read_backbone),
    Target("sizes", "config.json", _backbone_sizes_seeds, _read_backbone),
]
