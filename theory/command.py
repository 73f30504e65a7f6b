"""The command `metabridge theory`, its options in `metabridge.theory_options`."""

import dataclasses
import json
import math
from typing import Any

from metabridge.data import load_dataset
from metabridge.output import check_output
from metabridge.runs.inputs import options_of_data
from metabridge.theory.closeness import image_tasks
from metabridge.theory.closeness.compare import compare
from metabridge.theory.closeness.diagnose import diagnose
from metabridge.theory.closeness.members import MemberGaps
from metabridge.theory.closeness.verdict import Diagnosis
from metabridge.theory.kernels import registry
from metabridge.theory.predictors.inner_loop import gradient_flow
from metabridge.theory.types import Tasks, check_whole
from metabridge.theory_options import TheoryOptions
from metabridge.types import TaskShape


def run(options: TheoryOptions) -> None:
    """Diagnoses tasks of a dataset, prints the result and writes it where asked.

    Raises:
      ValueError: options out of range, or more tasks than there are images for.
      FileNotFoundError: the dataset is not there.
    """
    for name, minimum in (("tasks", 2), ("test_tasks", 1), ("seed", 0), ("members", 0)):
        check_whole(name, getattr(options, name), minimum)
    output = options.output and check_output(options.output, make_folder=True)
    kernel = registry.kernel(
        options.architecture, options.depth, pool_stride=options.pool_stride,
        b_std=options.b_std,
    )  # fmt: skip
    train, unseen = _draw(options)
    inner = gradient_flow(options.layers, time=options.time)
    adaptation = gradient_flow(options.layers, time=options.adaptation_time)
    found = diagnose(
        train,
        unseen,
        kernel=kernel,
        depth=options.depth,
        inner=inner,
        adaptation=adaptation,
        jitter=options.jitter,
        neighbours=options.neighbours,
    )
    spread = {}
    if options.members:
        close = compare(
            kernel, train, unseen, inner=inner, adaptation=adaptation,
            jitter=options.jitter, members=options.members, seed=options.seed,
        )  # fmt: skip
        spread = {name: getattr(close, name) for name in MemberGaps._fields}
    print(
        f"\nMTL and meta-learning on {options.dataset}, {options.ways}-way "
        f"{options.shots}-shot, infinite width, {options.architecture} of depth "
        f"{options.depth}\n"
    )
    print(found)
    if spread:
        print(
            "\nOver random initialisations, mean distances of predictions on a task: "
            "MTL and\nmeta-learning from one {member_gap:.3g}, from two "
            "{member_gap_apart:.3g}; two of MTL {seed_gap_mtl:.3g},\ntwo of "
            "meta-learning {seed_gap_gbml:.3g}.".format(**spread)
        )
    if output is not None:
        text = json.dumps(_as_json(options, found) | spread, indent=2, allow_nan=False)
        output.write_text(text + "\n", encoding="utf-8")


def _draw(options: TheoryOptions) -> tuple[Tasks, Tasks]:
    dataset = load_dataset(
        options.dataset, download=options.download, **options_of_data(options)
    )
    shape = TaskShape(options.ways, options.shots, options.queries)
    image_tasks.check(dataset, shape)
    flat = registry.ARCHITECTURES[options.architecture].flat
    if not dataset.has_images and (not flat or options.side is not None):
        given = "`side`" if flat else f"`architecture` {options.architecture}"
        raise ValueError(
            f"{given} is for images, but the inputs of {dataset.name!r} are "
            f"{list(dataset.input_shape)}: take an architecture of dense layers, and "
            "no `side`"
        )

    def draw(split: Any, count: int, seed: int, *, apart: bool) -> Tasks:
        return image_tasks.draw(
            dataset, split, shape, count, seed, apart=apart, flat=flat,
            side=options.side,
        )[0]  # fmt: skip

    return (
        draw(dataset.train, options.tasks, options.seed, apart=True),
        draw(dataset.test, options.test_tasks, options.seed + 1, apart=False),
    )


def _as_json(options: TheoryOptions, found: Diagnosis) -> dict[str, Any]:
    given = {
        name: value if not isinstance(value, float) or math.isfinite(value) else None
        for name, value in dataclasses.asdict(options).items()
        if name not in ("output", "data_dir", "augmentation", "rotations")
    }
    return {"options": given, **found.as_dict()}
