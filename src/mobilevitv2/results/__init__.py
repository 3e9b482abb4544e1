"""What a user gets for an image: results that know their labels, print, save and draw themselves.

`Classification` names the whole image, `MultiLabel` everything in it, `Detection` each object,
`Segmentation` every pixel.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # each is imported where it is needed, so that one task doesn't load all
    from mobilevitv2.results.classification import Classification
    from mobilevitv2.results.detection import Detection
    from mobilevitv2.results.multi_label import MultiLabel
    from mobilevitv2.results.segmentation import Segmentation

    Result = Classification | MultiLabel | Segmentation | Detection
