"""A general linear model, fitted by least squares without holding the responses."""

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

_SMALLEST_EIGENVALUE = 1e-6  # of the largest; below it float32 products cannot tell a design's columns apart


@dataclass(frozen=True, eq=False)
class GLM(Comoments):
    """A general linear model of each vertex' response, fitted by least squares without holding the responses.

    Nothing is added to the design: an intercept is a column of ones, or categories to one of which every image
    belongs. On the device its columns are made orthogonal (QR in float64, then rounded to float32), so that neither
    units nor correlation cost digits; the normal equations are solved in float64.

    Results, float64: ``betas`` (p, vertices), z units by the design's; ``effects`` (c, vertices), contrasts of them;
    ``t`` (c, vertices), NaN or infinite where a vertex has no residual variance; ``residual_variance`` (vertices,), z
    units squared, which is rounding where it is less than a millionth of the variance; ``degrees_of_freedom``;
    ``names`` (c,); ``count``.

    Parameters
    ----------
    design
        (images, p), of any real type, a row for each image of the source.
    contrasts
        (c, p), each a row of weights of the betas.
    names
        Of the contrasts; by default their numbers.
    name
        Of the results. Several designs are several reducers.

    Raises
    ------
    InvalidParameterError
        The design has not full rank or no degree of freedom left, or shapes and values make no sense.
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
        """Betas, effects and their t.

        Raises
        ------
        ValidationError
            The images that were counted are too few, or not of all kinds that the design tells apart.
        """
        count, columns = int(state["count"]), self.design.shape[1]
        mean_x, mean_y = np.split(exact(state["mean"]), [columns])
        products = exact(state["products"])
        xx, xy, yy = products[:-1, :columns], products[:-1, columns:], products[-1, columns:]
        gram = xx + count * np.outer(mean_x, mean_x)
        eigenvalues = np.linalg.eigvalsh(np.nan_to_num(gram))  # NaN if an image was none of the design's
        rank = int((eigenvalues > _SMALLEST_EIGENVALUE * eigenvalues[-1]).sum())
        if rank < columns or count <= columns:
            raise ValidationError(
                f"GLM {self.name!r}: {count} images were counted, on which the design has rank {rank}. It needs rank "
                f"{columns} and more than {columns} images: count more, or take columns out."
            )
        # The mean response may be large, and would drown the rest. So the responses less their mean are fitted, and
        # apart from them a constant, whose multiple by the mean is added.
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
    """A design in orthogonal columns; what makes its betas of theirs; and their betas of a constant, or None."""

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
