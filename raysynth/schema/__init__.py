"""Schemas: what columns a table has, of which kind and in which domain, and the rules of its rows."""

from raysynth.schema import constraints as constraints  # with it come the classes that a schema's JSON names
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema

__all__ = ["ColumnSchema", "Kind", "TableSchema"]
