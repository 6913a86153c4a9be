"""General linear model of responses, fitted by least squares without storing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError, ValidationError
from .moments import Comoments
from .pairs import Results, State, dot, exact, sum_rows

_SMALLEST_EIGENVALUE = 1e-6  # relative to the largest; below it, float32 cannot distinguish a design's columns


@dataclass(frozen=True, eq=False)
class GLM(Comoments):
    """General linear model of each vertex's response, fitted by least squares without storing the responses.

    The design is used as it is, so an intercept must be a column of ones, or follow from categories of which every
    image has one. The design's columns are made orthogonal (QR in float64, then rounded to float32), so that neither
    units nor correlations cost digits on the device; the normal equations are solved in float64.

    Results are, in float64, ``betas`` (p, vertices), in z units per unit of the design, ``effects`` (c, vertices),
    the contrasts of the betas, ``t`` (c, vertices), NaN or infinite for vertices without residual variance,
    ``residual_variance`` (vertices,), in z units squared, which is rounding error if it is less than a millionth of
    the variance, ``degrees_of_freedom``, ``names`` (c,) and ``count``.

    Parameters
    ----------
    design
        (images, p), of any real type, with a row for each image of the source.
    contrasts
        (c, p), rows of weights of the betas.
    vertices
        Number of columns of the responses.
    names
        Names of the contrasts. The default is their numbers.
    name
        Name of the results. Several designs need several reducers.

    Raises
    ------
    InvalidParameterError
        The design does not have full rank or leaves no degree of freedom, or shapes or values are invalid.

    See Also
    --------
    GroupMeans : Mean responses to groups of images.
    berg_jax.experiments.localizer : Contrasts between categories of images.

    Examples
    --------
    >>> design = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> reducer = GLM(design, contrasts=np.array([[1, -1]]), vertices=1, names=["faces - places"])
    >>> responses = jnp.array([[2.0], [4.0], [1.0], [1.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(4), jnp.ones(4, bool))
    >>> reducer.finalize(state)["effects"].round(3).tolist()
    [[2.0]]
    """

    design: Num[np.ndarray, "images p"]
    contrasts: Num[np.ndarray, "c p"]
    vertices: int
    names: Sequence[str] | None = None
    name: str = "glm"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("design")
        self._set_table("contrasts")
        images, columns = self.design.shape
        if self.contrasts.shape[1] != columns or not self.contrasts.any(axis=1).all():
            raise InvalidParameterError(
                f"contrasts must be (c, {columns}): each a weight for each column of the design, not all 0; got "
                f"{self.contrasts.tolist()}."
            )
        names = tuple(map(str, range(len(self.contrasts)))) if self.names is None else tuple(self.names)
        if len(set(names)) != len(self.contrasts) or not all(isinstance(name, str) for name in names):
            raise InvalidParameterError(f"names must be {len(self.contrasts)} different strings, got {names}.")
        basis = _orthogonal(self.design)
        for name, value in (("names", names), ("images", images), ("_basis", basis), ("_table", basis.rows)):
            object.__setattr__(self, name, value)

    def _products(self, deviations: Float[Array, "b p+vertices"]) -> Float[Array, "p+1 p+vertices"]:
        of_design = dot(deviations[:, : self.design.shape[1]].T, deviations)
        return jnp.concatenate([of_design, sum_rows(deviations**2)[None]])

    def finalize(self, state: State) -> Results:
        """Return the betas, the effects and their t values.

        Raises
        ------
        ValidationError
            Too few images were counted, or not all kinds of images that the design distinguishes.
        """
        count, columns = int(state["count"]), self.design.shape[1]
        mean_x, mean_y = np.split(exact(state["mean"]), [columns])
        products = exact(state["products"])
        xx, xy, yy = products[:-1, :columns], products[:-1, columns:], products[-1, columns:]
        gram = xx + count * np.outer(mean_x, mean_x)
        eigenvalues = np.linalg.eigvalsh(np.nan_to_num(gram))  # NaN if an image was not in the design
        rank = int((eigenvalues > _SMALLEST_EIGENVALUE * eigenvalues[-1]).sum())
        if rank < columns or count <= columns:
            raise ValidationError(
                f"GLM {self.name!r}: {count} images were counted, on which the design has rank {rank}. It needs rank "
                f"{columns} and more than {columns} images: count more, or take columns out."
            )
        # A large mean response would cost the digits of all else. So the model is fitted to the responses minus their
        # mean, and separately to a constant, which is multiplied by the mean and added.
        fit, constant = np.linalg.solve(gram, xy), self._basis.constant
        squares = yy - (xy * fit).sum(0)
        if constant is None:
            constant = np.linalg.solve(gram, count * mean_x)
            squares += mean_y * (mean_y * count * (1 - mean_x @ constant) - 2 * constant @ xy)
        residual = np.maximum(squares, 0) / (count - columns)
        contrasts = self.contrasts @ self._basis.to_betas
        effects = contrasts @ fit + np.outer(contrasts @ constant, mean_y)
        scale = np.einsum("cp,pc->c", contrasts, np.linalg.solve(gram, contrasts.T))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = effects / np.sqrt(np.outer(scale, residual))
        return {
            "betas": self._basis.to_betas @ (fit + np.outer(constant, mean_y)),
            "effects": effects,
            "t": t,
            "residual_variance": residual,
            "degrees_of_freedom": np.array(count - columns),
            "names": np.array(self.names),
            "count": np.array(count),
        }


class _Basis(NamedTuple):
    """A design with orthogonal columns.

    Attributes
    ----------
    rows
        The design with orthogonal columns.
    to_betas
        Matrix that turns its betas into those of the original design.
    constant
        Betas of a constant, or None if the design cannot represent one.
    """

    rows: Float[np.ndarray, "images p"]
    to_betas: Float[np.ndarray, "p p"]
    constant: Float[np.ndarray, " p"] | None


def _orthogonal(design: Float[np.ndarray, "images p"]) -> _Basis:
    images, columns = design.shape
    length = np.linalg.norm(design, axis=0)
    q, r = np.linalg.qr(design / np.where(length > 0, length, 1))
    rank = np.linalg.matrix_rank(r, tol=max(images, columns) * np.finfo(np.float64).eps * np.sqrt(columns))
    if rank < columns or images == columns:
        raise InvalidParameterError(
            f"design must have full rank, {columns}, one for each column, and more rows; got rank {rank} and "
            f"{images} rows. A column of zeros, or one that others add up to, such as an intercept beside all "
            "categories, must be taken out."
        )
    rows = q * np.sqrt(images)
    constant = rows.mean(axis=0)
    spanned = np.allclose(rows @ constant, 1, rtol=0, atol=1e-9)
    to_betas = np.linalg.inv(r * length) * np.sqrt(images)
    return _Basis(rows.astype(np.float32), to_betas, constant if spanned else None)
