"""The closeness of real networks: their empirical kernels before and after training."""
