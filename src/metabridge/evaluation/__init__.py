"""Accuracy on unseen tasks, from the features of a frozen body or from images."""

from metabridge.evaluation.tasks import Evaluate as Evaluate
from metabridge.evaluation.tasks import Score as Score
from metabridge.evaluation.tasks import bank_evaluator as bank_evaluator
from metabridge.evaluation.tasks import best_head as best_head
from metabridge.evaluation.tasks import evaluator as evaluator
from metabridge.evaluation.tasks import in_batches as in_batches
from metabridge.evaluation.tasks import pixel_score as pixel_score
from metabridge.evaluation.tasks import score as score
