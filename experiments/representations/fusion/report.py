"""Report of EEG–fMRI fusion: time courses with clusters, peaks with their latencies, tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ....files.csv_tables import write_table
from ....subject import Subject
from ....surface.style import default_style
from ...reporting.page import Picture, Section, Table
from ...reporting.panels import panels, save_panels
from ...reporting.results import note
from ...reporting.statistics import CONFIDENCE, Interval, mean_interval, resample
from .clusters import Cluster, Fusion

ALPHA = 0.05
_PANELS = 3  # in a row


class Times(NamedTuple):
    """Times of samples.

    Attributes
    ----------
    count
        Number of samples.
    rate
        Sampling rate in Hz; None counts samples.
    start
        Time of the first sample, in ms, or in samples without a rate.
    """

    count: int
    rate: float | None
    start: float

    @property
    def unit(self) -> str:
        """``"ms"``, or ``"samples"``."""
        return "samples" if self.rate is None else "ms"

    @property
    def values(self) -> Float[np.ndarray, " times"]:
        """The time of each sample."""
        return self.start + np.arange(self.count) * (1 if self.rate is None else 1000 / self.rate)

    def span(self, cluster: Cluster) -> str:
        """Return a cluster's first and last time, in words."""
        return f"{self.values[cluster.start]:g} to {self.values[cluster.stop - 1]:g} {self.unit}"


class Peak(NamedTuple):
    """Largest mean correlation of a ROI over time.

    Attributes
    ----------
    time, times
        When it is, and the 95% percentile interval over resamples of the participants.
    correlation, over_participants
        The mean over participants at that time, and its 95% interval by Student's t.
    participants
        Number of participants.
    """

    time: float
    times: Interval
    correlation: float
    over_participants: Interval
    participants: int


def peaks_of(fusion: Fusion, times: Times, seed: int) -> Peak:
    """Return the peak of a ROI's time course, and how sure its time is."""
    correlations = fusion.correlations
    mean = correlations.mean(0)
    best = int(mean.argmax())
    drawn = times.values[(resample(len(correlations), seed=seed).drawn @ correlations).argmax(1)]
    ends = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Peak(
        float(times.values[best]),
        Interval(float(ends[0]), float(ends[1])),
        float(mean[best]),
        mean_interval(correlations[:, best]),
        len(correlations),
    )


def write_tables(output: Path, fused: Mapping[str, Fusion], peaks: Mapping[str, Peak], times: Times) -> None:
    """Write ``clusters.csv`` and ``peaks.csv``."""
    rows = [
        (name, times.values[one.start], times.values[one.stop - 1], one.mass, one.p, one.p_of_all)
        for name, found in fused.items()
        for one in found.clusters
    ]
    unit = times.unit
    write_table(output / "clusters.csv", ("roi", f"first_{unit}", f"last_{unit}", "mass", "p", "p_of_all_rois"), rows)
    columns = ("roi", f"peak_{unit}", "peak_low", "peak_high", "correlation", "low", "high", "participants")
    write_table(
        output / "peaks.csv",
        columns,
        (
            (name, one.time, *one.times, one.correlation, *one.over_participants, one.participants)
            for name, one in peaks.items()
        ),
    )


def sections_of(
    subject: Subject,
    output: Path,
    fused: Mapping[str, Fusion],
    peaks: Mapping[str, Peak],
    times: Times,
    said: str,
    threshold_p: float,
) -> list[Section]:
    """Draw time courses, and return the report's sections.

    Parameters
    ----------
    subject
        A subject, of which the small print says whether its weights are synthetic.
    output
        Folder of the picture.
    fused, peaks, times
        Similarities over time, their peaks, and the samples' times.
    said
        Numbers of participants, images and subjects, in words.
    threshold_p
        p of a time that belongs to a cluster.
    """
    path = output / "fusion.png"
    _draw(fused, peaks, times, path, f"Fusion: {said}", note(subject))
    caption = (
        "Spearman's correlation of dissimilarities at each time with those of each ROI: mean over participants, 95% "
        f"interval by Student's t. Bars: clusters of p < {ALPHA:g} over times (black: also over all ROIs); dot: peak."
    )
    picture = Picture(path, caption, {"cluster-forming p": threshold_p})
    peak_rows = [
        (name, one.correlation, str(one.over_participants), one.time, _ends(one), one.participants)
        for name, one in peaks.items()
    ]
    peak_table = Table(
        f"Peak of each ROI; {said}; intervals over participants, of the correlation at the peak by t, of its time by "
        "bootstrap",
        ("ROI", "correlation", "95%", f"time ({times.unit})", "95% of time", "participants"),
        peak_rows,
    )
    rows = [
        (name, times.span(one), one.mass, one.p, one.p_of_all)
        for name, found in fused.items()
        for one in found.clusters
    ]
    clusters: list[Any] = ["No time belongs to a cluster."]
    if rows:
        columns = ("ROI", "times", "mass (sum of t)", "p", "p over all ROIs")
        clusters = [Table("Clusters; p by random signs of the participants", columns, rows)]
    return [Section("Similarity over time", [picture, peak_table, *clusters])]


def _ends(peak: Peak) -> str:
    return f"{peak.times.low:g} to {peak.times.high:g}"


def summary(fused: Mapping[str, Fusion], peaks: Mapping[str, Peak], times: Times, said: str, output: Path) -> str:
    """Return each ROI's peak and clusters of p < 0.05, in a line."""
    lines = [f"Fusion over time; {said}; 95% intervals over participants"]
    for name, found in fused.items():
        peak = peaks[name]
        clear = [f"{times.span(one)} (p {one.p:.3f})" for one in found.clusters if one.p < ALPHA]
        words = "clusters " + ", ".join(clear) if clear else "no cluster"
        lines.append(
            f"  {name:<14}peak {peak.correlation:.3f} ({peak.over_participants}) at {peak.time:g} {times.unit} "
            f"({_ends(peak)}); {words}"
        )
    return "\n".join([*lines, f"Time courses, clusters and report.html: {output}"])


@default_style()
def _draw(
    fused: Mapping[str, Fusion], peaks: Mapping[str, Peak], times: Times, path: Path, title: str, note: str | None
) -> None:
    """Draw a panel for each ROI: mean, interval, clusters and peak."""
    figure, axes = panels(len(fused), _PANELS, width=3.1, height=1.7, beside=0.6)
    bands = {
        name: np.array([mean_interval(values) for values in found.correlations.T]).T for name, found in fused.items()
    }
    low, high = (float(f([f(band) for band in bands.values()])) for f in (np.min, np.max))
    bottom = low - 0.08 * (high - low)
    for axis, (name, found) in zip(axes, fused.items(), strict=True):
        axis.fill_between(times.values, *bands[name], color="tab:blue", alpha=0.25, lw=0)
        axis.plot(times.values, found.correlations.mean(0), color="tab:blue", lw=1.3)
        axis.axhline(0, color="0.5", lw=0.8)
        if times.values[0] < 0 < times.values[-1]:
            axis.axvline(0, color="0.5", lw=0.8, ls="--")
        for one in found.clusters:
            if one.p < ALPHA:
                ends = times.values[[one.start, one.stop - 1]]
                color = "black" if one.p_of_all < ALPHA else "0.6"
                axis.plot(ends, [bottom] * 2, color=color, lw=3, solid_capstyle="butt")
        axis.plot(peaks[name].time, peaks[name].correlation, "o", color="tab:blue", ms=4)
        axis.set_title(name, size=9)
    figure.supylabel("Spearman's correlation", fontsize=8)
    save_panels(figure, path, title=title, label=f"time ({times.unit})", note=note)
