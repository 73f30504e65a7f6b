"""Infinite-width predictors of multi-task and gradient-based meta-learning."""

from theory.adaptation import Inner as Inner
from theory.adaptation import gradient_flow as gradient_flow
from theory.adaptation import gradient_steps as gradient_steps
from theory.adaptation import ridge as ridge
from theory.closeness import DepthSweep as DepthSweep
from theory.closeness import compare as compare
from theory.closeness import depth_sweep as depth_sweep
from theory.closeness import fit_slope as fit_slope
from theory.gbml import gbml_kernel as gbml_kernel
from theory.gbml import gbml_predictor as gbml_predictor
from theory.heads import Heads as Heads
from theory.heads import class_heads as class_heads
from theory.kernels import precomputed as precomputed
from theory.linalg import SingularKernelError as SingularKernelError
from theory.mtl import mtl_kernel as mtl_kernel
from theory.mtl import mtl_predictor as mtl_predictor
from theory.predictor import Predictor as Predictor
from theory.relu import relu_depths as relu_depths
from theory.relu import relu_network as relu_network
from theory.types import Closeness as Closeness
from theory.types import Kernels as Kernels
from theory.types import Tasks as Tasks
from theory.types import one_hot as one_hot
