"""Mergeable one-pass summaries of a table, and the inference of column kinds from them."""

from raysynth.statistics.contingency import ContingencyCounts
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics, TableSummary, collect

__all__ = ["ColumnStatistics", "ContingencyCounts", "TableStatistics", "TableSummary", "collect", "infer_schema"]
