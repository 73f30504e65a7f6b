"""Solutions of the linear systems of training."""
