"""Scikit-learn's handwritten digits: 1,797 real images that need no download."""

import numpy as np

from mobilevitv2.errors import require

CLASSES = [str(digit) for digit in range(10)]


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 [1797, 8, 8], white on black, and the class of each; stored values are 0..16."""
    digits = require("sklearn.datasets", extra="train").load_digits()
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
