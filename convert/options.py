"""Options of a conversion, which cannot be read from the weights, and the model's configuration file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InvalidParameterError, ModelNotFoundError
from ..files.disk import read_small, readable
from ..files.pickle_objects import abbreviated

_LARGEST_CONFIG = 1 << 20  # bytes
LORA_SCALE = 0.2
RETINA_SIGMA = 0.01


@dataclass(frozen=True)
class Options:
    """Options of a conversion, which cannot be read from the weights.

    Attributes
    ----------
    num_heads
        Number of attention heads; None for embed_dim / 64.
    lora_scale
        Factor of the low-rank adapters.
    retina_sigma
        Distance that receptive-field centers keep from the image's border, as a fraction of half its width.
    layers
        Layers according to the configuration file, if there is one.
    """

    num_heads: int | None = None
    lora_scale: float = LORA_SCALE
    retina_sigma: float = RETINA_SIGMA
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        # The values are written to subject.json, so they must be plain Python numbers.
        if self.num_heads is not None:
            if isinstance(self.num_heads, bool) or not hasattr(self.num_heads, "__index__") or self.num_heads < 1:
                raise InvalidParameterError(f"num_heads must be an integer of at least 1, got {self.num_heads!r}.")
            object.__setattr__(self, "num_heads", int(self.num_heads))
        for name in ("lora_scale", "retina_sigma"):
            try:
                object.__setattr__(self, name, float(getattr(self, name)))
            except (TypeError, ValueError) as error:
                raise InvalidParameterError(f"{name} must be a number, got {getattr(self, name)!r}.") from error
        if not math.isfinite(self.lora_scale):
            raise InvalidParameterError(f"lora_scale must be a finite number, got {self.lora_scale}.")
        if not 0 <= self.retina_sigma < 1:
            raise InvalidParameterError(f"retina_sigma must be in [0, 1), got {self.retina_sigma}.")


def read_options(
    config: str | Path | None,
    num_heads: int | None = None,
    lora_scale: float | None = None,
    retina_sigma: float | None = None,
) -> Options:
    """Return the options in a configuration file and in arguments, which must not contradict each other.

    Raises
    ------
    ModelNotFoundError, InvalidParameterError
        There is no such file; the file is not such a configuration, or contradicts an argument.
    """
    given: dict[str, Any] = {"num_heads": num_heads, "lora_scale": lora_scale, "retina_sigma": retina_sigma}
    given = {name: value for name, value in given.items() if value is not None}
    if config is None:
        return Options(**given)
    path = Path(config).expanduser()
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {config}.")
    with readable(config, InvalidParameterError, "It is not a YAML file, or damaged: give the model's config.yaml."):
        text = read_small(path, _LARGEST_CONFIG).decode("utf-8")
        if re.search(r"<<\s*:", text):  # a few such lines can expand to more than any memory holds
            raise InvalidParameterError("it merges entries of others (<<), which is not read")
        tree = yaml.safe_load(text)
    found = {
        "lora_scale": _entry(tree, config, "MODEL", "BACKBONE", "LORA", "SCALE"),
        "retina_sigma": _entry(tree, config, "MODEL", "RETINA_MAPPER", "CONSTANT_SIGMA"),
    }
    for name, value in found.items():
        if value is None:
            raise InvalidParameterError(f"{config} lacks the entry of {name}. Is it the model's config.yaml?")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
            raise InvalidParameterError(f"{config} gives {name} as {abbreviated(value)}, expected a number.")
        if name in given and given[name] != value:
            raise InvalidParameterError(f"{name} is {given[name]} by argument and {value} in {config}. Give one.")
        given[name] = float(value)
    if _entry(tree, config, "EXPERIMENTAL", "USE_LAYER_SELECTOR") is False:
        raise InvalidParameterError(f"{config} is of a model without layer selector, which cannot be converted.")
    layers = _entry(tree, config, "MODEL", "BACKBONE", "LAYERS")
    if layers is not None:
        if not isinstance(layers, list) or not all(type(layer) is int for layer in layers):
            raise InvalidParameterError(
                f"{config} gives the layers as {abbreviated(layers)}, expected a list of integers."
            )
        given["layers"] = tuple(sorted(layers))
    return Options(**given)


def _entry(tree: Any, config: str | Path, *path: str) -> Any:
    for depth, name in enumerate(path):
        if not isinstance(tree, dict):
            raise InvalidParameterError(
                f"{config}: expected entries below {'.'.join(path[:depth]) or 'the top'}, got {type(tree).__name__}."
            )
        if name not in tree:
            return None
        tree = tree[name]
    return tree
