"""Per-vertex tables of one part: what the stages of a fit start from, and what they leave."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class VertexTables(NamedTuple):
    """Readout and selectors of a part's vertices, a row for each.

    A response is the mean over the width of ``weight`` times the mixed features, and ``bias`` is added; the mixed
    features are the layers' features at ``rf_center``, weighted by ``layer_weights``.

    Attributes
    ----------
    weight, bias
        Readout weights and bias, in z units.
    layer_weights
        Weight of each layer, which sum to 1.
    rf_center
        Receptive-field center (x, y) in units of half the image, each in (−0.99, 0.99).
    """

    weight: Float[np.ndarray, "rows width"]
    bias: Float[np.ndarray, " rows"]
    layer_weights: Float[np.ndarray, "rows layers"]
    rf_center: Float[np.ndarray, "rows 2"]
