"""Few-shot learning with infinite-width networks: accuracy, agreement, failures."""
