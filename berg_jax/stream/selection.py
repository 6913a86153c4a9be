"""Selection of vertices, as a user names it: an ROI, a hemisphere, thresholds of data quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ..subject import Subject
    from ..vertices import Vertices


@dataclass(frozen=True)
class Selection:
    """Vertices to compute: of an ROI, of one hemisphere or both, above thresholds of data quality.

    Parameters
    ----------
    roi
        ROI expression, such as ``FFA-1 + FFA-2`` (default: all vertices). In Python also a list of expressions
        (their union), ``{"lh": …, "rh": …}`` with indices or masks, or :class:`~berg_jax.Vertices`.
    hemisphere
        Hemisphere of the vertices: ``lh``, ``rh`` or ``both``.
    min_ncsnr
        Lowest noise-ceiling signal-to-noise ratio (ncsnr) of a vertex.
    min_explained_variance
        Lowest explained variance of a vertex, on NSD's core images and in the scale that ``berg-jax info`` prints.

    Examples
    --------
    >>> import berg_jax
    >>> len(Selection("FFA-1", hemisphere="rh").of(berg_jax.Subject("demo", 1)))
    19
    """

    roi: str | Sequence[str] | Mapping[str, Any] | Any | None = None
    hemisphere: Literal["both", "lh", "rh"] = "both"
    min_ncsnr: float | None = None
    min_explained_variance: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name as JSON has them; of indices, masks and Vertices only that they were given."""
        by_name = self.roi is None or isinstance(self.roi, str | list | tuple)
        return {**vars(self), "roi": self.roi if by_name else f"given as {type(self.roi).__name__}"}

    def of(self, subject: Subject) -> Vertices:
        """Return the selected vertices of a subject, ascending within each hemisphere.

        All vertices, without thresholds, are there without metadata, too.

        Raises
        ------
        InvalidParameterError
            The ROI expression makes no sense, or no vertex is left.
        ModelNotFoundError, ValidationError
            Metadata are missing, or are not this subject's.
        """
        from ..errors import InvalidParameterError
        from ..rois import resolve
        from ..subject import Subject

        if not isinstance(subject, Subject):
            raise InvalidParameterError(
                f"subject must be a berg_jax.Subject, such as Subject('demo', 1), got {subject!r:.80}."
            )

        everything = self.roi is None and self.hemisphere == "both"
        if everything and self.min_ncsnr is None and self.min_explained_variance is None:
            return subject.all_vertices
        return resolve(
            self.roi,
            subject.metadata,
            hemisphere=self.hemisphere,
            min_ncsnr=self.min_ncsnr,
            min_explained_variance=self.min_explained_variance,
        )
