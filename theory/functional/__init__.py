"""Predictors and a kernel as JAX functions: under jit and vmap, and differentiable.

Unlike the rest of the theory these take and give JAX arrays in the type of their input,
check nothing that only values tell, and switch nothing: enable 64 bits
(``jax.config.update("jax_enable_x64", True)``) for the digits that deep networks need.
In float32 a prediction keeps some ``1e-7`` times the condition of the kernel matrices,
so that a jitter, or finite times, are needed where float64 does without.
"""

from metabridge.theory.functional.kernel import relu_kernels as relu_kernels
from metabridge.theory.functional.loops import Loop as Loop
from metabridge.theory.functional.loops import flow as flow
from metabridge.theory.functional.loops import gradient_flow as gradient_flow
from metabridge.theory.functional.loops import gradient_steps as gradient_steps
from metabridge.theory.functional.loops import ridge as ridge
from metabridge.theory.functional.predict import Tasks as Tasks
from metabridge.theory.functional.predict import adapt as adapt
from metabridge.theory.functional.predict import gbml_predict as gbml_predict
from metabridge.theory.functional.predict import mtl_predict as mtl_predict
from metabridge.theory.functional.predict import operator as operator
from metabridge.theory.functional.predict import positions as positions
