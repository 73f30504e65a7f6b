"""Agreement of trained networks: predictions on the same tasks, layers, methods."""

from metabridge.similarity.agree import agreement as agreement
