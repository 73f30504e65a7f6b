"""ANIL with MAML's recipe.

Raghu, Raghu, Bengio, Vinyals. Rapid learning or feature reuse? Towards understanding
the effectiveness of MAML. ICLR 2020, https://arxiv.org/abs/1909.09157.

The body, tasks and optimizer of `experiments.recipes.maml`; the inner loop adapts the
head alone, in steps of 0.1.

    python -m experiments.recipes anil --dataset mini_imagenet --data-dir DATA
"""

from experiments.recipes import maml
from metabridge.config import ANILConfig, Config

# Reached by learn2learn with a body of this kind.
PUBLISHED = {
    "mini_imagenet": ("", "63.2"),
    "cifar_fs": ("", "68.3"),
    "fc100": ("", "47.6"),
}


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    return maml.config(dataset, shots, ANILConfig(inner_lr=0.1, inner_steps=5))
