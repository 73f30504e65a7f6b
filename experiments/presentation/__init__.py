"""What the experiments on infinite width show their results with."""
