"""Run folders: what training writes, and report, comparison and export read."""
