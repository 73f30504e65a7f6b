"""Reports as one HTML page each: runs beside each other, and the closeness explorer."""

from metabridge.report.closeness import closeness_report as closeness_report
from metabridge.report.runs_page import runs_report as runs_report
