"""Bad networks, solvers, matrices, sweeps and diagnoses; see `bad_input`."""

# pyright: reportArgumentType=false, reportCallIssue=false

import numpy as np

from metabridge import theory
from metabridge.theory.kernels import registry
from tests.theory.bad_calls import (
    case,
    fresh,
    head,
    kernel,
    kernel_of_pixels,
    mtl,
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
    "negative depth": case(lambda: theory.relu_network(-1), "`depth`", "-1"),
    "no depths": case(lambda: theory.relu_depths(x, depths=[]), "empty"),
    "scale of zero": case(
        lambda: theory.relu_network(1, last_W_std=0.0), "`last_W_std`"
    ),
    "unknown outputs of an empirical kernel": case(
        lambda: theory.empirical(len, [1.0, 2.0], outputs="all"), "'full'", "'all'"
    ),
    "half precision of an empirical kernel": case(
        lambda: theory.empirical(len, [1.0, 2.0], dtype="bfloat16"), "'bfloat16'"
    ),
    "negative scale of biases": case(
        lambda: theory.relu_network(1, b_std=-0.1), "`b_std`", "-0.1"
    ),
    "scale of biases in a sweep": case(lambda: sweep(b_std=np.inf), "`b_std`", "inf"),
    "unknown solver": case(
        lambda: mtl(solver="lu"),
        "unknown solver 'lu'",
        "conjugate_gradients",
        "theory.Iterative",
    ),
    "unknown type of products": case(
        lambda: theory.Iterative(dtype="float16"), "float32 or float64", "float16"
    ),
    "unknown type of a matrix": case(
        lambda: theory.kernel_matrix(kernel, x, dtype="float16"), "float32", "float16"
    ),
    "a matrix of inputs of two shapes": case(
        lambda: theory.kernel_matrix(kernel, x, x[:, :3]), "differ in shape"
    ),
    "a matrix of words": case(
        lambda: theory.kernel_matrix(kernel, np.asarray([["a"]])),
        "`x1` must hold real numbers",
        error="TypeError",
    ),
    "a matrix of nothing": case(
        lambda: theory.kernel_matrix(kernel, x[:0]), "examples"
    ),
    "unknown activation": case(
        lambda: theory.fully_connected(1, activation="tanh"),
        "'tanh'",
        "'relu', 'leaky_relu'",
    ),
    "unknown pooling": case(
        lambda: theory.convolutional(1, pooling="max"),
        "'max'",
        "'flatten', 'global_average'",
    ),
    "unknown layer": case(lambda: theory.residual(1, layer="deep"), "'dense', 'conv'"),
    "no blocks": case(lambda: theory.residual(0), "`blocks`", "at least 1"),
    "unknown architecture": case(
        lambda: registry.kernel("transformer", 2),
        "'transformer'",
        "'fully_connected', 'convolutional'",
    ),
    "not a kernel function": case(
        lambda: theory.from_stax(3), "third of", error="TypeError"
    ),
    "architecture without an NTK": case(
        tanh_network,
        "tanh network has no tangent kernel in closed form",
        error="NoTangentKernelError",
    ),
    "architecture without weights": case(
        no_weights,
        "identity has no tangent kernel",
        "no weights",
        error="NoTangentKernelError",
    ),
    "nonlinear last layer": case(
        nonlinear_last_layer,
        "bare does not end in a linear layer",
        error="NoTangentKernelError",
    ),
    "kernel of pixels": case(
        kernel_of_pixels, "pixels", "stax.GlobalAvgPool()", error="NoTangentKernelError"
    ),
    "neural-tangents missing": case(
        without_neural_tangents, ".[theory]", "theory.relu_network", error="ImportError"
    ),
    "pooling of images": case(
        lambda: theory.relu_convolutional(1, pooling="max"),
        "unknown pooling 'max'",
        "'flatten', 'global_average'",
    ),
    "layers of images": case(
        lambda: theory.relu_residual(1, layer="max"),
        "unknown layer 'max'",
        "'conv', 'dense'",
    ),
    "precision of images": case(
        lambda: theory.relu_convolutional(1, dtype="float16"),
        "unknown dtype 'float16'",
        "'float32', 'float64'",
    ),
    "inner loop without a time": case(
        lambda: sweep(inner=theory.ridge("head", penalty=1.0)), "no time to vary"
    ),
    "negative time in a sweep": case(lambda: sweep(times=[-1.0]), "-1.0"),
    "no times in a sweep": case(lambda: sweep(times=[]), "`times` is empty"),
    "outputs of unseen tasks in a sweep": case(
        lambda: theory.depth_sweep(
            tasks(),
            theory.Tasks(*fresh(3)),
            depths=[1],
            times=[0.0],
            inner=head,
            adaptation=head,
        ),
        "unseen tasks have 3 outputs",
        "training tasks 2",
    ),
    "repeated query in a diagnosis": case(
        lambda: theory.diagnose(repeated(2), tasks()),
        "cannot be diagnosed",
        "query 0 of task 1 and query 3 of task 1",
        error="SingularKernelError",
    ),
    "negative depth in a sweep": case(lambda: sweep(depths=[-1]), "-1"),
}
