"""Accuracy on unseen tasks, from the features of a frozen body or from images."""

from metabridge.evaluation.features import bank_evaluator as bank_evaluator
from metabridge.evaluation.features import best_head as best_head
from metabridge.evaluation.features import evaluator as evaluator
from metabridge.evaluation.features import in_batches as in_batches
from metabridge.evaluation.features import pixel_score as pixel_score
from metabridge.evaluation.scores import Evaluate as Evaluate
from metabridge.evaluation.scores import Score as Score
from metabridge.evaluation.scores import score as score
