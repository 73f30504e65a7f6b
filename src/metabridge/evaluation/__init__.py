"""Accuracy on unseen tasks, from the features of a frozen body or from images."""

from metabridge.evaluation.batches import in_batches as in_batches
from metabridge.evaluation.features import bank_evaluator as bank_evaluator
from metabridge.evaluation.features import best_head as best_head
from metabridge.evaluation.features import evaluator as evaluator
from metabridge.evaluation.features import raw_score as raw_score
from metabridge.evaluation.features import task_evaluator as task_evaluator
from metabridge.evaluation.images import check_unequal_tests as check_unequal_tests
from metabridge.evaluation.scores import Evaluate as Evaluate
from metabridge.evaluation.scores import Score as Score
from metabridge.evaluation.scores import score as score
from metabridge.evaluation.tasks import Tasks as Tasks
from metabridge.evaluation.tasks import draw_disjoint_tasks as draw_disjoint_tasks
from metabridge.evaluation.tasks import draw_tasks as draw_tasks
