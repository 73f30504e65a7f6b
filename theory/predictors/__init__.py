"""Infinite-width predictors of MTL and GBML, and their adaptation to new tasks."""
