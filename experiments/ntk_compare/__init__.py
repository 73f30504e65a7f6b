"""How close multi-task and gradient-based meta-learning are at infinite width."""
