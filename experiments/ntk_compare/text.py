"""What the page says beside its figures and tables."""

from pathlib import Path

from experiments.ntk_compare.config import Config
from experiments.presentation.page import Section
from experiments.presentation.table import Table
from experiments.presentation.table import seconds as seconds_table

INTRODUCTION = Section(
    "What is compared",
    (
        "A model that has seen many small <i>tasks</i> is to solve a new one from a "
        "few labelled examples, the task's <i>support</i>; it is judged on further "
        "examples, the <i>queries</i>. There are two ways to train it.",
        "<b>Multi-task learning (MTL)</b> trains one body shared by all tasks and a "
        "linear head for each, all together, by ordinary gradient descent. "
        "<b>Gradient-based meta-learning (GBML)</b> trains an initialisation such "
        "that an <i>inner loop</i> of gradient descent on a task's support does well "
        "on its queries: MAML moves all layers in the inner loop, ANIL only the head, "
        "BOIL only the body.",
        "Wang, Zhao and Li (ICML 2021) prove that for deep networks the two end in "
        "almost the same predictor. At infinite width both have closed forms, kernel "
        "regressions with the kernels Σ (of the head) and Θ (of all layers), so the "
        "claim can be checked exactly. This page does that.",
        "With L hidden layers and an inner loop of time λτ (learning rate times steps) "
        "the theorem says: on any unseen task, adapted to in the same way, "
        "<code>‖F_MTL − F_GBML‖ ≤ c (λτ + 1/L)</code>.",
        "Two numbers are given throughout, because the first alone flatters. The "
        "<b>gap</b> is the distance between the two predictions on the queries of an "
        "unseen task. The <b>relative gap</b> divides it by the size of what training "
        "contributed to the prediction at all, which shrinks with depth as well.",
    ),
)


def sections(
    config: Config,
    seconds: dict[str, float],
    drawn: dict[str, Path],
    tables: dict[str, Table],
) -> list[Section]:
    """All sections."""
    return [
        INTRODUCTION,
        _one_task(config, drawn),
        _depth(config, drawn, tables),
        _time(drawn, tables),
        _images(config, drawn, tables),
        _accuracy(config, tables),
        _kernels(drawn),
        _finite(config, drawn, tables),
        _reproduce(config, seconds),
    ]


def _one_task(config: Config, drawn: dict[str, Path]) -> Section:
    return Section(
        "One unseen task",
        (
            "The input is an angle, the target a wave; MTL and ANIL (inner time 0.1) "
            "are trained on eight such tasks (for a finite time, or they would "
            "follow every contradiction between the tasks) and adapt their head to "
            f"the five black points for time {config.adaptation_time:g}. The deeper "
            "the network, the less the two curves differ.",
        ),
        ((drawn["predictions"], "Predictions of MTL and ANIL over one another."),),
    )


def _depth(config: Config, drawn: dict[str, Path], tables: dict[str, Table]) -> Section:
    return Section(
        "The gap against depth",
        (
            "ReLU networks with <code>W_std = √2</code> in all layers and no biases. "
            "Synthetic tasks: inputs uniform on the sphere in 20 dimensions, with a "
            "mean square of 1; targets <code>tanh(w·x/√20)</code> with a random w a "
            "task; 8 training tasks with 4 support and 6 query points, 20 unseen "
            "tasks, everything averaged over 5 such draws. Both predictors adapt "
            f"their head to an unseen task for time {config.adaptation_time:g}.",
            "Without an inner loop in training (λτ = 0) the gap falls like 1/L² and "
            "the relative gap like 1/L. With a fixed inner loop the gap falls like "
            "1/L, and the relative gap settles at a constant that grows with λτ: what "
            "is left then is the λτ of the theorem.",
            "The last table has other comparisons: MTL trained on supports and queries "
            "together; MAML and BOIL, whose kernels grow with depth, so that their "
            "time is given over the depth; and MAML that adapts all layers to the "
            "unseen task while MTL adapts its head, which is outside the theorem and "
            "need not close.",
        ),
        (
            (
                drawn["gap-synthetic"],
                "Gap and relative gap against depth; dotted, the theorem's bound with "
                "the smallest constant that holds everywhere.",
            ),
        ),
        (tables["gap"], tables["relative"], tables["others"]),
    )


def _time(drawn: dict[str, Path], tables: dict[str, Table]) -> Section:
    return Section(
        "The gap against the time of the inner loop",
        (
            "The same numbers, against λτ. The bound is loose: the gap itself never "
            "exceeds it by construction, and falls faster with depth.",
        ),
        ((drawn["gap-time"], "Gap and relative gap against the inner loop's time."),),
        (tables["bound"],),
    )


def _images(
    config: Config, drawn: dict[str, Path], tables: dict[str, Table]
) -> Section:
    return Section(
        "Real images",
        (
            f"{config.ways}-way {config.shots}-shot tasks of {config.dataset} with "
            f"{config.queries} queries a class, as regression on one-hot labels minus "
            "their mean; images flattened, with a mean square of 1. Eight training "
            "tasks and eight tasks of unseen classes.",
        ),
        ((drawn["gap-images"], "Gap and relative gap against depth, image tasks."),),
        (tables["image gap"], tables["image relative"], tables["image others"]),
    )


def _accuracy(config: Config, tables: dict[str, Table]) -> Section:
    return Section(
        "Accuracy at infinite width",
        (
            f"All methods are trained on {config.tasks} tasks and judged on twice as "
            "many with unseen classes. MTL and ANIL adapt the head; MAML all layers "
            "and BOIL the body, for the given time over the depth, as their kernel "
            "grows with it; in training as on unseen tasks. Time ∞ is an inner loop "
            "run to the end.",
            "An infinitely wide network learns no features, and which class is called "
            "1 differs from task to task. So what training transfers to a new task "
            "here is noise, which a longer adaptation removes in part; MTL with heads "
            "that start independently transfers nothing, and is the kernel of the "
            "head by itself. The gains of MTL and GBML on real networks come from "
            "features.",
        ),
        (),
        (tables["accuracy"],),
    )


def _kernels(drawn: dict[str, Path]) -> Section:
    return Section(
        "The two kernels",
        (
            "The kernels that the two kinds of training amount to, on the queries of "
            "the 8 synthetic training tasks. MTL has an extra part within each task, "
            "the head's, which fades with depth beside the body's.",
        ),
        ((drawn["kernels"], "Kernel matrices of MTL and ANIL, over their maximum."),),
    )


def _finite(
    config: Config, drawn: dict[str, Path], tables: dict[str, Table]
) -> Section:
    return Section(
        "Finite networks",
        (
            "Do the formulas describe real networks? Flax networks of several widths "
            f"(mean of {config.draws} initialisations, 3 synthetic training tasks): "
            "their tangent kernel at initialisation (3 hidden layers), and their "
            "predictions on 8 unseen tasks after gradient descent to convergence (2 "
            "hidden layers), against the formulas. The error falls like one over the "
            "square root of the width.",
        ),
        ((drawn["finite-width"], "Relative errors of finite networks."),),
        (tables["kernel widths"], tables["prediction widths"]),
    )


def _reproduce(config: Config, seconds: dict[str, float]) -> Section:
    options = " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in (
            ("dataset", config.dataset),
            ("tasks", config.tasks),
            ("seed", config.seed),
        )
    )
    return Section(
        "How this page was made",
        (
            f"<code>python -m experiments.ntk_compare {options}</code>, all in float64 "
            "but for the finite networks; the numbers are in results.json. Source: H. "
            "Wang, H. Zhao, B. Li, Bridging Multi-Task Learning and Meta-Learning: "
            "Towards Efficient Training and Effective Adaptation, ICML 2021, "
            '<a href="https://arxiv.org/abs/2106.09017">arXiv:2106.09017</a>.',
        ),
        (),
        (seconds_table(seconds),),
    )
