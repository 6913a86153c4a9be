from .outcome import ExperimentResult
from .page import Gallery, Link, Pairs, Picture, Section, SideBySide, Table, write_report
from .results import write_results

__all__ = [
    "ExperimentResult",
    "Gallery",
    "Link",
    "Pairs",
    "Picture",
    "Section",
    "SideBySide",
    "Table",
    "write_report",
    "write_results",
]
