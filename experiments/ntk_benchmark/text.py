"""What the page says beside its figures and tables."""

import html
from collections.abc import Sequence
from pathlib import Path

from experiments.ntk_benchmark.config import Config
from experiments.presentation.page import Section
from experiments.presentation.table import Table

INTRODUCTION = Section(
    "What is asked",
    (
        "A few-shot <i>task</i> is a handful of labelled images, its <i>support</i>, "
        "and further images of the same classes to be named, its <i>queries</i>. "
        "<b>Multi-task learning (MTL)</b> trains one body with a head for each "
        "training task. <b>Gradient-based meta-learning (GBML)</b> trains through an "
        "inner loop "
        "of adaptation: ANIL moves the head in it, MAML all layers, R2-D2 solves a "
        "ridge regression. At infinite width all of them are kernel regressions, so "
        "that they can be trained in closed form and compared without noise.",
        "Wang, Zhao and Li (ICML 2021) prove that MTL and GBML end close to one "
        "another in deep networks: <code>‖F_MTL − F_GBML‖ ≤ c (λτ + 1/L)</code> with "
        "L hidden "
        "layers and an inner loop of time λτ. This page asks what that is worth on "
        "images: how accurate the methods are, how often they name the same class, and "
        "when they do not.",
        "The <b>gap</b> is the distance of the two predictions on the queries of an "
        "unseen task, the <b>relative gap</b> the same over what training contributed "
        "to the prediction at all, <b>same class</b> the share of the queries for "
        "which both name one class.",
    ),
)


def sections(
    config: Config,
    drawn: dict[str, Path],
    tables: dict[str, Table],
    failures: Sequence[str],
    seconds: Table,
) -> list[Section]:
    """All sections of the studies that were made."""
    made = {
        "accuracy": lambda: [_accuracy(config, drawn, tables)],
        "depth": lambda: [_depth(config, drawn, tables)],
        "curves": lambda: [_curves(config, drawn, tables)],
        "widths": lambda: [_widths(config, drawn, tables)],
        "failures": lambda: [_failures(config, tables, failures)],
    }
    found = [INTRODUCTION]
    for name in made:
        if name in config.studies:
            found += made[name]()
    return [*found, _reproduce(config, seconds)]


def _accuracy(
    config: Config, drawn: dict[str, Path], tables: dict[str, Table]
) -> Section:
    return Section(
        "Accuracy on unseen tasks",
        (
            f"{config.ways}-way {config.shots}-shot tasks of {config.dataset}; the "
            "last rows say how many each kernel was trained and judged on. MTL and "
            "ANIL "
            f"adapt their head to an unseen task for time {config.adaptation_time:g}, "
            "MAML all layers for that time over the number of layers, R2-D2 by ridge "
            "regression; <i>to the end</i> is an infinite time. <i>Adaptation "
            "alone</i> starts from a function that is 0, without any training.",
            f"Convolutional networks see the images shrunk to {config.side} x "
            f"{config.side} pixels; pooling averages every {config.pool_stride}th "
            "pixel in each direction.",
            "An infinitely wide network learns no features, and the classes of a task "
            "are numbered at random. What training can transfer to an unseen task is "
            "then little, and most of the accuracy is the adaptation's.",
        ),
        ((drawn["accuracy"], "Accuracy with 95 % intervals."),),
        (tables["accuracy"], tables["agreement"], tables["finite"]),
    )


def _depth(config: Config, drawn: dict[str, Path], tables: dict[str, Table]) -> Section:
    fields = ("agreement", "gap", "relative_gap", "accuracy")
    return Section(
        "Over depth and the time of the inner loop",
        (
            f"Fully connected networks, {config.tasks} training tasks, "
            f"{config.test_tasks} unseen ones for ANIL, {config.curve_test_tasks} for "
            "MAML, whose time is given over the depth. Dotted: 95 %.",
            "Both adapt their head to an unseen task, for time "
            f"{config.adaptation_time:g} or to the end. For a fixed time a deep "
            "network hardly moves in the directions that tell images apart, as its "
            "kernel is nearly constant: what decides is what training left, and both "
            "methods leave the same. To the end, the support decides.",
        ),
        (
            (drawn["depth-anil-timed"], "ANIL against MTL over depth, a fixed time."),
            (drawn["depth-anil-end"], "ANIL against MTL, adapted to the end."),
            (drawn["depth-maml-timed"], "MAML against MTL, a fixed time."),
            (drawn["depth-maml-end"], "MAML against MTL, adapted to the end."),
            (drawn["time"], "ANIL against MTL over the time of the inner loop."),
        ),
        tuple(
            tables[f"depth {layers} {which} {field}"]
            for layers in ("anil", "maml")
            for which in ("timed", "end")
            for field in fields
        ),
    )


def _curves(
    config: Config, drawn: dict[str, Path], tables: dict[str, Table]
) -> Section:
    return Section(
        "Over the number of training tasks and shots",
        (
            f"ANIL against MTL, fully connected networks, {config.curve_test_tasks} "
            "unseen tasks. The curve over shots has ten training tasks (or as many as "
            "there are, if fewer).",
        ),
        (
            (drawn["tasks"], "Over the number of training tasks, a fixed time."),
            (drawn["shots"], "Over the support images a class, a fixed time."),
        ),
        tuple(
            tables[f"{what} {which} {field}"]
            for what in ("tasks", "shots")
            for which in ("timed", "end")
            for field in ("agreement", "gap", "relative_gap", "accuracy")
        ),
    )


def _widths(
    config: Config, drawn: dict[str, Path], tables: dict[str, Table]
) -> Section:
    return Section(
        "Trained networks of finite width",
        (
            "Do networks that are really trained agree as their limits do? Flax "
            "networks, MTL and ANIL from the same initialisation, whose outputs are "
            f"subtracted; {config.finite_steps} steps of gradient descent on "
            f"{config.finite_tasks} tasks, images shrunk to {config.side} x "
            f"{config.side} pixels, {config.curve_test_tasks} unseen tasks. The last "
            "row is infinite width after the same training time.",
        ),
        ((drawn["widths"], "Trained MTL against trained ANIL."),),
        tuple(
            tables[f"widths {field}"]
            for field in ("agreement", "gap", "relative_gap", "mtl_accuracy")
        ),
    )


def _failures(
    config: Config, tables: dict[str, Table], failures: Sequence[str]
) -> Section:
    return Section(
        "When the closeness fails",
        (
            f"One condition at a time, from {config.failure_depth} hidden layers, λτ = "
            f"{config.failure_time:g}, {config.tasks} training tasks, shared heads, "
            "and the same adaptation of the head on both sides. <i>Close</i> is a "
            "relative "
            "gap of at most 0.1 or the same class for at least 95 % of the queries.",
            *(html.escape(sentence) for sentence in failures),
        ),
        (),
        (tables["failures"],),
    )


def _reproduce(config: Config, seconds: Table) -> Section:
    options = f"--dataset {html.escape(config.dataset)} --seed {config.seed}"
    if config.quick:
        options += " --quick"
    return Section(
        "How this page was made",
        (
            f"<code>python -m experiments.ntk_benchmark {options}</code>, in float64 "
            "but for the finite networks; the numbers are in results.json. Source of "
            "the theorem: H. Wang, H. Zhao, B. Li, Bridging Multi-Task Learning and "
            "Meta-Learning: Towards Efficient Training and Effective Adaptation, ICML "
            '2021, <a href="https://arxiv.org/abs/2106.09017">arXiv:2106.09017</a>.',
        ),
        (),
        (seconds,),
    )
