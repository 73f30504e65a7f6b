"""Learners: ways to learn from many tasks and to adapt to a new one."""

from metabridge.learners.anil import anil as anil
from metabridge.learners.base import FrozenBody as FrozenBody
from metabridge.learners.base import Gradients as Gradients
from metabridge.learners.base import Info as Info
from metabridge.learners.base import Learner as Learner
from metabridge.learners.base import MovingBody as MovingBody
from metabridge.learners.base import State as State
from metabridge.learners.base import variables_of as variables_of
from metabridge.learners.boil import boil as boil
from metabridge.learners.finetune import finetune as finetune
from metabridge.learners.imaml import imaml as imaml
from metabridge.learners.maml import maml as maml
from metabridge.learners.matching import matching as matching
from metabridge.learners.meta_sgd import meta_sgd as meta_sgd
from metabridge.learners.metaoptnet import metaoptnet as metaoptnet
from metabridge.learners.mtl import class_table as class_table
from metabridge.learners.mtl import mtl as mtl
from metabridge.learners.mtl import task_heads as task_heads
from metabridge.learners.protonet import protonet as protonet
from metabridge.learners.r2d2 import r2d2 as r2d2
from metabridge.learners.reptile import reptile as reptile
from metabridge.learners.rfs import rfs as rfs
