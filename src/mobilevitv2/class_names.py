"""What a model says of its classes, and the published names and colors of known data sets."""

from collections.abc import Sequence
from dataclasses import dataclass

Color = tuple[int, int, int]  # RGB, 0..255


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """What a checkpoint or an exported file says of its classes."""

    labels: list[str]  # in the order of the logits
    colors: list[list[int]] | None = None  # RGB of each class, if somebody chose them
    thresholds: list[float] | None = None  # a multi-label model's, for each class; None: 0.5


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.replace("\n", " ").split(","))


# http://host.robots.ox.ac.uk/pascal/VOC/voc2012: its 20 classes, after the background
VOC = _names("""
background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog,
horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor
""")
# https://cocodataset.org: its 80 classes of objects, ordered by their ids, which have gaps
COCO = _names("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball
bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife,
spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair,
couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone,
microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush
""")
# SegNet's 11 classes of CamVid, with the colors of its tutorial
CAMVID = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
# objectInfo150 of the scene parsing challenge: the first name of each class
ADE20K = _names("""
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track,
apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket,
waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot,
animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light,
tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass,
clock, flag
""")


COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # ids of objects that COCO left out


def coco_ids(classes: Sequence[str]) -> list[int]:
    """COCO's ids for its 80 classes, 1 to 90; for other classes 1, 2 and so on."""
    ids = list(range(1, len(classes) + 1))
    if tuple(classes) != COCO:
        return ids
    return [number for number in range(1, 91) if number not in COCO_UNUSED]


def palette(count: int) -> list[Color]:
    """Pascal VOC's colors: the number's bits go to red, green, blue in turn, top bits first."""
    return [
        (_spread(number), _spread(number >> 1), _spread(number >> 2)) for number in range(count)
    ]


def _spread(number: int) -> int:
    """Every third bit of the number, the lowest as bit 7, the next as bit 6, and so on."""
    return sum((number >> 3 * i & 1) << (7 - i) for i in range(8))
