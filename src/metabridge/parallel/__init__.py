"""Devices and hosts that share the tasks of a step."""
