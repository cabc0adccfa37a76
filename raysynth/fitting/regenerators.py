"""What makes the columns that no model learns: keys in their pattern, personal data by Faker."""

from __future__ import annotations

from typing import Any

from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema


def regenerators(schema: TableSchema) -> dict[str, Any]:
    """The encoder of each identifier and of each column of personal data, by name."""
    result: dict[str, Any] = {}
    for column in schema.columns:
        if column.kind is Kind.IDENTIFIER:
            from raysynth.encoding.identifier import IdentifierEncoder

            result[column.name] = IdentifierEncoder.from_schema(column)
        elif column.kind is Kind.PERSONAL:
            from raysynth.encoding.personal import PersonalEncoder

            result[column.name] = PersonalEncoder.from_schema(column)
        entity = column.within or column.name
        if column.name in result and (rows_each := schema[entity].rows_each) is not None:
            from raysynth.encoding.repeated import RepeatedEncoder, RowsEach

            result[column.name] = RepeatedEncoder(result[column.name], RowsEach(rows_each), entity)
    return result
