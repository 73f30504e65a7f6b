"""Calls with bad input, and what each must say; see `test_bad_input`.

The tests check types on every call, users do not: so this module also runs by itself,
makes every call and prints what was raised.
"""

# pyright: reportArgumentType=false, reportCallIssue=false

import json

import numpy as np

import theory
from tests.theory.bad_calls import (
    Case,
    fresh,
    head,
    indefinite,
    kernel,
    kernel32,
    kernel_of_pixels,
    no_weights,
    nonlinear_last_layer,
    repeated,
    spoilt,
    spoilt_kernel,
    sweep,
    tanh_network,
    tasks,
    without_neural_tangents,
    x,
)
from theory import linalg, named

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
        ("indefinite", "task", "jitter="),
    ),
    "float32 kernel": Case(
        lambda: theory.mtl_predictor(kernel32, tasks()),
        "TypeError",
        ("float32", "solves need float64"),
    ),
    "float32 solve": Case(
        lambda: linalg.evolve(
            np.eye(3, dtype=np.float32), np.ones((3, 1)), time=1.0, names=str
        ),
        "TypeError",
        ("`matrix` is float32",),
    ),
    "float32 eigenbasis": Case(
        lambda: linalg.eigenbasis(
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
    "heads of other tasks": Case(
        lambda: theory.mtl_predictor(
            kernel, tasks(), heads=theory.class_heads(np.array([[0, 1]]))
        ),
        "ValueError",
        ("6 heads", "describes 2"),
    ),
    "negative depth": Case(
        lambda: theory.relu_network(-1), "ValueError", ("hidden layers", "-1")
    ),
    "no depths": Case(
        lambda: theory.relu_depths(x, depths=[]), "ValueError", ("empty",)
    ),
    "scale of zero": Case(
        lambda: theory.relu_network(1, last_W_std=0.0), "ValueError", ("`last_W_std`",)
    ),
    "unknown solver": Case(
        lambda: theory.mtl_predictor(kernel, tasks(), solver="lu"),
        "ValueError",
        ("unknown solver 'lu'", "conjugate_gradients", "theory.Iterative"),
    ),
    "unknown type of products": Case(
        lambda: theory.Iterative(dtype="float16"),
        "ValueError",
        ("float32 or float64", "float16"),
    ),
    "unknown type of a matrix": Case(
        lambda: theory.kernel_matrix(kernel, x, dtype="float16"),
        "ValueError",
        ("float32", "float16"),
    ),
    "a matrix of inputs of two shapes": Case(
        lambda: theory.kernel_matrix(kernel, x, x[:, :3]),
        "ValueError",
        ("differ in shape",),
    ),
    "a matrix of words": Case(
        lambda: theory.kernel_matrix(kernel, np.asarray([["a"]])),
        "TypeError",
        ("`x1` must hold numbers",),
    ),
    "a matrix of nothing": Case(
        lambda: theory.kernel_matrix(kernel, x[:0]), "ValueError", ("examples",)
    ),
    "unknown activation": Case(
        lambda: theory.fully_connected(1, activation="tanh"),
        "ValueError",
        ("'tanh'", "'relu', 'erf'"),
    ),
    "unknown pooling": Case(
        lambda: theory.convolutional(1, pooling="max"),
        "ValueError",
        ("'max'", "'flatten', 'global_average'"),
    ),
    "unknown layer": Case(
        lambda: theory.residual(1, layer="deep"), "ValueError", ("'dense', 'conv'",)
    ),
    "no blocks": Case(
        lambda: theory.residual(0), "ValueError", ("`blocks`", "at least 1")
    ),
    "unknown architecture": Case(
        lambda: named.kernel("transformer", 2),
        "ValueError",
        ("'transformer'", "fully_connected, convolutional"),
    ),
    "not a kernel function": Case(
        lambda: theory.from_stax(3), "TypeError", ("third of",)
    ),
    "architecture without an NTK": Case(
        tanh_network,
        "NoTangentKernelError",
        ("tanh network has no tangent kernel in closed form",),
    ),
    "architecture without weights": Case(
        no_weights,
        "NoTangentKernelError",
        ("identity has no tangent kernel", "no weights"),
    ),
    "nonlinear last layer": Case(
        nonlinear_last_layer,
        "NoTangentKernelError",
        ("bare does not end in a linear layer",),
    ),
    "kernel of pixels": Case(
        kernel_of_pixels, "NoTangentKernelError", ("pixels", "stax.GlobalAvgPool()")
    ),
    "neural-tangents missing": Case(
        without_neural_tangents,
        "ImportError",
        ("metabridge[theory]", "theory.relu_network"),
    ),
    "pooling of images": Case(
        lambda: theory.relu_convolutional(1, pooling="max"),
        "ValueError",
        ("unknown pooling 'max'", "'flatten', 'global_average'"),
    ),
    "layers of images": Case(
        lambda: theory.relu_residual(1, layer="max"),
        "ValueError",
        ("unknown layer 'max'", "'conv', 'dense'"),
    ),
    "precision of images": Case(
        lambda: theory.relu_convolutional(1, dtype="float16"),
        "ValueError",
        ("unknown dtype 'float16'", "'float32', 'float64'"),
    ),
    "inner loop without a time": Case(
        lambda: sweep(inner=theory.ridge("head", penalty=1.0)),
        "ValueError",
        ("no time to vary",),
    ),
    "negative time in a sweep": Case(
        lambda: sweep(times=[-1.0]), "ValueError", ("-1.0",)
    ),
    "no times in a sweep": Case(
        lambda: sweep(times=[]), "ValueError", ("`times` is empty",)
    ),
    "outputs of unseen tasks in a sweep": Case(
        lambda: theory.depth_sweep(
            tasks(),
            theory.Tasks(*fresh(3)),
            depths=[1],
            times=[0.0],
            inner=head,
            adaptation=head,
        ),
        "ValueError",
        ("unseen tasks have 3 outputs", "training tasks 2"),
    ),
    "repeated query in a diagnosis": Case(
        lambda: theory.diagnose(repeated(2), tasks()),
        "SingularKernelError",
        ("cannot be diagnosed", "query 0 of task 1 and query 3 of task 1"),
    ),
    "negative depth in a sweep": Case(
        lambda: sweep(depths=[-1]), "ValueError", ("-1",)
    ),
}


def main() -> None:
    """Prints the classes and the message of what each call raised, as JSON."""
    caught = {}
    for name, case in CASES.items():
        try:
            case.call()
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            caught[name] = [kinds, str(error)]
    print(json.dumps(caught))


if __name__ == "__main__":
    main()
