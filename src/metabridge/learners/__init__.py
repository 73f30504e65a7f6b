"""Learners: ways to learn from many tasks and to adapt to a new one."""

from metabridge.learners.base import FrozenBody as FrozenBody
from metabridge.learners.base import Info as Info
from metabridge.learners.base import Learner as Learner
from metabridge.learners.base import State as State
from metabridge.learners.base import variables_of as variables_of
from metabridge.learners.mtl import class_table as class_table
from metabridge.learners.mtl import mtl as mtl
from metabridge.learners.mtl import task_heads as task_heads
