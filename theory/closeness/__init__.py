"""Closeness of MTL and GBML on unseen tasks."""
