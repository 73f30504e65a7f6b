"""Agreement of trained networks: predictions on the same tasks, layers, heads."""

from metabridge.similarity.agree import agreement as agreement
from metabridge.similarity.grid import head_grid as head_grid
