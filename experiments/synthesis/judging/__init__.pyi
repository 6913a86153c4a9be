from .judge import leave_one_out, percentile, robustness, score, statistics, transfer
from .natural import Baseline, natural_baseline
from .sheets import contact_sheet

__all__ = [
    "Baseline",
    "contact_sheet",
    "leave_one_out",
    "natural_baseline",
    "percentile",
    "robustness",
    "score",
    "statistics",
    "transfer",
]
