"""Trained bodies applied to new tasks: load, classify, export."""

from metabridge.apply.body import Body as Body
from metabridge.apply.body_file import export_body as export_body
from metabridge.apply.embedding import embed as embed
from metabridge.apply.estimator import FewShotClassifier as FewShotClassifier
from metabridge.apply.evaluation import evaluate_body as evaluate_body
from metabridge.apply.features import evaluate_features as evaluate_features
from metabridge.apply.importing import import_body as import_body
from metabridge.apply.loading import load_body as load_body
from metabridge.apply.loading import pretrained_bodies as pretrained_bodies
from metabridge.apply.published import published_bodies as published_bodies
