"""Reductions of a stream of responses on the device, so that a million responses need not be stored.

A reducer's state is a dict of arrays and pairs of arrays. ``update`` takes a batch in, ``merge`` joins the states of
two disjoint sets of images, in any order, and ``finalize`` gives the results as NumPy arrays. Every reducer has a
``name``, its results', and ``vertices``, the columns of the responses that it takes. Responses are in z units, and
results too unless they say otherwise.

float32 alone would lose a variance next to a large mean, and one image next to the sum of a million. So means and
sums of products about the mean are kept, which two sets of images merge without cancellation [1]_, and each is a pair
of float32 numbers whose sum is meant, added without loss [2]_.

If the response to a valid image is NaN or infinite, that vertex' results are NaN: nothing is left out in silence.

References
----------
.. [1] T. F. Chan, G. H. Golub & R. J. LeVeque (1983). Algorithms for computing the sample variance: analysis and
   recommendations. The American Statistician 37 (3), 242–247.
.. [2] D. E. Knuth, The Art of Computer Programming, volume 2, section 4.2.2 (a sum and its rounding error);
   T. J. Dekker (1971). A floating-point technique for extending the available precision. Numerische Mathematik 18,
   224–242 (pairs).
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from ..errors import InvalidParameterError, ValidationError
from ..rois import Vertices

Results = dict[str, np.ndarray]
Responses = Float[Array, "b vertices"]
Indices = Int[Array, " b"]
Valid = Bool[Array, " b"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_IMAGE = np.iinfo(np.int32).max
_SMALLEST_EIGENVALUE = 1e-6  # of the largest; below it float32 products cannot tell a design's columns apart


class Pair(NamedTuple):
    """Arrays whose sum is meant: float32 numbers, and what they lack."""

    high: Float[Array, " ..."]
    low: Float[Array, " ..."]


State = dict[str, Array | Pair]


class Reducer(Protocol):
    """What the loop needs of a reduction.

    Attributes
    ----------
    name
        Of its results: a valid file name, unique in a run.
    vertices
        Columns of the responses that it takes.
    images
        Length of the source that it is for; None for any.
    whole
        So many images must not be divided between blocks: a block is a multiple of it. For most 1.
    """

    name: str
    vertices: int
    images: int | None
    whole: int

    @property
    def fingerprint(self) -> str:
        """sha256 of all settings; a run is not resumed with others."""

    def init(self) -> State:
        """The state of no images."""

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in; pure, for ``jax.jit``.

        ``indices`` are the images' numbers in the source. What is not ``valid`` counts nowhere, whatever it holds.
        """

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""

    def finalize(self, state: State) -> Results:
        """Results by name; ``"count"`` is the number of images."""


def check_reducers(reducers: Sequence[Reducer], images: int, vertices: int, block: int) -> None:
    """Refuse reducers that do not fit each other or a run.

    Parameters
    ----------
    reducers
        Of one run.
    images, vertices
        Length of the source, and columns of the responses.
    block
        Images of a block.

    Raises
    ------
    InvalidParameterError
        Two have the same name, or one is for another number of images or vertices, or for other blocks.
    """
    names = [reducer.name.casefold() for reducer in reducers]  # some file systems do not tell A from a
    if len(set(names)) < len(names):
        raise InvalidParameterError(f"Every reducer of a run needs its own name, got {sorted(names)}.")
    for reducer in reducers:
        if reducer.vertices != vertices or reducer.images not in (None, images):
            expected = "any number of" if reducer.images is None else reducer.images
            raise InvalidParameterError(
                f"Reducer {reducer.name!r} is for {expected} images and {reducer.vertices} vertices, got {images} "
                f"images and {vertices} vertices. Make it for this source and model."
            )
        if block % reducer.whole and block < images:
            raise InvalidParameterError(
                f"Reducer {reducer.name!r} needs blocks of a multiple of {reducer.whole} images, got {block}."
            )


def roi_weights(vertices: Vertices, rois: Mapping[str, Vertices]) -> Float[np.ndarray, "rois vertices"]:
    """Weights that average over ROIs: row ``i`` times a model's responses is the mean over the ``i``-th ROI.

    Parameters
    ----------
    vertices
        The model's, whose order is its columns' order.
    rois
        The ROIs' vertices, all of them among the model's.

    Raises
    ------
    InvalidParameterError
        There are no ROIs, one is empty, or has vertices that the model does not answer.
    """
    if not rois:
        raise InvalidParameterError("rois must name at least one ROI, got none.")
    columns = vertices.global_indices
    weights = np.zeros((len(rois), len(columns)), np.float32)
    for row, (name, roi) in zip(weights, rois.items(), strict=True):
        if roi.hemisphere_size != vertices.hemisphere_size or not len(roi):
            raise InvalidParameterError(
                f"ROI {name!r} must have vertices, of hemispheres of {vertices.hemisphere_size}; got {len(roi)}, of "
                f"hemispheres of {roi.hemisphere_size}."
            )
        member = np.isin(columns, roi.global_indices)
        if missing := len(roi) - member.sum():
            raise InvalidParameterError(
                f"{missing} of the {len(roi)} vertices of ROI {name!r} are not among the model's. Choose the ROI by "
                "the same thresholds as the model's vertices, or a model of more vertices."
            )
        row[member] = 1 / len(roi)
    return weights


def _full(shape: tuple[int, ...], value: float, dtype: Any) -> Array:
    return jnp.asarray(np.full(shape, value, dtype))  # made by NumPy, nothing is compiled


def _two_sum(a: Float[Array, " ..."], b: Float[Array, " ..."]) -> Pair:
    """The float32 sum and its rounding error (Knuth). XLA keeps the order of these additions; a test would show."""
    total = a + b
    of_b = total - a
    return Pair(total, (a - (total - of_b)) + (b - of_b))


def _add(a: Pair, b: Pair, more: Float[Array, " ..."] | float = 0.0) -> Pair:
    """Their sum, and that of a float32 number whose own rounding does not matter."""
    high, low = _two_sum(a.high, b.high)
    return _two_sum(high, low + (a.low + b.low + more))


def _pair(value: Float[Array, " ..."]) -> Pair:
    return Pair(value, jnp.zeros_like(value))


def _exact(pair: Pair) -> Float[np.ndarray, " ..."]:
    return np.asarray(pair.high, np.float64) + np.asarray(pair.low, np.float64)


def _where(condition: Bool[Array, " ..."], a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _dot(a: Float[Array, "m n"], b: Float[Array, "n k"]) -> Float[Array, "m k"]:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _sum(rows: Float[Array, "b n"]) -> Float[Array, " n"]:
    """Sum of rows, as a product: XLA sums along the first axis of a wide array 50 times slower on CPUs."""
    return _dot(jnp.ones((1, len(rows)), rows.dtype), rows)[0]


def _near(rows: Float[Array, "b n"], valid: Valid) -> tuple[Float[Array, " n"], Float[Array, "b n"]]:
    """The first valid row, and all rows less it, which keeps their digits; 0 for rows that are not valid."""
    rows = jnp.where(valid[:, None], rows, 0)
    first = rows[valid.argmax()]
    return first, jnp.where(valid[:, None], rows - first[None], 0)


def _merged_mean(
    count_a: Int[Array, " ..."], a: Pair, count_b: Int[Array, " ..."], b: Pair
) -> tuple[Pair, Float[Array, " ..."]]:
    """Mean of two sets of images, and how much b's is above a's. If one set is empty, the other's mean exactly."""
    high, low = _two_sum(b.high, -a.high)
    low += b.low - a.low
    share = count_b / jnp.maximum(count_a + count_b, 1).astype(jnp.float32)
    return _add(a, Pair(high * share, low * share)), high + low


def _group_means(responses: Responses, groups: Indices, size: int) -> tuple[Int[Array, " groups"], Pair]:
    """Images and mean response of groups 0 to size − 1 of a batch; rows of other groups count nowhere."""
    member = groups[None] == jnp.arange(size)[:, None]
    counts = member.sum(1, dtype=jnp.int32)
    first, distances = _near(responses, member.any(0))
    means = _dot(member.astype(jnp.float32), distances) / jnp.maximum(counts, 1)[:, None]
    pair = _two_sum(jnp.broadcast_to(first[None], means.shape), means)
    return counts, _where(counts[:, None] > 0, pair, Pair(0.0, 0.0))


def _rows(table: Num[np.ndarray, "images ..."], indices: Indices, missing: float = np.nan) -> Array:
    """Rows of a table, and ``missing`` where it has none: a wrong index must not give another image's."""
    return jnp.asarray(table).at[indices].get(mode="fill", fill_value=missing, wrap_negative_indices=False)


class _Settings:
    """Shared by all reducers, which are dataclasses of their settings: checks, and updating by merging."""

    images: int | None = None
    whole: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidParameterError(
                f"name must be of letters, digits, '.', '_' and '-', as a file's, got {self.name!r}."
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                    raise InvalidParameterError(f"{field.name} must be a positive integer, got {value!r}.")
                object.__setattr__(self, field.name, int(value))

    def _set_table(self, name: str, kinds: str = "biuf", ndim: int = 2) -> None:
        """Keep a setting as a finite array of its own: float64, or int64 where only integers are allowed."""
        try:
            array = np.asarray(getattr(self, name))
        except ValueError:  # rows of different lengths
            array = np.empty(0, object)
        most = np.finfo(np.float32).max  # a comparison that NaN fails, too
        if array.ndim != ndim or not array.size or array.dtype.kind not in kinds or not (np.abs(array) <= most).all():
            raise InvalidParameterError(
                f"{name} must be of {'finite numbers' if 'f' in kinds else 'integers'} that float32 can hold, "
                f"{ndim}-dimensional and not empty; got {array.dtype} of shape {array.shape}."
            )
        # Never in the integer type that was given: 288 ones overflow int8.
        array = np.array(array, np.float64 if "f" in kinds else np.int64)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    @property
    def fingerprint(self) -> str:
        """sha256 of all settings."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            array = isinstance(value, np.ndarray)
            fact = f"{value.dtype.str} {value.shape}" if array else repr(value)
            digest.update(f"\0{field.name}\0{fact}\0".encode())
            if array:
                digest.update(np.ascontiguousarray(value))
        return digest.hexdigest()

    def _of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        """The state of one batch."""
        raise NotImplementedError

    def init(self) -> State:
        """The state of no images."""
        batch = jax.ShapeDtypeStruct((1, self.vertices), jnp.float32)
        index, valid = (jax.ShapeDtypeStruct((1,), dtype) for dtype in (jnp.int32, jnp.bool_))
        return jax.tree.map(lambda x: _full(x.shape, 0, x.dtype), jax.eval_shape(self._of, batch, index, valid))

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in."""
        return self.merge(state, self._of(responses, indices, valid))


class _Comoments(_Settings):
    """Means of some numbers for each image, and sums over images of products of them about the mean.

    The numbers are the image's row of ``_table``, if there is one, and its responses. Merging two sets adds to their
    products those of one more row, the weighted difference of their means [1]_; so one function of deviations serves
    batches and merging.
    """

    _table: Float[np.ndarray, "images p"] | None = None

    def _products(self, deviations: Float[Array, "b n"]) -> Float[Array, " ..."]:
        """Sums over the rows of products of these deviations from the mean."""
        raise NotImplementedError

    def _of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        if self._table is not None:
            responses = jnp.concatenate([_rows(self._table, indices), responses], axis=1)
        count = valid.sum(dtype=jnp.int32)
        first, distances = _near(responses, valid)
        mean = _sum(distances) / jnp.maximum(count, 1)
        deviations = jnp.where(valid[:, None], distances - mean[None], 0)
        high, low = _two_sum(first, mean)
        low += _sum(deviations) / jnp.maximum(count, 1)  # the rounding of the mean
        return {"count": count, "mean": Pair(high, low), "products": _pair(self._products(deviations))}

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        count = a["count"] + b["count"]
        weight = jnp.sqrt(a["count"] * (b["count"] / jnp.maximum(count, 1).astype(jnp.float32)))
        mean, difference = _merged_mean(a["count"], a["mean"], b["count"], b["mean"])
        between = self._products((weight * difference)[None])
        return {"count": count, "mean": mean, "products": _add(a["products"], b["products"], between)}


def _mean_and_spread(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance or covariance (of n − 1), NaN where images are too few; and count."""
    count, mean, products = int(state["count"]), _exact(state["mean"]), _exact(state["products"])
    spread = products / (count - 1) if count > 1 else products + np.nan
    return mean if count else mean + np.nan, spread, np.array(count)


@dataclass(frozen=True, eq=False)
class Moments(_Comoments):
    """Mean and variance of each vertex' response.

    Results: ``mean``, ``variance`` (of n − 1; z units squared), ``std``, each (vertices,) float64, NaN if there are
    too few images; ``count``.
    """

    vertices: int
    name: str = "moments"

    def _products(self, deviations: Float[Array, "b vertices"]) -> Float[Array, " vertices"]:
        return _sum(deviations**2)

    def finalize(self, state: State) -> Results:
        """Mean, variance and standard deviation."""
        mean, variance, count = _mean_and_spread(state)
        return {"mean": mean, "variance": variance, "std": np.sqrt(variance), "count": count}


@dataclass(frozen=True, eq=False)
class Covariance(_Comoments):
    """Mean and covariance of the vertices' responses over images.

    Results: ``mean`` (vertices,), ``covariance`` (vertices, vertices; of n − 1; z units squared), float64, NaN if
    there are too few images; ``count``. The state takes 8 · vertices² bytes, 200 MB for a ROI of 5,000
    vertices, and an update 20 · vertices² in all.
    """

    vertices: int
    name: str = "covariance"

    def _products(self, deviations: Float[Array, "b vertices"]) -> Float[Array, "vertices vertices"]:
        return _dot(deviations.T, deviations)

    def finalize(self, state: State) -> Results:
        """Mean and covariance."""
        mean, covariance, count = _mean_and_spread(state)
        return {"mean": mean, "covariance": covariance, "count": count}


@dataclass(frozen=True, eq=False)
class WeightedSums(_Comoments):
    """Sums of responses, each image weighted: ``sum_i weights[i, k] · responses[i]`` over the images counted.

    Results: ``sums`` (k, vertices) float64, z units times the weights'; ``count``.

    Parameters
    ----------
    weights
        (images, k), of any real type. Rounded to float32 on the device.
    """

    weights: Num[np.ndarray, "images k"]
    vertices: int
    name: str = "weighted_sums"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("weights")
        object.__setattr__(self, "images", len(self.weights))
        object.__setattr__(self, "_table", self.weights.astype(np.float32))

    def _products(self, deviations: Float[Array, "b k+vertices"]) -> Float[Array, "k vertices"]:
        columns = self.weights.shape[1]
        return _dot(deviations[:, :columns].T, deviations[:, columns:])

    def finalize(self, state: State) -> Results:
        """Weighted sums."""
        count, mean = int(state["count"]), _exact(state["mean"])
        of_means = np.outer(*np.split(mean, [self.weights.shape[1]]))
        return {"sums": _exact(state["products"]) + count * of_means, "count": np.array(count)}


@dataclass(frozen=True, eq=False)
class GLM(_Comoments):
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
        of_design = _dot(deviations[:, : self.design.shape[1]].T, deviations)
        return jnp.concatenate([of_design, _sum(deviations**2)[None]])

    def finalize(self, state: State) -> Results:
        """Betas, effects and their t.

        Raises
        ------
        ValidationError
            The images that were counted are too few, or not of all kinds that the design tells apart.
        """
        count, columns = int(state["count"]), self.design.shape[1]
        mean_x, mean_y = np.split(_exact(state["mean"]), [columns])
        products = _exact(state["products"])
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


@dataclass(frozen=True, eq=False)
class GroupMeans(_Settings):
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
        groups = jnp.where(valid, _rows(self.groups.astype(np.int32), indices, missing=-1), -1)
        counts, means = _group_means(responses, groups, int(self.groups.max()) + 1)
        return {"counts": counts, "means": means}

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        means, _ = _merged_mean(a["counts"][:, None], a["means"], b["counts"][:, None], b["means"])
        return {"counts": a["counts"] + b["counts"], "means": means}

    def finalize(self, state: State) -> Results:
        """Means and counts."""
        counts = np.asarray(state["counts"])
        means = np.where(counts[:, None] > 0, _exact(state["means"]), np.nan)
        return {"means": means, "counts": counts, "count": counts.sum()}


class _OfRois(_Settings):
    """Shared by reducers of ROIs' mean responses; ``rois`` are weights of the vertices."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("rois")
        object.__setattr__(self, "vertices", self.rois.shape[1])

    def _means(self, responses: Responses, valid: Valid) -> Float[Array, "b rois"]:
        return _dot(jnp.where(valid[:, None], responses, 0), jnp.asarray(self.rois.T, jnp.float32))


@dataclass(frozen=True, eq=False)
class TopK(_OfRois):
    """The images to which ROIs respond most, on average over their vertices. Of equal ones the first come first.

    Results: ``values`` (rois, k) float32, descending, and ``images`` (rois, k), their numbers in the source; NaN and
    −1 where there were fewer than k images. A response that is NaN comes first, to be seen. ``count``.

    Parameters
    ----------
    k
        How many images.
    rois
        Weights of the vertices, such as :func:`roi_weights` gives.
    """

    k: int
    rois: Num[np.ndarray, "rois vertices"]
    name: str = "top_k"

    def init(self) -> State:
        """The state of no images."""
        shape = (len(self.rois), self.k)
        none = {"values": _full(shape, np.nan, np.float32), "images": _full(shape, _NO_IMAGE, np.int32)}
        return {**none, "count": _full((), 0, np.int32)}

    def _of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        values = self._means(responses, valid).T
        images = jnp.broadcast_to(jnp.where(valid, indices, _NO_IMAGE)[None], values.shape)
        return {"values": values, "images": images, "count": valid.sum(dtype=jnp.int32)}

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        values, images = (jnp.concatenate([a[key], b[key]], axis=1) for key in ("values", "images"))
        order = jnp.where(images == _NO_IMAGE, jnp.inf, jnp.where(jnp.isnan(values), -jnp.inf, -values))
        _, images, values = lax.sort((order, images, values), num_keys=2)
        return {"values": values[:, : self.k], "images": images[:, : self.k], "count": a["count"] + b["count"]}

    def finalize(self, state: State) -> Results:
        """Values and images."""
        values, images = np.asarray(state["values"]), np.asarray(state["images"])
        there = images != _NO_IMAGE
        values, images = np.where(there, values, np.float32(np.nan)), np.where(there, images, -1)
        return {"values": values, "images": images, "count": np.array(int(state["count"]))}


@dataclass(frozen=True, eq=False)
class RoiMeans(_OfRois):
    """The mean response of ROIs to every image: a table that is kept on the device, 4 bytes an image and ROI.

    Results: ``means`` (images, rois) float32, NaN for images that were not seen; ``seen`` (images,); ``count``.

    Parameters
    ----------
    rois
        Weights of the vertices, such as :func:`roi_weights` gives.
    images
        Length of the source.
    """

    rois: Num[np.ndarray, "rois vertices"]
    images: int
    name: str = "roi_means"

    def init(self) -> State:
        """The state of no images."""
        means = _full((self.images, len(self.rois)), np.nan, np.float32)
        return {"means": means, "seen": _full((self.images,), False, bool), "count": _full((), 0, np.int32)}

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in."""
        place = jnp.where(valid & (indices >= 0), indices, self.images)  # past the end, where it is dropped
        return {
            "means": state["means"].at[place].set(self._means(responses, valid), mode="drop"),
            "seen": state["seen"].at[place].set(True, mode="drop"),
            "count": state["count"] + valid.sum(dtype=jnp.int32),
        }

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        means = jnp.where(b["seen"][:, None], b["means"], a["means"])
        return {"means": means, "seen": a["seen"] | b["seen"], "count": a["count"] + b["count"]}

    def finalize(self, state: State) -> Results:
        """The table.

        Raises
        ------
        ValidationError
            An image came twice, or is none of the source.
        """
        seen, count = np.asarray(state["seen"]), int(state["count"])
        if seen.sum() != count:
            raise ValidationError(
                f"Reducer {self.name!r} was given {count} images, of which {seen.sum()} are different ones of its "
                f"{self.images}: some came twice, or are of another source."
            )
        return {"means": np.asarray(state["means"]), "seen": seen, "count": np.array(count)}


@dataclass(frozen=True, eq=False)
class ArgmaxOverProbes(_Settings):
    """The probe with the largest mean response of each vertex, without keeping all probes' means.

    Images are in the order of probes: image ``probe · images_per_probe + k``. A probe's mean is over those of its
    images that were not skipped. Of equal probes the first one wins. A probe ends when an image of another one comes,
    so its images must be in one block, which is computed in order: blocks are a multiple of ``images_per_probe``.
    A probe that was divided all the same is an error and no wrong answer. Where blocks cannot be so,
    :class:`GroupMeans` with a group for every probe keeps all means.

    Results: ``probe`` (vertices,), −1 if there was none; ``value`` (vertices,) float64, its mean; ``seen`` (probes,),
    whether a probe had images; ``count``.
    """

    probes: int
    images_per_probe: int
    vertices: int
    name: str = "argmax_over_probes"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "images", self.probes * self.images_per_probe)
        object.__setattr__(self, "whole", self.images_per_probe)

    def init(self) -> State:
        """The state of no images: no best probe, and none that is open."""
        means = {
            key: Pair(*(_full((self.vertices,), 0, np.float32) for _ in "hl")) for key in ("best_mean", "open_mean")
        }
        numbers = {key: _full((), 0, np.int32) for key in ("open_probe", "open_images", "count", "strange")}
        best, ended = _full((self.vertices,), -1, np.int32), _full((self.probes,), 0, np.int32)
        return {**means, **numbers, "best_probe": best, "ended": ended}

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in, of images that follow one another; it may hold several probes."""
        most = (len(indices) - 1) // self.images_per_probe + 2
        probe = indices // self.images_per_probe
        first = jnp.where(valid, probe, self.probes).min()
        known = valid & (probe - first < most) & (indices >= 0) & (probe < self.probes)
        counts, means = _group_means(responses, jnp.where(known, probe - first, -1), most)
        strange = (valid & ~known).sum(dtype=jnp.int32)
        state = {**state, "count": state["count"] + counts.sum(), "strange": state["strange"] + strange}
        parts = first + jnp.arange(most), counts, means
        return lax.scan(lambda state, part: (self._go_on(state, *part), None), state, parts)[0]

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of blocks."""
        merged = {**a, **_better(a["best_mean"], a["best_probe"], b["best_mean"], b["best_probe"])}
        merged |= {key: a[key] + b[key] for key in ("ended", "count", "strange")}
        return self._go_on(merged, b["open_probe"], b["open_images"], b["open_mean"])

    def _go_on(self, state: State, probe: Int[Array, ""], images: Int[Array, ""], mean: Pair) -> State:
        """Take in some images of one probe, by their mean. If it is not the open one, that ends."""
        ended, stays = self._end(state), (images == 0) | (probe == state["open_probe"])
        state = _where(stays, state, ended)
        merged, _ = _merged_mean(state["open_images"], state["open_mean"], images, mean)
        probe = jnp.where(images > 0, probe, state["open_probe"])
        return {**state, "open_mean": merged, "open_probe": probe, "open_images": state["open_images"] + images}

    def _end(self, state: State) -> State:
        """Compare the open probe, if there is one, with the best."""
        probe = jnp.where(state["open_images"] > 0, state["open_probe"], -1)
        everywhere = jnp.broadcast_to(probe, (self.vertices,))
        best = _better(state["best_mean"], state["best_probe"], state["open_mean"], everywhere)
        nothing = {key: jax.tree.map(jnp.zeros_like, state[key]) for key in ("open_mean", "open_images")}
        return {**state, **best, **nothing, "ended": state["ended"] + (jnp.arange(self.probes) == probe)}

    def finalize(self, state: State) -> Results:
        """Best probes and their means.

        Raises
        ------
        ValidationError
            A probe's images came in several blocks, or out of order.
        """
        state = jax.tree.map(np.asarray, jax.jit(type(self)._end, static_argnums=0)(self, state))
        if state["strange"] or (state["ended"] > 1).any():
            raise ValidationError(
                f"Reducer {self.name!r} was given a probe's images in several blocks, or images out of order. Choose "
                f"blocks of a multiple of {self.images_per_probe} images, or GroupMeans."
            )
        value = np.where(state["best_probe"] < 0, np.nan, _exact(state["best_mean"]))
        return {"probe": state["best_probe"], "value": value, "seen": state["ended"] > 0, "count": state["count"]}


def _better(a: Pair, probe_a: Int[Array, " vertices"], b: Pair, probe_b: Int[Array, " vertices"]) -> State:
    """Of each vertex the larger mean and its probe; none (−1) is less than all, NaN more, to be seen."""
    high, low = _two_sum(b.high, -a.high)
    above = high + (low + (b.low - a.low))
    wins = (above > 0) | ((above == 0) & (probe_b < probe_a)) | (jnp.isnan(b.high) & ~jnp.isnan(a.high))
    wins = (probe_b >= 0) & (wins | (probe_a < 0))
    return {"best_mean": _where(wins, b, a), "best_probe": jnp.where(wins, probe_b, probe_a)}
