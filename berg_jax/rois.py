"""ROI expressions, masks, indices and thresholds that select the vertices of a subject.

An expression combines names of ROIs in the subject's metadata: ``"FFA-1 + FFA-2"`` is a union, ``"ventral - hV4"`` a
difference (the minus needs a space on each side, because names contain hyphens), ``"early & nsdgeneral"`` an
intersection, which binds more tightly than the other two. Parentheses group.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidParameterError
from .vertices import HEMISPHERES, Vertices, check_vertices, mask_or_indices

if TYPE_CHECKING:
    from .published.metadata import Metadata

# Names that stand for the union of their parts if the metadata have no ROI of that name.
UNIONS = {
    "V1": ("V1v", "V1d"),
    "V2": ("V2v", "V2d"),
    "V3": ("V3v", "V3d"),
    "FFA": ("FFA-1", "FFA-2"),
    "FBA": ("FBA-1", "FBA-2"),
    "VWFA": ("VWFA-1", "VWFA-2"),
    "OVWFA": ("OWFA",),  # as the published model card spells it
}
_TOKEN = re.compile(r"\s*(?:([()+&])|((?<=\s)-(?=\s))|((?:(?!\s[-]\s)[^()+&])+))")
_MAX_DEPTH = 50  # nested parentheses
_MAX_LENGTH = 10_000  # characters of an expression


def resolve(
    selection: str | Sequence[str] | Mapping[str, Any] | Vertices | None,
    metadata: Metadata,
    *,
    hemisphere: str = "both",
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
) -> Vertices:
    """Return the vertices that a selection stands for, ascending within each hemisphere.

    Parameters
    ----------
    selection
        A ROI expression, a list of ROI expressions (their union), ``{"lh": …, "rh": …}`` with an index array or a
        mask for each hemisphere (a missing hemisphere selects nothing), ``Vertices``, or None for all vertices.
    metadata
        Metadata of the subject.
    hemisphere
        ``"lh"``, ``"rh"`` or ``"both"``.
    min_ncsnr, min_explained_variance
        Smallest noise-ceiling signal-to-noise ratio, and smallest explained variance in the file's own scale, that a
        vertex may have on NSD's core images. NaN never passes.

    Returns
    -------
    The selected vertices.

    Raises
    ------
    InvalidParameterError
        The expression or a mask is invalid, a name is unknown (the message lists the nearest names), or no vertex is
        left.

    See Also
    --------
    berg_jax.Subject.vertices : The same for a subject, whose metadata are known.

    Examples
    --------
    >>> import berg_jax
    >>> metadata = berg_jax.Subject("demo", 1).metadata
    >>> faces = resolve("FFA-1 + FFA-2", metadata, hemisphere="rh")
    >>> len(faces.lh), len(faces.rh) > 0
    (0, True)
    """
    if hemisphere not in (*HEMISPHERES, "both"):
        raise InvalidParameterError(f"hemisphere must be 'lh', 'rh' or 'both', got {hemisphere!r}.")
    selected = _selected(selection, metadata)
    wanted = HEMISPHERES if hemisphere == "both" else (hemisphere,)
    selected = {h: np.unique(selected[h]) if h in wanted else np.array([], np.int64) for h in HEMISPHERES}
    count = sum(map(len, selected.values()))
    if count == 0:
        where = "either hemisphere" if hemisphere == "both" else hemisphere
        raise InvalidParameterError(f"{_named(selection)} has no vertices in {where} of this subject.")
    for minimum, values in (
        (min_ncsnr, metadata.ncsnr),
        (min_explained_variance, lambda h: metadata.accuracy("explained_variance", h)),
    ):
        if minimum is not None:
            # Written so that NaN fails the comparison.
            selected = {h: indices[values(h)[indices] >= minimum] for h, indices in selected.items()}
    if not any(map(len, selected.values())):
        name = _named(selection).replace("The", "the")
        raise InvalidParameterError(f"No vertex of {name} passes the thresholds; {count} were there. Lower them.")
    return Vertices(selected["lh"], selected["rh"], metadata.hemisphere_size)


def _selected(selection: Any, metadata: Metadata) -> dict[str, np.ndarray]:
    size = metadata.hemisphere_size
    if selection is None:
        return {h: metadata.modeled(h) for h in HEMISPHERES}
    if isinstance(selection, Vertices):
        check_vertices(selection, size)
        return {"lh": selection.lh, "rh": selection.rh}
    if isinstance(selection, str):
        return _Expression(selection, metadata).value()
    if isinstance(selection, Mapping):
        unknown = set(selection) - set(HEMISPHERES)
        if unknown:
            raise InvalidParameterError(f"A selection has the keys 'lh' and 'rh', got {sorted(map(str, unknown))}.")
        return {h: mask_or_indices(selection.get(h, []), size, h) for h in HEMISPHERES}
    if isinstance(selection, Sequence) and selection and all(isinstance(item, str) for item in selection):
        parts = [_Expression(item, metadata).value() for item in selection]
        return {h: np.concatenate([part[h] for part in parts]) for h in HEMISPHERES}
    raise InvalidParameterError(
        f"A selection is a ROI expression, a list of them, {{'lh': …, 'rh': …}} or Vertices, got {selection!r:.80}."
    )


def _named(selection: Any) -> str:
    return f"ROI {selection!r}" if isinstance(selection, str | list | tuple) else "The selection"


class _Expression:
    """A recursive-descent parser that evaluates while it reads: unions and differences of intersections."""

    def __init__(self, text: str, metadata: Metadata):
        if len(text) > _MAX_LENGTH:
            raise InvalidParameterError(
                f"A ROI expression has at most {_MAX_LENGTH:,} characters, got {len(text):,}. Use a mask or indices."
            )
        self.text, self.metadata = text, metadata
        self.tokens = [part.strip() for match in _TOKEN.finditer(text) for part in match.groups() if part]
        self.tokens = [token for token in self.tokens if token]
        self.place = self.depth = 0

    def value(self) -> dict[str, np.ndarray]:
        result = self._sum()
        if self.place < len(self.tokens):
            raise self._error(f"{self.tokens[self.place]!r} is not expected there")
        return result

    def _sum(self) -> dict[str, np.ndarray]:
        result = self._product()
        while self._peek() in ("+", "-"):
            operation = np.union1d if self._next() == "+" else np.setdiff1d
            other = self._product()
            result = {h: operation(result[h], other[h]) for h in HEMISPHERES}
        return result

    def _product(self) -> dict[str, np.ndarray]:
        result = self._atom()
        while self._peek() == "&":
            self._next()
            other = self._atom()
            result = {h: np.intersect1d(result[h], other[h]) for h in HEMISPHERES}
        return result

    def _atom(self) -> dict[str, np.ndarray]:
        token = self._next()
        if token == "(":
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise self._error(f"more than {_MAX_DEPTH} parentheses are nested")
            result = self._sum()
            if self._next() != ")":
                raise self._error("a parenthesis is not closed")
            self.depth -= 1
            return result
        if token is None or token in "()+-&":
            raise self._error(f"a ROI name is expected {'at its end' if token is None else f'before {token!r}'}")
        return self._roi(token)

    def _roi(self, name: str) -> dict[str, np.ndarray]:
        known = self.metadata.roi_names
        parts = (name,) if name in known else tuple(part for part in UNIONS.get(name, ()) if part in known)
        if not parts:
            names = [*known, *(union for union in UNIONS if union not in known)]
            by_lower = {known_name.lower(): known_name for known_name in names}
            near = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=4, cutoff=0.5)]
            sides = [(name[: match.start()].strip(), name[match.end() :].strip()) for match in re.finditer("-", name)]
            subtracted = any(left.lower() in by_lower and right.lower() in by_lower for left, right in sides)
            hint = " A difference needs spaces on both sides of the minus." if subtracted else ""
            raise InvalidParameterError(
                f"Invalid ROI: {name!r}. Valid ROIs are: {names}." + (f" Nearest: {near}." if near else "") + hint
            )
        halves = zip(*map(self.metadata.roi, parts), strict=True)
        return {h: np.unique(np.concatenate(half)) for h, half in zip(HEMISPHERES, halves, strict=True)}

    def _peek(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def _next(self) -> str | None:
        token = self._peek()
        self.place += 1
        return token

    def _error(self, problem: str) -> InvalidParameterError:
        return InvalidParameterError(
            f"The ROI expression {self.text!r} makes no sense: {problem}. Write, for example, 'FFA-1 + FFA-2', "
            "'ventral - hV4' or 'early & (V1 + V2)'."
        )
