"""Diversity of few-shot tasks: distances between their Task2Vec embeddings."""

from metabridge.diversity.distances import mean_distance as mean_distance
from metabridge.diversity.distances import task_distances as task_distances
from metabridge.diversity.embedding import filter_fisher as filter_fisher
from metabridge.diversity.measure import Diversity as Diversity
from metabridge.diversity.measure import task_diversity as task_diversity
from metabridge.diversity.probe import Probe as Probe
