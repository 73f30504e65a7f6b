"""Bad tasks, labels, inner loops and heads; see `bad_input`."""

# pyright: reportArgumentType=false, reportCallIssue=false

import numpy as np

from metabridge import theory
from metabridge.theory.solvers import dense
from tests.theory.bad_calls import (
    Case,
    fresh,
    head,
    indefinite,
    kernel,
    kernel32,
    repeated,
    spoilt,
    spoilt_kernel,
    tasks,
    x,
)

CASES = {
    "numbers of tasks": Case(
        lambda: tasks(support_x=fresh()[0][:2]),
        "ValueError",
        ("different numbers of tasks",),
    ),
    "no tasks": Case(lambda: theory.Tasks([], [], [], []), "ValueError", ("no tasks",)),
    "numbers of labels": Case(
        lambda: tasks(support_y=fresh()[1][:, :3]),
        "ValueError",
        ("task 0 has 4 support inputs but 3 labels",),
    ),
    "outputs within a task": Case(
        lambda: tasks(query_y=fresh(3)[3]),
        "ValueError",
        ("2 outputs in its support and 3 in its query",),
    ),
    "outputs between tasks": Case(
        lambda: theory.Tasks([x, x], [x[:, :1], x[:, :2]], [x, x]),
        "ValueError",
        ("as many outputs", "[1, 2]"),
    ),
    "features": Case(
        lambda: tasks(query_x=fresh()[2][..., :5]),
        "ValueError",
        ("one feature shape", "(5,)", "(6,)"),
    ),
    "labels without outputs": Case(
        lambda: theory.Tasks([x], [x[:, 0]], [x]),
        "ValueError",
        ("[examples, outputs]", "(4,)"),
    ),
    "features at test time": Case(
        lambda: theory.gbml_predictor(kernel, tasks(), inner=head)(
            x[:, :5], x[:, :2], x[:, :5]
        ),
        "ValueError",
        ("inputs must be", "6"),
    ),
    "outputs at test time": Case(
        lambda: theory.gbml_predictor(kernel, tasks(), inner=head)(x, x[:, :3], x),
        "ValueError",
        ("3 outputs", "trained with 2"),
    ),
    "kernel inputs": Case(
        lambda: kernel(x, x[:, :4]), "ValueError", ("differ in size: 6 and 4",)
    ),
    "kernel shape": Case(
        lambda: theory.gbml_predictor(
            lambda x1, x2=None: theory.Kernels(np.eye(2), np.eye(2)),
            tasks(),
            inner=head,
        ),
        "ValueError",
        ("nngp kernel must be",),
    ),
    "kernel type": Case(
        lambda: theory.gbml_predictor(
            lambda x1, x2=None: (x1 @ x1.T,) * 2, tasks(), inner=head
        ),
        "TypeError",
        ("theory.from_stax",),
    ),
    "label out of range": Case(
        lambda: theory.one_hot([0, 1, 5], 5), "ValueError", ("[0, 5)", "from 0 to 5")
    ),
    "negative label": Case(
        lambda: theory.one_hot([0, -1], 5), "ValueError", ("from -1 to 0",)
    ),
    "labels that are not integers": Case(
        lambda: theory.one_hot([0.5], 5), "TypeError", ("must be integers",)
    ),
    "one way": Case(lambda: theory.one_hot([0], 1), "ValueError", ("at least 2",)),
    "class labels as targets": Case(
        lambda: theory.Tasks(x, np.array([[0], [1], [0], [1]]), x),
        "TypeError",
        ("theory.one_hot",),
    ),
    "no query labels": Case(
        lambda: theory.mtl_predictor(kernel, tasks(query_y=None)),
        "ValueError",
        ("task 0 has no `query_y`",),
    ),
    "no query labels, GBML": Case(
        lambda: theory.gbml_predictor(kernel, tasks(query_y=None), inner=head),
        "ValueError",
        ("task 0 has no `query_y`",),
    ),
    "NaN among inputs": Case(
        lambda: spoilt(0, np.nan),
        "ValueError",
        ("`support_x` of task 1", "NaN", "[2, 0]"),
    ),
    "infinite label": Case(
        lambda: spoilt(3, np.inf), "ValueError", ("`query_y` of task 1", "[2, 0]")
    ),
    "NaN in a kernel": Case(
        lambda: theory.mtl_predictor(spoilt_kernel, tasks()),
        "ValueError",
        ("nngp kernel holds NaN",),
    ),
    "NaN in f_0": Case(
        lambda: theory.mtl_predictor(
            kernel, tasks(), initial=lambda x: np.full((len(x), 2), np.nan)
        ),
        "ValueError",
        ("`initial` gave NaN",),
    ),
    "f_0 of another shape": Case(
        lambda: theory.gbml_predictor(
            kernel, tasks(), inner=head, initial=lambda x: np.zeros((len(x), 5))
        ),
        "ValueError",
        ("`initial` must give",),
    ),
    "f_0 with heads of their own": Case(
        lambda: theory.mtl_predictor(
            kernel, tasks(), heads="independent", initial=lambda x: x
        ),
        "ValueError",
        ("heads='shared'",),
    ),
    "repeated query": Case(
        lambda: theory.mtl_predictor(kernel, repeated(2)),
        "SingularKernelError",
        ("singular", "query 0 of task 1 and query 3 of task 1 coincide", "jitter="),
    ),
    "repeated support": Case(
        lambda: theory.gbml_predictor(
            kernel, repeated(0), inner=theory.ridge("head", penalty=0.0)
        ),
        "SingularKernelError",
        ("support of task 1, example 0", "example 3 coincide"),
    ),
    "repeated support of an unseen task": Case(
        lambda: theory.mtl_predictor(kernel, tasks())(
            x[[0, 0]], x[:2, :2], x, adaptation=theory.gradient_flow("all", time=np.inf)
        ),
        "SingularKernelError",
        ("unseen task 0", "coincide"),
    ),
    "body of a linear network": Case(
        lambda: theory.gbml_predictor(
            theory.relu_network(0),
            tasks(),
            inner=theory.gradient_flow("body", time=np.inf),
        ),
        "SingularKernelError",
        ("support of task 0", "singular"),
    ),
    "indefinite kernel": Case(
        lambda: theory.gbml_predictor(indefinite, tasks(), inner=head),
        "SingularKernelError",
        ("indefinite", "task", "positive semi-definite"),
    ),
    "float32 kernel": Case(
        lambda: theory.mtl_predictor(kernel32, tasks()),
        "TypeError",
        ("float32", "solves need float64"),
    ),
    "float32 solve": Case(
        lambda: dense.evolve(
            np.eye(3, dtype=np.float32), np.ones((3, 1)), time=1.0, names=str
        ),
        "TypeError",
        ("`matrix` is float32",),
    ),
    "float32 eigenbasis": Case(
        lambda: dense.eigenbasis(
            np.eye(3, dtype=np.float32), names=str, invertible=False
        ),
        "TypeError",
        ("float32",),
    ),
    "integers for relu_depths": Case(
        lambda: theory.relu_depths(np.ones((2, 3), int), depths=[1]),
        "TypeError",
        ("float32 or float64",),
    ),
    "negative time": Case(
        lambda: theory.gradient_flow("head", time=-1.0),
        "ValueError",
        ("`time`", "-1.0"),
    ),
    "NaN time": Case(
        lambda: theory.gradient_flow("head", time=np.nan),
        "ValueError",
        ("`time`", "nan"),
    ),
    "negative lr": Case(
        lambda: theory.gradient_steps("head", lr=-0.1, steps=2), "ValueError", ("`lr`",)
    ),
    "negative steps": Case(
        lambda: theory.gradient_steps("head", lr=0.1, steps=-2),
        "ValueError",
        ("`steps`",),
    ),
    "half a step": Case(
        lambda: theory.gradient_steps("head", lr=0.1, steps=1.5),
        "ValueError",
        ("whole number",),
    ),
    "negative penalty": Case(
        lambda: theory.ridge("head", penalty=-1.0), "ValueError", ("`penalty`",)
    ),
    "unknown layers": Case(
        lambda: theory.gradient_flow("feet", time=1.0),
        "ValueError",
        ("unknown layers 'feet'", "head, body, all"),
    ),
    "diverging steps": Case(
        lambda: theory.gbml_predictor(
            kernel, tasks(), inner=theory.gradient_steps("all", lr=1e3, steps=10**4)
        ),
        "ValueError",
        ("diverge", "pass lr below"),
    ),
    "negative training time, MTL": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), time=-1.0),
        "ValueError",
        ("`time`", "-1.0"),
    ),
    "negative training time, GBML": Case(
        lambda: theory.gbml_predictor(kernel, tasks(), inner=head, time=-1.0),
        "ValueError",
        ("`time`", "-1.0"),
    ),
    "negative jitter": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), jitter=-1.0),
        "ValueError",
        ("`jitter`",),
    ),
    "no adaptation": Case(
        lambda: theory.mtl_predictor(kernel, tasks())(x, x[:, :2], x),
        "ValueError",
        ("adaptation=theory.gradient_flow",),
    ),
    "unknown heads": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), heads="own"),
        "ValueError",
        ("unknown heads 'own'", "'shared'"),
    ),
    "unknown train_on": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), train_on="all"),
        "ValueError",
        ("'query' or 'joint'",),
    ),
    "correlation of another size": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), heads=np.eye(2)),
        "ValueError",
        ("[3, 3]", "[2, 2]"),
    ),
    "correlation that is none": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), heads=np.eye(3) * 2),
        "ValueError",
        ("ones on its diagonal",),
    ),
    "indefinite correlation": Case(
        lambda: theory.mtl_predictor(
            kernel,
            tasks(),
            heads=np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]),
        ),
        "ValueError",
        ("positive semi-definite",),
    ),
    "NaN correlation": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), heads=np.full((3, 3), np.nan)),
        "ValueError",
        ("NaN",),
    ),
    "class out of range": Case(
        lambda: theory.class_heads(np.array([[0, 4]]), num_classes=4),
        "ValueError",
        ("[0, 4)", "from 0 to 4"),
    ),
    "class twice": Case(
        lambda: theory.class_heads(np.array([[0, 1], [2, 2]])),
        "ValueError",
        ("task 1 has a class twice",),
    ),
    "classes that are fractions": Case(
        lambda: theory.class_heads(np.zeros((3, 2))),
        "TypeError",
        ("`classes` must be integers [tasks, outputs]", "float64"),
    ),
    "correlation of rows": Case(
        lambda: theory.class_heads(np.array([[0, 1]]), correlation=1.5),
        "ValueError",
        ("`correlation` must lie in [0, 1]", "1.5"),
    ),
    "shapes of a correlation of heads": Case(
        lambda: theory.Heads(np.arange(3), np.eye(2), np.zeros((1, 3))),
        "ValueError",
        ("3 heads need a correlation of (3, 3)", "(2, 2)"),
    ),
    "correlation with new heads": Case(
        lambda: theory.Heads(np.arange(2), np.eye(2), np.full((1, 2), 2.0)),
        "ValueError",
        ("correlations with a new head", "[-1, 1]"),
    ),
    "correlation of one task": Case(
        lambda: theory.mtl_predictor(
            kernel, theory.Tasks(*(part[:1] for part in fresh())), heads=np.eye(1)
        ),
        "ValueError",
        ("two tasks or more", "heads='shared'"),
    ),
    "heads of other tasks": Case(
        lambda: theory.mtl_predictor(
            kernel, tasks(), heads=theory.class_heads(np.array([[0, 1]]))
        ),
        "ValueError",
        ("6 heads", "describes 2"),
    ),
}
