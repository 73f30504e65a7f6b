"""Measurements of speed, memory and reliability that the documentation states."""
