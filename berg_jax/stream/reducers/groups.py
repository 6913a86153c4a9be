"""Mean responses to groups of images, such as categories or repetitions."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from ...errors import InvalidParameterError
from .base import BaseReducer
from .pairs import Indices, Responses, Results, State, Valid, exact, group_means, merged_mean, rows_of


@dataclass(frozen=True, eq=False)
class GroupMeans(BaseReducer):
    """Mean response to each group of images; the state takes 8 · groups · vertices bytes.

    Results are ``means`` (groups, vertices) float64, NaN for groups without images, ``counts`` (groups,), the number
    of images in each group, and ``count``, that in all groups.

    Parameters
    ----------
    groups
        (images,) number of each image's group, from 0, or −1 for images in no group.
    vertices
        Number of columns of the responses.
    name
        Name of the results.

    See Also
    --------
    WeightedSums, GLM, ArgmaxOverProbes : Other reductions over groups of images.

    Examples
    --------
    >>> reducer = GroupMeans(groups=np.array([0, 0, 1]), vertices=1)
    >>> responses = jnp.array([[1.0], [3.0], [5.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(3), jnp.ones(3, bool))
    >>> reducer.finalize(state)["means"].tolist()
    [[2.0], [5.0]]
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

    def _state_of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        groups = jnp.where(valid, rows_of(self.groups.astype(np.int32), indices, missing=-1), -1)
        counts, means = group_means(responses, groups, int(self.groups.max()) + 1)
        return {"counts": counts, "means": means}

    def merge(self, a: State, b: State) -> State:
        """Return the state of the union of two disjoint sets of images."""
        means, _ = merged_mean(a["counts"][:, None], a["means"], b["counts"][:, None], b["means"])
        return {"counts": a["counts"] + b["counts"], "means": means}

    def finalize(self, state: State) -> Results:
        """Return the means and counts."""
        counts = np.asarray(state["counts"])
        means = np.where(counts[:, None] > 0, exact(state["means"]), np.nan)
        return {"means": means, "counts": counts, "count": counts.sum()}
