"""Shares and their means, where nan is for what nothing defines."""

from typing import Any

import numpy as np


def share(part: Any, whole: Any) -> np.ndarray:
    """float64 part / whole; nan where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def mean_of_known(values: np.ndarray) -> float:
    """The mean over what isn't nan; nan where all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
