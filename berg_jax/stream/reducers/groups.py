"""Mean responses to groups of images."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from ...errors import InvalidParameterError
from .base import Settings
from .pairs import Indices, Responses, Results, State, Valid, exact, group_means, merged_mean, rows_of


@dataclass(frozen=True, eq=False)
class GroupMeans(Settings):
    """Mean response to each group of images; its state takes 8 · groups · vertices bytes.

    Results: ``means`` (groups, vertices) float64, NaN for groups without images; ``counts`` (groups,); ``count``, of
    all groups.

    Parameters
    ----------
    groups
        (images,) number of each image's group, from 0; −1 for none.
    """

    groups: Int[np.ndarray, " images"]
    vertices: int
    name: str = "group_means"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("groups", kinds="iu", ndim=1)
        low, high = int(self.groups.min()), int(self.groups.max())
        if low < -1 or not 0 <= high < len(self.groups):
            raise InvalidParameterError(
                f"groups must be −1 for none, or from 0 to {len(self.groups) - 1} for {len(self.groups)} images, "
                f"and not all −1; got {low} to {high}."
            )
        object.__setattr__(self, "images", len(self.groups))

    def _of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        groups = jnp.where(valid, rows_of(self.groups.astype(np.int32), indices, missing=-1), -1)
        counts, means = group_means(responses, groups, int(self.groups.max()) + 1)
        return {"counts": counts, "means": means}

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        means, _ = merged_mean(a["counts"][:, None], a["means"], b["counts"][:, None], b["means"])
        return {"counts": a["counts"] + b["counts"], "means": means}

    def finalize(self, state: State) -> Results:
        """Means and counts."""
        counts = np.asarray(state["counts"])
        means = np.where(counts[:, None] > 0, exact(state["means"]), np.nan)
        return {"means": means, "counts": counts, "count": counts.sum()}
