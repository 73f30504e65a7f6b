"""Weightings of the tasks of a step, in place of their mean.

Kurin, De Palma, Kostrikov, Whiteson, Kumar. In defense of the unitary scalarization for
deep multi-task learning. NeurIPS 2022, https://arxiv.org/abs/2201.04122, and Xin,
Ghorbani, Garg, Firat, Gilmer. Do current multi-task optimization methods in deep
learning even help? NeurIPS 2022, https://arxiv.org/abs/2209.11379, find none that gains
over the tuned mean; see docs/weighting.md for few-shot tasks.
"""

from metabridge.learners.weighting.cagrad import cagrad as cagrad
from metabridge.learners.weighting.dwa import dwa as dwa
from metabridge.learners.weighting.gramian import conflicts as conflicts
from metabridge.learners.weighting.gramian import gramian as gramian
from metabridge.learners.weighting.gramian import weighted_sum as weighted_sum
from metabridge.learners.weighting.methods import weigh_tasks as weigh_tasks
from metabridge.learners.weighting.pcgrad import pcgrad as pcgrad
from metabridge.learners.weighting.upgrad import upgrad as upgrad
