"""Infinite-width predictors of multi-task and gradient-based meta-learning."""

import importlib
import importlib.metadata as _metadata
from typing import TYPE_CHECKING, Any

from metabridge.theory import functional as functional
from metabridge.theory.closeness.compare import at_positions as at_positions
from metabridge.theory.closeness.compare import compare as compare
from metabridge.theory.closeness.compare import fit_slope as fit_slope
from metabridge.theory.closeness.diagnose import diagnose as diagnose
from metabridge.theory.closeness.kernel_sweep import sweep as sweep
from metabridge.theory.closeness.sweep import DepthSweep as DepthSweep
from metabridge.theory.closeness.sweep import depth_sweep as depth_sweep
from metabridge.theory.closeness.sweep_result import Sweep as Sweep
from metabridge.theory.closeness.sweep_result import load as load
from metabridge.theory.closeness.verdict import Diagnosis as Diagnosis
from metabridge.theory.closeness.verdict import Spectrum as Spectrum
from metabridge.theory.finite.run_kernel import empirical_of_run as empirical_of_run
from metabridge.theory.kernels.architectures import convolutional as convolutional
from metabridge.theory.kernels.architectures import fully_connected as fully_connected
from metabridge.theory.kernels.architectures import residual as residual
from metabridge.theory.kernels.empirical import EmpiricalKernel as EmpiricalKernel
from metabridge.theory.kernels.empirical import empirical as empirical
from metabridge.theory.kernels.evaluate import precomputed as precomputed
from metabridge.theory.kernels.images.kernel import ImageKernel as ImageKernel
from metabridge.theory.kernels.images.networks import (
    relu_convolutional as relu_convolutional,
)
from metabridge.theory.kernels.images.networks import relu_residual as relu_residual
from metabridge.theory.kernels.neural_tangents import neural_tangents as neural_tangents
from metabridge.theory.kernels.phase import Phase as Phase
from metabridge.theory.kernels.phase import critical as critical
from metabridge.theory.kernels.phase import phase as phase
from metabridge.theory.kernels.relu import iterate_depths as iterate_depths
from metabridge.theory.kernels.relu import relu_depths as relu_depths
from metabridge.theory.kernels.relu import relu_network as relu_network
from metabridge.theory.kernels.stax import NoTangentKernelError as NoTangentKernelError
from metabridge.theory.kernels.stax import from_stax as from_stax
from metabridge.theory.matrices.matrix import kernel_matrix as kernel_matrix
from metabridge.theory.predictors.evidence import Evidence as Evidence
from metabridge.theory.predictors.evidence import evidence as evidence
from metabridge.theory.predictors.gbml import gbml_kernel as gbml_kernel
from metabridge.theory.predictors.gbml import gbml_predictor as gbml_predictor
from metabridge.theory.predictors.head_correlation import Heads as Heads
from metabridge.theory.predictors.head_correlation import class_heads as class_heads
from metabridge.theory.predictors.inner_loop import Inner as Inner
from metabridge.theory.predictors.inner_loop import gradient_flow as gradient_flow
from metabridge.theory.predictors.inner_loop import gradient_steps as gradient_steps
from metabridge.theory.predictors.inner_loop import ridge as ridge
from metabridge.theory.predictors.inner_loop import spectral as spectral
from metabridge.theory.predictors.mtl import TrainOn as TrainOn
from metabridge.theory.predictors.mtl import mtl_kernel as mtl_kernel
from metabridge.theory.predictors.mtl import mtl_predictor as mtl_predictor
from metabridge.theory.predictors.predictor import Ensemble as Ensemble
from metabridge.theory.predictors.predictor import Predictor as Predictor
from metabridge.theory.solvers.dense import (
    IllConditionedWarning as IllConditionedWarning,
)
from metabridge.theory.solvers.dense import SingularKernelError as SingularKernelError
from metabridge.theory.solvers.filters import Chebyshev as Chebyshev
from metabridge.theory.solvers.filters import Descent as Descent
from metabridge.theory.solvers.filters import HeavyBall as HeavyBall
from metabridge.theory.solvers.filters import Nesterov as Nesterov
from metabridge.theory.solvers.solve import Iterative as Iterative
from metabridge.theory.solvers.solve import SolveReport as SolveReport
from metabridge.theory.types import Closeness as Closeness
from metabridge.theory.types import DeviceKernel as DeviceKernel
from metabridge.theory.types import KernelFn as KernelFn
from metabridge.theory.types import Kernels as Kernels
from metabridge.theory.types import Layers as Layers
from metabridge.theory.types import Tasks as Tasks
from metabridge.theory.types import one_hot as one_hot

try:
    __version__ = _metadata.version("metabridge")
except _metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

if TYPE_CHECKING:
    from metabridge.theory.finite.comparison import Comparison as Comparison
    from metabridge.theory.finite.train_pair import TrainedPair as TrainedPair
    from metabridge.theory.finite.train_pair import train_pair as train_pair
    from metabridge.theory.finite.trained import TrainedNetworks as TrainedNetworks

_OF_FLAX = {
    "Comparison": "finite.comparison",
    "TrainedPair": "finite.train_pair",
    "train_pair": "finite.train_pair",
    "TrainedNetworks": "finite.trained",
}
"""Names that need Flax, which takes a second to import, and the modules they are in."""


def __getattr__(name: str) -> Any:
    if name not in _OF_FLAX:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"metabridge.theory.{_OF_FLAX[name]}")
    globals()[name] = found = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_FLAX})


if __name__ == "theory":  # the folder of a checkout, imported by its old name
    from metabridge.theory import alias

    alias.install()
