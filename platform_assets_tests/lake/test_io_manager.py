"""Users' assets read the platform's tables and keep their own, in each form, on local disk and on S3."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from platform_assets.errors import LakeError
from platform_assets.lake.lake import Lake, stream_table, write_table
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import Platform, Totesys, failures

pytestmark = pytest.mark.sampled(2)

FORMS = (pa.Table, pa.RecordBatchReader, pd.DataFrame)


@dataclass
class Received:
    """What users' assets were given."""

    values: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["local disk", "s3"])
def platform(
    request: pytest.FixtureRequest, new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Platform:
    """Sales order 2 was edited and payment 3 deleted at the second tick."""
    totesys = Totesys.with_rows(new_module_database())
    folder = tmp_path_factory.mktemp("io manager")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        zones = [f"s3://{server.create_bucket(zone)}/lake" for zone in ("ingestion", "processed")]
        platform = Platform.over(totesys, Lake(*zones, lambda: server.storage_options), folder)
    else:
        platform = Platform.on_disk(totesys, folder)
    platform.tick()
    totesys.update("sales_order", 2, units_sold=6)
    totesys.delete("payment", 3)
    platform.tick()
    return platform


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def asking(
    received: Received, name: str, key: list[str], form: object = None, metadata: dict[str, Any] | None = None
) -> dg.AssetsDefinition:
    """A user's asset that asks for a table in a form and keeps what it was given, streams as tables."""

    def compute(upstream):  # type: ignore[no-untyped-def] # annotated below
        received.values[name] = (type(upstream), as_table(upstream))

    compute.__name__ = name
    if form is not None:
        compute.__annotations__["upstream"] = form
    return dg.asset(
        name=name, key_prefix="mine", ins={"upstream": dg.AssetIn(dg.AssetKey(key), metadata=metadata or {})}
    )(compute)


def as_table(value: Any) -> pa.Table:
    if isinstance(value, pa.RecordBatchReader):
        return value.read_all()
    return value if isinstance(value, pa.Table) else pa.Table.from_pandas(value)


def run(platform: Platform, instance: dg.DagsterInstance, *assets: dg.AssetsDefinition) -> list[str]:
    selection = dg.AssetSelection.assets(*assets)
    result = platform.run(instance, *assets, selection=selection)
    assert result.success != bool(failures(result))
    return failures(result)


def test_an_input_comes_in_the_form_that_it_is_annotated_with(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    received = Received()
    sources = {
        "current": (["totesys", "sales_order"], None),
        "versions": (["totesys", "sales_order"], {"versions": "all"}),
        "star": (["star", "fact_sales_order"], None),
        "warehouse": (["warehouse", "fact_sales_order"], None),
    }
    assets = [
        asking(received, f"{source}_{number}", key, form, metadata)
        for source, (key, metadata) in sources.items()
        for number, form in enumerate((*FORMS, None))
    ]
    assert run(platform, instance, *assets) == []
    expected = {
        "current": [(1, 84754, "insert", 1), (2, 6, "update", 2)],
        "versions": [(1, 84754, "insert", 1), (2, 5, "insert", 1), (2, 6, "update", 2)],
        "star": [(1, 84754, "insert", 1), (2, 5, "insert", 1), (2, 6, "update", 2)],
        "warehouse": [(1, 84754, "insert", 1), (2, 5, "insert", 1), (2, 6, "update", 2)],
    }
    for source, rows in expected.items():
        for number, form in enumerate((*FORMS, pa.Table)):
            kind, table = received.values[f"{source}_{number}"]
            names = ("sales_order_id", "units_sold", "_change", "_batch")
            assert kind is form
            assert sorted(zip(*(table[name].to_pylist() for name in names), strict=True)) == rows


@pytest.mark.parametrize("key", [["totesys", "payment"], ["star", "fact_payment"]])
def test_a_stream_that_came_in_goes_out_as_one(
    platform: Platform, instance: dg.DagsterInstance, key: list[str]
) -> None:
    @dg.asset(
        key_prefix=["passed_on", key[0]],
        ins={"payments": dg.AssetIn(dg.AssetKey(key))},
        io_manager_key="lake_io_manager",
    )
    def payments(payments: pa.RecordBatchReader) -> pa.RecordBatchReader:
        return payments

    received = Received()
    after = asking(received, "after", ["passed_on", key[0], "payments"])
    assert run(platform, instance, payments, after) == []
    assert {*received.values["after"][1]["payment_id"].to_pylist()} >= {1, 2}


def test_values_keep_their_types_on_the_way_in(platform: Platform, instance: dg.DagsterInstance) -> None:
    received = Received()
    source, star, warehouse = (
        asking(received, "source", ["totesys", "payment"]),
        asking(received, "star", ["star", "fact_payment"]),
        asking(received, "warehouse", ["warehouse", "fact_payment"]),
    )
    assert run(platform, instance, source, star, warehouse) == []
    payment = received.values["source"][1]
    assert payment.schema.field("payment_amount").type == pa.decimal128(10, 2)
    assert payment.schema.field("created_at").type == pa.timestamp("us")
    assert payment.schema.field("_seen_at").type == pa.timestamp("us", "UTC")
    assert sorted(payment["payment_id"].to_pylist()) == [1, 2]
    assert payment.column_names[-4:] == ["_change", "_batch", "_seen_at", "_hash"]
    assert set(payment["payment_amount"].to_pylist()) == {Decimal("205952.22")}
    assert received.values["star"][1].schema.field("created_time").type == pa.string()
    assert set(received.values["star"][1]["created_time"].to_pylist()) == {"09:30:15.123000"}
    assert received.values["warehouse"][1].schema.field("created_time").type == pa.time64("us")
    assert set(received.values["warehouse"][1]["created_time"].to_pylist()) == {dt.time(9, 30, 15, 123000)}
    assert received.values["star"][1]["_change"].to_pylist().count("delete") == 1


def rows() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int32()),
            "name": ["O'Hara", None, "ünï ✓"],
            "amount": pa.array([Decimal("1.50"), None, Decimal("-2.00")], pa.decimal128(10, 2)),
            "day": pa.array([dt.date(2023, 3, 1), dt.date(1969, 12, 31), None]),
            "at": pa.array(
                [dt.datetime(2023, 3, 1, 9, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")
            ),
            "local": pa.array([dt.datetime(2023, 3, 1, 9), None, None], pa.timestamp("us")),  # noqa: DTZ001
            "select": [True, False, None],
        }
    )


def writing(name: str, make: Callable[[], Any], manager: str, prefix: str = "reports") -> dg.AssetsDefinition:
    @dg.asset(name=name, key_prefix=prefix, io_manager_key=manager)
    def compute() -> Any:
        return make()

    return compute


@pytest.mark.parametrize("manager", ["lake_io_manager", "warehouse_io_manager"])
@pytest.mark.parametrize(
    ("form", "make"),
    [
        ("table", rows),
        ("reader", lambda: rows().to_reader(max_chunksize=1)),
        ("frame", lambda: rows().to_pandas(types_mapper=pd.ArrowDtype)),
    ],
    ids=["table", "reader", "frame"],
)
def test_an_output_in_any_form_is_kept_and_can_be_read_again(
    platform: Platform, instance: dg.DagsterInstance, manager: str, form: str, make: Callable[[], Any]
) -> None:
    received = Received()
    name = f"{manager.partition('_')[0]}_{form}"
    written = writing(name, make, manager)
    read = asking(received, f"read_{name}", ["reports", name])
    assert run(platform, instance, written, read) == []
    table = received.values[f"read_{name}"][1].sort_by("id")
    assert table.to_pylist() == rows().to_pylist()
    event = instance.get_latest_materialization_event(dg.AssetKey(["reports", name]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["dagster/row_count"].value == 3


@pytest.mark.parametrize("manager", ["lake_io_manager", "warehouse_io_manager"])
def test_an_output_replaces_what_was_there_even_with_other_columns_or_no_rows(
    platform: Platform, instance: dg.DagsterInstance, manager: str
) -> None:
    contents = iter(
        [
            pa.table({"a": [1, 2]}),
            pa.table({"a": [3]}),
            pa.table({"a": pa.array([], pa.int64())}),
            pa.table({"b": ["x"], "c": [None]}, schema=pa.schema([("b", pa.string()), ("c", pa.int32())])),
        ]
    )
    written = writing(f"replaced_by_{manager}", lambda: next(contents), manager)
    seen = []
    for _ in range(4):
        received = Received()
        read = asking(received, "read", ["reports", f"replaced_by_{manager}"])
        assert run(platform, instance, written, read) == []
        seen.append(received.values["read"][1].to_pylist())
    assert seen == [[{"a": 1}, {"a": 2}], [{"a": 3}], [], [{"b": "x", "c": None}]]


@pytest.mark.parametrize("manager", ["lake_io_manager", "warehouse_io_manager"])
def test_an_asset_may_stream_from_a_platform_table_into_its_own(
    platform: Platform, instance: dg.DagsterInstance, manager: str
) -> None:
    received = Received()

    def assets() -> Iterator[dg.AssetsDefinition]:
        for number, key in enumerate((["warehouse", "dim_date"], ["star", "dim_date"])):

            @dg.asset(
                name=f"streamed_{number}_by_{manager}",
                key_prefix="reports",
                io_manager_key=manager,
                ins={"days": dg.AssetIn(dg.AssetKey(key))},
            )
            def streamed(days: pa.RecordBatchReader) -> pa.RecordBatchReader:
                parts = (part.select(["date_id", "day_name"]) for part in days)
                schema = pa.schema([days.schema.field("date_id"), days.schema.field("day_name")])
                return pa.RecordBatchReader.from_batches(schema, parts)

            yield streamed
            yield asking(received, f"read_{number}", ["reports", f"streamed_{number}_by_{manager}"])

    assert run(platform, instance, *assets()) == []
    for number in (0, 1):
        table = received.values[f"read_{number}"][1]
        assert table.num_rows == 365
        assert dict(zip(*(column.to_pylist() for column in table.columns), strict=True))[
            dt.date(2023, 12, 31)
        ] == ("Sunday")


@pytest.mark.parametrize(
    ("key", "manager", "says"),
    [
        (["star", "mine"], "lake_io_manager", "the platform's own"),
        (["star"], "lake_io_manager", "the platform's own"),
        (["STAR", "dim_date"], "lake_io_manager", "the platform's own"),
        (["star", "mine"], "warehouse_io_manager", "belongs to the platform"),
        (["STAR", "dim_date"], "warehouse_io_manager", "belongs to the platform"),
        (["warehouse", "mine"], "warehouse_io_manager", "belongs to the platform"),
        (["platform", "loads"], "warehouse_io_manager", "belongs to the platform"),
        (["Platform", "loads"], "warehouse_io_manager", "belongs to the platform"),
        (["information_schema", "tables"], "warehouse_io_manager", "could not write information_schema"),
    ],
    ids=lambda value: "/".join(value) if isinstance(value, list) else value,
)
def test_a_key_that_belongs_to_the_platform_is_refused(
    platform: Platform, instance: dg.DagsterInstance, key: list[str], manager: str, says: str
) -> None:
    counts = "SELECT count(*), (SELECT count(*) FROM platform.loads) FROM star.dim_date"
    before = platform.query(counts)

    @dg.asset(key=key, io_manager_key=manager)
    def mine() -> pa.Table:
        return rows()

    [failure] = run(platform, instance, mine)
    assert says in failure
    assert platform.query(counts) == before
    assert len(platform.star("dim_date")) == 365
    if manager == "lake_io_manager":
        with pytest.raises(LakeError, match="does not exist in"):
            stream_table(platform.lake, key)


@pytest.mark.parametrize("manager", ["lake_io_manager", "warehouse_io_manager"])
def test_a_table_that_was_never_written_is_named(
    platform: Platform, instance: dg.DagsterInstance, manager: str
) -> None:
    written = writing("never", rows, manager)
    read = asking(Received(), "read", ["reports", "never"])
    result = platform.run(instance, written, read, selection=dg.AssetSelection.assets(read))
    [failure] = failures(result)
    assert "never" in failure
    assert "no table" in failure.lower() or "does not exist" in failure


@pytest.mark.parametrize("manager", ["lake_io_manager", "warehouse_io_manager"])
def test_a_value_that_is_no_table_is_refused_in_words(
    platform: Platform, instance: dg.DagsterInstance, manager: str
) -> None:
    [failure] = run(platform, instance, writing("number", lambda: 42, manager))
    assert "pyarrow.Table, pyarrow.RecordBatchReader or pandas.DataFrame, not from int" in failure


def test_a_form_that_there_is_none_of_is_refused_in_words(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    [failure] = run(platform, instance, asking(Received(), "dictionary", ["star", "dim_date"], dict))
    assert "pyarrow.Table, pyarrow.RecordBatchReader or pandas.DataFrame, not as" in failure


def test_a_star_table_that_was_never_built_is_empty_and_has_its_columns(
    tmp_path: Path, instance: dg.DagsterInstance, new_database: NewDatabase
) -> None:
    platform = Platform.on_disk(Totesys.create(new_database()), tmp_path)
    received = Received()
    assert run(platform, instance, asking(received, "empty", ["star", "dim_currency"])) == []
    table = received.values["empty"][1]
    assert table.num_rows == 0
    assert table.column_names == [
        "currency_id",
        "currency_code",
        "currency_name",
        "_change",
        "_batch",
        "_seen_at",
    ]


def test_an_asset_with_a_key_of_many_parts_has_a_folder_of_many_parts(platform: Platform) -> None:
    assert write_table(platform.lake, ["a", "b-c", "d=e"], rows().to_reader()) == 3
    assert stream_table(platform.lake, ["a", "b-c", "d=e"]).read_all().num_rows == 3
