"""A declaration that contradicts itself is refused when it is made."""

import pytest

from platform_assets.model.table import Column, Integer, Table, Text

ID, NAME = Column("id", Integer()), Column("name", Text(), nullable=True)


def test_a_column_that_is_declared_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="table t declares id, name more than once"):
        Table("t", "", (ID, NAME, ID, NAME, NAME), ("id",))


@pytest.mark.parametrize(
    "keys",
    [
        {"primary_key": ("key",)},
        {"primary_key": ("id", "key")},
        {"primary_key": ("id",), "business_key": "key"},
        {"primary_key": ("id",), "uniques": (("name",), ("name", "key"))},
    ],
)
def test_a_key_on_a_column_that_is_not_declared_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="table t has keys on columns it does not declare: key"):
        Table("t", "", (ID, NAME), **keys)  # type: ignore[arg-type]


def test_columns_are_found_by_name_in_their_order() -> None:
    table = Table("t", "", (NAME, ID, Column("parent", Integer(), references="p")), ("id",))
    assert table.column_names == ("name", "id", "parent")
    assert table.column("id") is ID
    assert table.foreign_keys == (("parent", "p"),)
    with pytest.raises(KeyError, match="table t has no column other"):
        table.column("other")
