"""The paper's tables and the cost at equal accuracy, from runs of the recipes."""
