from .judge import leave_one_out, percentile, robustness, score, statistics, transfer
from .natural import Baseline, natural_baseline
from .sheets import contact_sheet
from .winner import Judge, Judgement, judge_images

__all__ = [
    "Baseline",
    "Judge",
    "Judgement",
    "contact_sheet",
    "judge_images",
    "leave_one_out",
    "natural_baseline",
    "percentile",
    "robustness",
    "score",
    "statistics",
    "transfer",
]
