"""Bad networks, solvers, matrices, sweeps and diagnoses; see `bad_input`."""

# pyright: reportArgumentType=false, reportCallIssue=false

import numpy as np

from metabridge import theory
from metabridge.theory.kernels import registry
from tests.theory.bad_calls import (
    Case,
    fresh,
    head,
    kernel,
    kernel_of_pixels,
    no_weights,
    nonlinear_last_layer,
    repeated,
    sweep,
    tanh_network,
    tasks,
    without_neural_tangents,
    x,
)

CASES = {
    "negative depth": Case(
        lambda: theory.relu_network(-1), "ValueError", ("hidden layers", "-1")
    ),
    "no depths": Case(
        lambda: theory.relu_depths(x, depths=[]), "ValueError", ("empty",)
    ),
    "scale of zero": Case(
        lambda: theory.relu_network(1, last_W_std=0.0), "ValueError", ("`last_W_std`",)
    ),
    "negative scale of biases": Case(
        lambda: theory.relu_network(1, b_std=-0.1), "ValueError", ("`b_std`", "-0.1")
    ),
    "scale of biases in a sweep": Case(
        lambda: sweep(b_std=np.inf), "ValueError", ("`b_std`", "inf")
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
        lambda: registry.kernel("transformer", 2),
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
        (".[theory]", "theory.relu_network"),
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
