"""The three published key layouts, side by side; our own models use transformers' one.

Every tensor has the same shape in all three, so a checkpoint is converted by renaming alone. The
tables are one-to-one: one direction is written here, the other is computed.

Sources: state dicts of ml-cvnets (v0.2 and later), timm 1.0 and transformers 5.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from mobilevitv2.errors import CheckpointError

Row = tuple[str, str | None, str | None, tuple[str, ...]]
"""A module's name in the three layouts, None where a layout lacks it, and the tensors in it."""
Rows = tuple[Row, ...]

WEIGHT = ("weight",)
AFFINE = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

LAYOUTS = ("transformers", "timm", "cvnets")  # the order of the columns below


def _normed(ours: str, timm: str | None, cvnets: str) -> Rows:
    """A convolution and its BatchNorm."""
    return (
        (f"{ours}.convolution", timm and f"{timm}.conv", f"{cvnets}.block.conv", WEIGHT),
        (f"{ours}.normalization", timm and f"{timm}.bn", f"{cvnets}.block.norm", BATCH_NORM),
    )


def _inside(ours: str, cvnets: str, names: Mapping[str, str]) -> Rows:
    """The same for a head, which timm lacks; `names` are ours and the reference's in it."""
    pairs = [(f"{ours}.{mine}", f"{cvnets}.{theirs}") for mine, theirs in names.items()]
    return tuple(row for mine, theirs in pairs for row in _normed(mine, None, theirs))


def _plain(ours: str, cvnets: str, tensors: tuple[str, ...] = AFFINE) -> Rows:
    """A convolution of a head without BatchNorm."""
    return ((f"{ours}.convolution", None, f"{cvnets}.block.conv", tensors),)


STEM: Rows = (
    ("convolution", "conv", "conv", WEIGHT),
    ("normalization", "bn", "norm", BATCH_NORM),
)
INVERTED_RESIDUAL: Rows = (
    *_normed("expand_1x1", "conv1_1x1", "exp_1x1"),
    *_normed("conv_3x3", "conv2_kxk", "conv_3x3"),
    *_normed("reduce_1x1", "conv3_1x1", "red_1x1"),
)
LOCAL: Rows = (
    *_normed("conv_kxk", "conv_kxk", "local_rep.0"),
    ("conv_1x1.convolution", "conv_1x1", "local_rep.1.block.conv", WEIGHT),
)
QKV, OUT = (f"pre_norm_attn.1.{name}_proj.block.conv" for name in ("qkv", "out"))
ATTENTION: Rows = (
    ("layernorm_before", "norm1", "pre_norm_attn.0", AFFINE),
    ("attention.qkv_proj.convolution", "attn.qkv_proj", QKV, AFFINE),
    ("attention.out_proj.convolution", "attn.out_proj", OUT, AFFINE),
    ("layernorm_after", "norm2", "pre_norm_ffn.0", AFFINE),
    ("ffn.conv1.convolution", "mlp.fc1", "pre_norm_ffn.1.block.conv", AFFINE),
    ("ffn.conv2.convolution", "mlp.fc2", "pre_norm_ffn.3.block.conv", AFFINE),
)
PROJECTION: Rows = (
    ("layernorm", "norm", "global_rep.{depth}", AFFINE),
    *_normed("conv_projection", "conv_proj", "conv_proj"),
)

# Where the rows stand: their prefix in the three layouts. Slots: i stage from 0, s = i + 1,
# b block of the stage, j attention layer, depth the number of attention layers of the stage.
STAGE = "mobilevitv2.encoder.layer.{i}."
IN_STEM = ("mobilevitv2.conv_stem.", "stem.", "conv_1.block.")
IN_STAGE = (f"{STAGE}layer.{{b}}.", "stages.{i}.{b}.", "layer_{s}.{b}.block.")
IN_DOWNSAMPLING = (f"{STAGE}downsampling_layer.", "stages.{i}.0.", "layer_{s}.0.block.")
IN_BLOCK = (STAGE, "stages.{i}.1.", "layer_{s}.1.")
IN_ATTENTION = (
    f"{STAGE}transformer.layer.{{j}}.",
    "stages.{i}.1.transformer.{j}.",
    "layer_{s}.1.global_rep.{j}.",
)
AT_TOP = ("", "", "")


def _predictor(index: int) -> Rows:
    """What answers for a detector's map; the projection is only for other channel counts."""
    ours, cvnets = f"detection_head.predictors.{index}", f"ssd_heads.{index}"
    names = {"projection": "proj_layer", "conv_3x3": "loc_cls_layer.dw_conv"}
    answers = _plain(f"{ours}.conv_1x1", f"{cvnets}.loc_cls_layer.pw_conv")
    return (*_inside(ours, cvnets, names), *answers)


SEPARABLE = {"conv_3x3": "dw_conv", "conv_1x1": "pw_conv"}
# The heads, in the reference's order.
HEADS: dict[str, Rows] = {
    "classification": (("classifier", "head.fc", "classifier.1", AFFINE),),
    "auxiliary": (
        *_inside("auxiliary_head", "seg_head", {"conv": "aux_head.0"}),
        *_plain("auxiliary_head.classifier", "seg_head.aux_head.2"),
    ),
    "deeplabv3": _inside(
        "segmentation_head.aspp",
        "seg_head.aspp.aspp_layer",
        {f"convs.{i}": f"convs.{i}" for i in range(4)}
        | {"convs.4.conv_1x1": "convs.4.aspp_pool.conv_1x1", "project": "project"},
    ),
    "pspnet": _inside(
        "segmentation_head.pyramid",
        "seg_head.psp_layer",
        {f"branches.{i}": f"psp_branches.{i}.1" for i in range(4)} | {"fusion": "fusion.0"},
    ),
    "segmentation": _plain("segmentation_head.classifier", "seg_head.classifier"),
    "detection": (
        *_inside("detection_head.extra_layers.0", "extra_layers.os_64", SEPARABLE),
        *_inside("detection_head.extra_layers.1", "extra_layers.os_128", SEPARABLE),
        *_inside("detection_head.extra_layers.2", "extra_layers.os_256", SEPARABLE),
        *_plain("detection_head.extra_layers.3.conv_1x1", "extra_layers.os_-1.1", WEIGHT),
        *(row for index in range(5) for row in _predictor(index)),
        *_plain("detection_head.predictors.5.conv_1x1", "ssd_heads.5.loc_cls_layer"),
    ),
}

# Other published spellings of a layout: a pattern, and what the tables have instead.
SPELLINGS = {
    "transformers": (r"^(?=conv_stem\.|encoder\.layer\.)", "mobilevitv2."),  # bare MobileViTV2Model
    "timm": (r"^stages_(?=\d)", "stages."),  # features_only=True
    "cvnets": (r"^encoder\.(?=conv_1\.|layer_)", ""),  # inside a segmentation or detection model
}
WRAPPERS = ("module.", "model.", "_orig_mod.")  # DataParallel, Lightning, torch.compile
IN_A_TASK_MODEL = "encoder."  # before the backbone's keys in ml-cvnets, except in classifiers
TASK_HEADS = {  # first part of a key in any layout, to the task of its head
    "classifier": "classification",
    "head": "classification",
    "segmentation_head": "segmentation",
    "auxiliary_head": "segmentation",
    "seg_head": "segmentation",
    "detection_head": "detection",
    "extra_layers": "detection",
    "ssd_heads": "detection",
}
VERSION_1 = re.compile(r"(stages\.\d\.1\.conv_fusion|layer_\d\.1\.fusion|layer\.\d\.fusion)\.")


def key_table(
    layout: str, n_attn_blocks: Sequence[int], heads: Sequence[str] = tuple(HEADS)
) -> dict[str, str]:
    """Every key of a model with these heads in `layout`, to our name, in the model's order."""
    column = LAYOUTS.index(layout)
    table = {}

    def add(places: tuple[str, str, str], rows: Rows, **slots: int) -> None:
        for row in rows:
            if row[column] is not None:
                theirs, ours = (f"{places[c]}{row[c]}".format(**slots) for c in (column, 0))
                table.update({f"{theirs}.{tensor}": f"{ours}.{tensor}" for tensor in row[3]})

    add(IN_STEM, STEM)
    for i, b in ((0, 0), (1, 0), (1, 1)):
        add(IN_STAGE, INVERTED_RESIDUAL, i=i, s=i + 1, b=b)
    for i, depth in enumerate(n_attn_blocks, start=2):
        add(IN_DOWNSAMPLING, INVERTED_RESIDUAL, i=i, s=i + 1)
        add(IN_BLOCK, LOCAL, i=i, s=i + 1)
        for j in range(depth):
            add(IN_ATTENTION, ATTENTION, i=i, s=i + 1, j=j)
        add(IN_BLOCK, PROJECTION, i=i, s=i + 1, depth=depth)
    for head in heads:
        add(AT_TOP, HEADS[head])
    return table


def count_attention_layers(keys: Collection[str], layout: str = "transformers") -> list[int]:
    """How many attention layers stages 3, 4 and 5 have by the keys; compare `n_attn_blocks`."""
    counts = []
    for i in (2, 3, 4):
        place = IN_ATTENTION[LAYOUTS.index(layout)].format(i=i, s=i + 1, j="J")
        layer = re.compile(re.escape(place).replace("J", r"(\d{1,4})") + r"\w+\.")
        found = [int(match[1]) for match in map(layer.match, keys) if match]
        counts.append(min(max(found, default=-1) + 1, len(keys)))
    return counts


def recognize(keys: Iterable[str]) -> str:
    """The layout that most of these keys are from. Raises CheckpointError where none is."""
    keys = list(keys)
    if any(VERSION_1.search(key) for key in keys):
        raise CheckpointError(
            "these weights have fusion layers, so they are of MobileViT version 1. Open them with "
            "the library that made them."
        )
    known = {layout: len(_matched(keys, layout)) for layout in LAYOUTS}
    layout = max(known, key=known.__getitem__)
    if known[layout] < 0.5 * len(keys) or not keys:
        seen = ", ".join(keys[:6]) or "nothing"
        raise CheckpointError(
            f"this isn't a MobileViTv2 checkpoint in a layout of {', '.join(LAYOUTS)}: "
            f"{known[layout]} of its {len(keys)} keys are known. It begins with {seen}."
        )
    return layout


def task_of(keys: Iterable[str]) -> str:
    """The task that the head is for, or "backbone" without a head."""
    heads = {key.split(".")[0] for key in _unwrapped(list(keys))}
    return next((task for head, task in TASK_HEADS.items() if head in heads), "backbone")


def rename(state: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under our names, and the keys that have none."""
    matched = _matched(list(state), layout)
    renamed = {ours: state[key] for key, ours in matched.items()}
    return renamed, [key for key in state if key not in matched]


def from_ours(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A model's state dict under the names of `layout`. Raises CheckpointError for other keys."""
    ours = _respelled(list(state), "transformers")
    table = key_table(layout, count_attention_layers(ours.values()))
    names = {our: their for their, our in table.items()}
    if unknown := [key for key, our in ours.items() if our not in names]:
        raise CheckpointError(f"the layout of {layout} has no place for: {', '.join(unknown)}.")
    inside = layout == "cvnets" and task_of(state) not in ("backbone", "classification")
    return {
        f"{IN_A_TASK_MODEL if inside and task_of([key]) == 'backbone' else ''}{names[ours[key]]}": t
        for key, t in state.items()
    }


def check(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    layout: str,
    unknown: Sequence[str] = (),
) -> None:
    """Raise CheckpointError with all differences, in the file's names; `unknown` have none here."""
    depths = count_attention_layers(expected)
    names = {our: their for their, our in key_table(layout, depths).items()}
    differences = {
        "missing": [names.get(key, key) for key in expected if key not in state],
        "unexpected": [*unknown, *(names.get(key, key) for key in state if key not in expected)],
        "of another shape or kind": [
            f"{names.get(key, key)} is {_kind(state[key])}, expected {_kind(tensor)}"
            for key, tensor in expected.items()
            if key in state and not _fits(state[key], tensor)
        ],
    }
    listed = [
        f"{len(keys)} {kind}: {', '.join(keys)}" for kind, keys in differences.items() if keys
    ]
    if listed:
        raise CheckpointError(
            f"the checkpoint (layout of {layout}) doesn't fit the model. {'; '.join(listed)}."
        )


def _matched(keys: list[str], layout: str) -> dict[str, str]:
    """Each key that `layout` knows, to our name; of two spellings of a key, the first."""
    plain = _respelled(keys, layout)
    table = key_table(layout, count_attention_layers(plain.values(), layout))
    matched = {table[name]: key for key, name in reversed(plain.items()) if name in table}
    return {key: ours for ours, key in reversed(matched.items())}


def _respelled(keys: list[str], layout: str) -> dict[str, str]:
    """Each key to its spelling in the tables."""
    pattern, replacement = SPELLINGS[layout]
    plain = _unwrapped(keys)
    return {key: re.sub(pattern, replacement, name) for key, name in zip(keys, plain, strict=True)}


def _unwrapped(keys: list[str]) -> list[str]:
    """The keys without the prefixes of wrappers around the model."""
    while prefix := next((w for w in WRAPPERS if keys and all(k.startswith(w) for k in keys)), ""):
        keys = [key.removeprefix(prefix) for key in keys]
    return keys


def _fits(tensor: Tensor, expected: Tensor) -> bool:
    """Same shape, and floats where they are expected: quantized integers aren't weights."""
    floats = tensor.is_floating_point() or not expected.is_floating_point()
    return tensor.shape == expected.shape and floats


def _kind(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
