from .outcome import ExperimentResult
from .page import Gallery, Pairs, Picture, Section, SideBySide, Table, write_report
from .results import write_results

__all__ = [
    "ExperimentResult",
    "Gallery",
    "Pairs",
    "Picture",
    "Section",
    "SideBySide",
    "Table",
    "write_report",
    "write_results",
]
