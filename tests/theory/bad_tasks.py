"""Bad tasks, labels, inner loops and heads; see `bad_input`."""

# pyright: reportArgumentType=false, reportCallIssue=false

import numpy as np

from metabridge import theory
from metabridge.theory.kernels.relu import iterate_depths
from metabridge.theory.solvers import dense
from tests.theory.bad_calls import (
    case,
    fresh,
    gbml,
    head,
    indefinite,
    kernel,
    kernel32,
    mtl,
    repeated,
    spoilt,
    spoilt_kernel,
    tasks,
    x,
)

CASES = {
    "numbers of tasks": case(
        lambda: tasks(support_x=fresh()[0][:2]), "different numbers of tasks"
    ),
    "no tasks": case(lambda: theory.Tasks([], [], [], []), "no tasks"),
    "numbers of labels": case(
        lambda: tasks(support_y=fresh()[1][:, :3]),
        "task 0 has 4 support inputs but 3 labels",
    ),
    "outputs within a task": case(
        lambda: tasks(query_y=fresh(3)[3]),
        "2 outputs in its support and 3 in its query",
    ),
    "outputs between tasks": case(
        lambda: theory.Tasks([x, x], [x[:, :1], x[:, :2]], [x, x]),
        "as many outputs",
        "[1, 2]",
    ),
    "features": case(
        lambda: tasks(query_x=fresh()[2][..., :5]), "one feature shape", "(5,)", "(6,)"
    ),
    "labels without outputs": case(
        lambda: theory.Tasks([x], [x[:, 0]], [x]), "[examples, outputs]", "(4,)"
    ),
    "labels of several tasks without outputs": case(
        lambda: tasks(support_y=fresh()[1][..., 0]),
        "`support_y` is [3, 4] for 3 tasks of 4 examples",
        "theory.one_hot",
    ),
    "complex inputs": case(
        lambda: tasks(query_x=fresh()[2] + 1j),
        "must hold real numbers",
        "real and imaginary parts as features",
        error="TypeError",
    ),
    "inputs in bfloat16": case(
        lambda: tasks(query_x=fresh()[2].astype("bfloat16")),
        "cast them to float32",
        error="TypeError",
    ),
    "no queries": case(
        lambda: tasks(query_x=fresh()[2][:, :0], query_y=fresh()[3][:, :0]),
        "task 0 has no queries",
    ),
    "no queries at test time": case(
        lambda: theory.gbml_predictor(kernel, tasks(), inner=head)(x, x[:, :2], x[:0]),
        "task 0 has no queries",
    ),
    "a tuple of arrays": case(
        lambda: theory.mtl_predictor(kernel, tuple(fresh())),
        "must be theory.Tasks",
        error="TypeError",
    ),
    "an inner loop of one's own": case(
        lambda: theory.Inner("head", "momentum"), "known are flow, steps, ridge"
    ),
    "a new head that cannot be": case(
        lambda: theory.mtl_predictor(
            kernel,
            theory.Tasks(*(part[:2] for part in fresh())),
            heads=np.array([[1.0, -0.9], [-0.9, 1.0]]),
        ),
        "no new head can have these correlations",
    ),
    "features at test time": case(
        lambda: theory.gbml_predictor(kernel, tasks(), inner=head)(
            x[:, :5], x[:, :2], x[:, :5]
        ),
        "inputs must be",
        "6",
    ),
    "outputs at test time": case(
        lambda: theory.gbml_predictor(kernel, tasks(), inner=head)(x, x[:, :3], x),
        "3 outputs",
        "trained with 2",
    ),
    "kernel inputs": case(lambda: kernel(x, x[:, :4]), "differ in size: 6 and 4"),
    "kernel shape": case(
        lambda: theory.gbml_predictor(
            lambda x1, x2=None: theory.Kernels(np.eye(2), np.eye(2)),
            tasks(),
            inner=head,
        ),
        "nngp kernel must be",
    ),
    "kernel type": case(
        lambda: theory.gbml_predictor(
            lambda x1, x2=None: (x1 @ x1.T,) * 2, tasks(), inner=head
        ),
        "theory.from_stax",
        error="TypeError",
    ),
    "label out of range": case(
        lambda: theory.one_hot([0, 1, 5], 5), "[0, 5)", "from 0 to 5"
    ),
    "negative label": case(lambda: theory.one_hot([0, -1], 5), "from -1 to 0"),
    "labels that are not integers": case(
        lambda: theory.one_hot([0.5], 5), "must be integers", error="TypeError"
    ),
    "one way": case(lambda: theory.one_hot([0], 1), "at least 2"),
    "class labels as targets": case(
        lambda: theory.Tasks(x, np.array([[0], [1], [0], [1]]), x),
        "theory.one_hot",
        error="TypeError",
    ),
    "no query labels": case(
        lambda: theory.mtl_predictor(kernel, tasks(query_y=None)),
        "task 0 has no `query_y`",
    ),
    "no query labels, GBML": case(
        lambda: theory.gbml_predictor(kernel, tasks(query_y=None), inner=head),
        "task 0 has no `query_y`",
    ),
    "NaN among inputs": case(
        lambda: spoilt(0, np.nan), "`support_x` of task 1", "NaN", "[2, 0]"
    ),
    "infinite label": case(lambda: spoilt(3, np.inf), "`query_y` of task 1", "[2, 0]"),
    "NaN in a kernel": case(
        lambda: theory.mtl_predictor(spoilt_kernel, tasks()), "nngp kernel holds NaN"
    ),
    "NaN in f_0": case(
        lambda: mtl(initial=lambda x: np.full((len(x), 2), np.nan)),
        "`initial` gave NaN",
    ),
    "f_0 of another shape": case(
        lambda: gbml(initial=lambda x: np.zeros((len(x), 5))), "`initial` must give"
    ),
    "f_0 with heads of their own": case(
        lambda: mtl(heads="independent", initial=lambda x: x), "heads='shared'"
    ),
    "repeated query": case(
        lambda: theory.mtl_predictor(kernel, repeated(2)),
        "singular",
        "query 0 of task 1 and query 3 of task 1 coincide",
        "jitter=",
        error="SingularKernelError",
    ),
    "repeated support": case(
        lambda: theory.gbml_predictor(
            kernel, repeated(0), inner=theory.ridge("head", penalty=0.0)
        ),
        "support of task 1, example 0",
        "example 3 coincide",
        error="SingularKernelError",
    ),
    "repeated support of an unseen task": case(
        lambda: theory.mtl_predictor(kernel, tasks())(
            x[[0, 0]], x[:2, :2], x, adaptation=theory.gradient_flow("all", time=np.inf)
        ),
        "unseen task 0",
        "coincide",
        error="SingularKernelError",
    ),
    "body of a linear network": case(
        lambda: theory.gbml_predictor(
            theory.relu_network(0),
            tasks(),
            inner=theory.gradient_flow("body", time=np.inf),
        ),
        "support of task 0",
        "singular",
        error="SingularKernelError",
    ),
    "indefinite kernel": case(
        lambda: theory.gbml_predictor(indefinite, tasks(), inner=head),
        "indefinite",
        "task",
        "positive semi-definite",
        error="SingularKernelError",
    ),
    "float32 kernel": case(
        lambda: theory.mtl_predictor(kernel32, tasks()),
        "float32",
        "solves need float64",
        error="TypeError",
    ),
    "float32 solve": case(
        lambda: dense.evolve(
            np.eye(3, dtype=np.float32), np.ones((3, 1)), time=1.0, names=str
        ),
        "`matrix` is float32",
        error="TypeError",
    ),
    "float32 eigenbasis": case(
        lambda: dense.eigenbasis(
            np.eye(3, dtype=np.float32), names=str, invertible=False
        ),
        "float32",
        error="TypeError",
    ),
    "integers for relu_depths": case(
        lambda: theory.relu_depths(np.ones((2, 3), int), depths=[1]),
        "float32 or float64",
        error="TypeError",
    ),
    "negative time": case(
        lambda: theory.gradient_flow("head", time=-1.0), "`time`", "-1.0"
    ),
    "NaN time": case(
        lambda: theory.gradient_flow("head", time=np.nan), "`time`", "nan"
    ),
    "negative lr": case(
        lambda: theory.gradient_steps("head", lr=-0.1, steps=2), "`lr`"
    ),
    "negative steps": case(
        lambda: theory.gradient_steps("head", lr=0.1, steps=-2), "`steps`"
    ),
    "half a step": case(
        lambda: theory.gradient_steps("head", lr=0.1, steps=1.5), "whole number"
    ),
    "infinitely many steps": case(
        lambda: theory.gradient_steps("head", lr=0.1, steps=np.inf), "whole number"
    ),
    "infinite depth": case(lambda: theory.relu_network(np.inf), "whole number", "inf"),
    "descending depths": case(
        lambda: list(iterate_depths(x, depths=[8, 2])), "must ascend", "[8, 2]"
    ),
    "a number for the adaptation of a sweep": case(
        lambda: theory.depth_sweep(
            tasks(),
            tasks(),
            depths=[1],
            times=[0.1],
            adaptation=0.1,
            inner=theory.gradient_flow("head", time=1.0),
        ),
        "`adaptation` must be an inner loop",
        error="TypeError",
    ),
    "a number for the inner loop of a kernel": case(
        lambda: theory.gbml_kernel(kernel, tasks(), inner=0.1),
        "`inner` must be an inner loop",
        error="TypeError",
    ),
    "a number for the inner loop of a marginal likelihood": case(
        lambda: theory.evidence(kernel, tasks(), method="gbml", inner=0.1, noise=1.0),
        "`inner` must be an inner loop",
        error="TypeError",
    ),
    "negative penalty": case(lambda: theory.ridge("head", penalty=-1.0), "`penalty`"),
    "unknown layers": case(
        lambda: theory.gradient_flow("feet", time=1.0),
        "unknown layers 'feet'",
        "head, body, all",
    ),
    "diverging steps": case(
        lambda: theory.gbml_predictor(
            kernel, tasks(), inner=theory.gradient_steps("all", lr=1e3, steps=10**4)
        ),
        "diverge",
        "pass lr below",
    ),
    "negative training time, MTL": case(lambda: mtl(time=-1.0), "`time`", "-1.0"),
    "negative training time, GBML": case(lambda: gbml(time=-1.0), "`time`", "-1.0"),
    "negative jitter": case(lambda: mtl(jitter=-1.0), "`jitter`"),
    "negative jitter, GBML": case(lambda: gbml(jitter=-1.0), "`jitter`"),
    "negative jitter in products": case(
        lambda: mtl(jitter=-1e-3, solver=theory.Iterative()), "`jitter`", "-0.001"
    ),
    "no adaptation": case(
        lambda: theory.mtl_predictor(kernel, tasks())(x, x[:, :2], x),
        "adaptation=theory.gradient_flow",
    ),
    "unknown heads": case(lambda: mtl(heads="own"), "unknown heads 'own'", "'shared'"),
    "unknown train_on": case(lambda: mtl(train_on="all"), "'query' or 'joint'"),
    "correlation of another size": case(
        lambda: mtl(heads=np.eye(2)), "[3, 3]", "[2, 2]"
    ),
    "correlation that is none": case(
        lambda: mtl(heads=np.eye(3) * 2), "ones on its diagonal"
    ),
    "indefinite correlation": case(
        lambda: mtl(heads=np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])),
        "positive semi-definite",
    ),
    "NaN correlation": case(lambda: mtl(heads=np.full((3, 3), np.nan)), "NaN"),
    "class out of range": case(
        lambda: theory.class_heads(np.array([[0, 4]]), num_classes=4),
        "[0, 4)",
        "from 0 to 4",
    ),
    "class twice": case(
        lambda: theory.class_heads(np.array([[0, 1], [2, 2]])),
        "task 1 has a class twice",
    ),
    "classes that are fractions": case(
        lambda: theory.class_heads(np.zeros((3, 2))),
        "`classes` must be integers [tasks, outputs]",
        "float64",
        error="TypeError",
    ),
    "correlation of rows": case(
        lambda: theory.class_heads(np.array([[0, 1]]), correlation=1.5),
        "`correlation` must lie in [0, 1]",
        "1.5",
    ),
    "shapes of a correlation of heads": case(
        lambda: theory.Heads(np.arange(3), np.eye(2), np.zeros((1, 3))),
        "3 heads need a correlation of (3, 3)",
        "(2, 2)",
    ),
    "correlation with new heads": case(
        lambda: theory.Heads(np.arange(2), np.eye(2), np.full((1, 2), 2.0)),
        "correlations with a new head",
        "[-1, 1]",
    ),
    "correlation of one task": case(
        lambda: theory.mtl_predictor(
            kernel, theory.Tasks(*(part[:1] for part in fresh())), heads=np.eye(1)
        ),
        "two tasks or more",
        "heads='shared'",
    ),
    "heads of other tasks": case(
        lambda: mtl(heads=theory.class_heads(np.array([[0, 1]]))),
        "6 heads",
        "describes 2",
    ),
}
