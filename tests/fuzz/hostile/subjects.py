"""Hostile files in place of converted subjects, certificates, configurations and backbones."""

from __future__ import annotations

import numpy as np

from .case import DEEP, PIPE, Hostile
from .contents import (
    YAML,
    YAML_LAUGHS,
    replaced,
    with_tensor,
)
from .costly import (
    signaling,
)

CASES = [
    Hostile("description", "a part in another folder", replaced(b'"part1"', b'"../../part1"'), "parts are not"),
    Hostile("description", "a network of NaN blocks", replaced(b'"depth": 4', b'"depth": NaN'), "must be an integer"),
    Hostile("description", "100,000 brackets", DEEP, "damaged"),
    Hostile(
        "description",
        "a size of 5000 digits",
        replaced(b'"hemisphere_size": 6', b'"hemisphere_size": ' + b"9" * 5000),
        "damaged",
    ),
    Hostile("sums", "a checksum of a file outside", b"0" * 64 + b"  ../../etc/passwd\n", "does not hold the files"),
    Hostile("sums", "checksums that are a pipe", PIPE, "cannot be read"),
    Hostile(
        "certificate",
        "a limit beyond any float",
        replaced(b'"limit": 1.0', b'"limit": 1' + b"0" * 400),
        "cannot be read",
    ),
    Hostile("certificate", "100,000 brackets", DEEP, "cannot be read"),
    Hostile("certificate", "a pipe", PIPE, "no file"),
    Hostile(
        "config",
        "a list of 2^60 items in a message",
        YAML_LAUGHS + YAML % (b"0.2", b"*a59"),
        "expected a list of integers",
    ),
    Hostile(
        "config", "likewise, where a number is expected", YAML_LAUGHS + YAML % (b"*a59", b"[1]"), "expected a number"
    ),
    Hostile("config", "entries that merge each other 2^60 times", b"a: &a {x: 1}\nb: {<<: [*a, *a]}\n", "merges"),
    Hostile("config", "a Python object", b"!!python/object/apply:os.system ['touch pwned']", "config.yaml"),
    Hostile("config", "10,000 brackets", DEEP[:10_000], "config.yaml"),
    Hostile("config", "a month that is none", b"a: 2001-13-45", "config.yaml"),
    Hostile("certificate", "notes that are a number", replaced(b'"notes": []', b'"notes": 1'), "expected type"),
    Hostile("config", "a number beyond any float", YAML % (b"9" * 400, b"[1]"), "expected a number"),
    Hostile("backbone", "weights that are NaN", with_tensor("layernorm.weight", np.full(2, np.nan)), "not finite"),
    Hostile(
        "backbone",
        "positions that overflow as they are resized",
        with_tensor("embeddings.position_embeddings", np.full((1, 5, 2), 3e38)),
        "not finite",
    ),
    Hostile("backbone", "signaling NaNs", with_tensor("layernorm.bias", signaling((2,))), "not finite"),
    Hostile(
        "backbone", "layer 10^9", with_tensor("encoder.layer.999999999.norm1.weight", np.ones(2)), "is no DINOv2"
    ),
    Hostile(
        "backbone",
        "a layer of 5000 digits",
        with_tensor(f"encoder.layer.{'9' * 5000}.norm1.weight", np.ones(2)),
        "is no DINOv2",
    ),
    Hostile(
        "backbone",
        "a tensor without axes",
        with_tensor("embeddings.patch_embeddings.projection.weight", np.ones(())),
        "is no DINOv2",
    ),
    Hostile(
        "backbone", "no positions", with_tensor("embeddings.position_embeddings", np.ones((1, 0, 2))), "no square"
    ),
    Hostile("backbone", "a header that says it takes 2^63 bytes", b"\xff" * 7 + b"\x7f{}", "cannot be read"),
    Hostile("sizes", "100,000 brackets", DEEP, "config.json"),
]
