"""The settings of rendering: the steps of a delivery's `render`, and the renderers that they make."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Block, Integer, LocalPath, Names, Text, timezone_name

if TYPE_CHECKING:
    from platform_assets.delivery.interfaces import Renderer
    from platform_assets.delivery.renderers.workshop import Workshop

RENDER = (
    "a list of steps such as [csv, gzip]; a step with options is a block, such as { csv { header = false } }"
)
"""Description of the key `render`."""

_ENCODINGS = re.compile(r"utf|iso8859|cp\d|ascii|koi8|mac|gb|big5|shift_jis|euc")
_DIRECTIVES = frozenset("aAbBdfgHIjmMnpSuUVwWyYzZG%")
_LONGEST_COUNT = 2**53


def _one_character(value: object) -> object:
    if not isinstance(value, str) or len(value) != 1 or value.isalnum() or value in "\r\n":
        raise ValueError("it is one character, no letter, digit or line break")
    return value


def _encoding(value: str) -> str:
    try:
        name = codecs.lookup(value).name
    except LookupError:
        raise ValueError("no such encoding exists") from None
    if not _ENCODINGS.match(name):
        raise ValueError("it is no encoding of text")
    return name


def _time_format(value: str) -> str:
    unknown = [directive for directive in re.findall(r"%-?(.?)", value) if directive not in _DIRECTIVES]
    if unknown or "%" not in value:
        raise ValueError(f"%{unknown[0]} is not known" if unknown else "it has no % in it")
    return value


def _other_sign(value: str, info: ValidationInfo) -> str:
    if value == info.data.get("delimiter"):
        raise ValueError("it is the delimiter too; set another delimiter, such as ;")
    return value


def _other_quote(value: str, info: ValidationInfo) -> str:
    if value == info.data.get("delimiter"):
        raise ValueError("it is the delimiter too")
    return value


_Character = Annotated[str, BeforeValidator(_one_character)]
_TimeFormat = Annotated[Text, AfterValidator(_time_format)]
_Timezone = Annotated[Text, AfterValidator(timezone_name)]
_LINE_ENDS = {"lf": "\n", "crlf": "\r\n"}


class RowSplitSettings(Block):
    """Splitting into several files."""

    rows: Integer | None = Field(
        default=None, ge=1, le=_LONGEST_COUNT, description="a number of rows, 1 or more"
    )
    """The largest number of rows in a file."""


class SplitSettings(RowSplitSettings):
    """Splitting into several files, each with a header of its own."""

    megabytes: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="a number of megabytes above 0"
    )
    """The largest size of a file, before it is compressed; a row that is larger has a file of its own."""


_SPLIT = Field(default=None, description="a block with rows, megabytes or both")
_ROW_SPLIT = Field(default=None, description="a block with rows")


class CsvRenderSettings(Block):
    """Rows as CSV."""

    delimiter: _Character = Field(default=",", description="one character that is no letter or digit")
    """Separates fields."""
    quote: Annotated[_Character, AfterValidator(_other_quote)] = Field(
        default='"', description="one character that is no letter or digit"
    )
    """Encloses fields; within a field it is doubled."""
    quoting: Literal["minimal", "all", "text", "none"] = Field(
        default="minimal", description="one of minimal, all, text, none"
    )
    """Fields that are enclosed: those that need it, all, all texts, or none. With `none`, a field that needs
    it fails the delivery."""
    line_end: Literal["lf", "crlf"] = Field(default="lf", description="lf or crlf")
    """The end of a line."""
    header: bool = Field(default=True, description="true or false")
    """True for a first line with the names of the columns."""
    null: str = Field(default="", description='text, such as "NULL"')
    """The text for a missing value; a value with the same text is enclosed."""
    date_format: _TimeFormat | None = Field(default=None, description='a format such as "%d.%m.%Y"')
    """The format of dates; ISO 8601 by default."""
    timestamp_format: _TimeFormat | None = Field(
        default=None, description='a format such as "%d.%m.%Y %H:%M:%S"'
    )
    """The format of dates with a time; ISO 8601 by default."""
    timezone: _Timezone = Field(default="UTC", description="a time zone's name, such as UTC or Europe/London")
    """The time zone in which times with a zone are written."""
    decimal_sign: Annotated[Literal[".", ","], AfterValidator(_other_sign)] = Field(
        default=".", description='"." or ","'
    )
    """The sign before the decimals; thousands are never separated."""
    encoding: Annotated[Text, AfterValidator(_encoding)] = Field(
        default="utf-8", description="the name of an encoding, such as utf-8, utf-8-sig or latin-1"
    )
    """The encoding; a character that it does not know fails the delivery."""
    guard_formulas: bool = Field(default=False, description="true or false")
    """True to put ' before texts that a spreadsheet would run as a formula."""
    split: SplitSettings | None = _SPLIT


class JsonRenderSettings(Block):
    """Rows as JSON."""

    split: SplitSettings | None = _SPLIT


class ParquetRenderSettings(Block):
    """Rows as Parquet."""

    compression: Literal["zstd", "snappy", "gzip", "lz4_raw", "brotli", "uncompressed"] = Field(
        default="zstd", description="one of zstd, snappy, gzip, lz4_raw, brotli, uncompressed"
    )
    """The compression of columns."""
    row_group_rows: Integer = Field(
        default=122_880, ge=2_048, le=10_000_000, description="a number of rows from 2048 to 10000000"
    )
    """Rows in a row group; memory grows with it."""
    split: RowSplitSettings | None = _ROW_SPLIT


def _sheet_name(value: str) -> str:
    if len(value) > 31 or re.search(r"[\[\]:*?/\\]", value) or value.startswith("'") or value.endswith("'"):
        raise ValueError("a sheet's name has up to 31 characters without []:*?/\\, and no ' at an end")
    return value


class ExcelRenderSettings(Block):
    """Rows as an Excel workbook."""

    sheet: Annotated[Text, AfterValidator(_sheet_name)] | None = Field(
        default=None, description="the name of a sheet"
    )
    """The name of the sheet; that of the delivery by default."""
    header: bool = Field(default=True, description="true or false")
    """True for a first row with the names of the columns, which stays in view."""
    timezone: _Timezone = Field(default="UTC", description="a time zone's name, such as UTC or Europe/London")
    """The time zone in which times with a zone are written."""
    too_many_rows: Literal["refuse", "sheets"] = Field(default="refuse", description="refuse or sheets")
    """The treatment of more rows than a sheet holds: the delivery fails, or further sheets take them."""
    rows_per_sheet: Integer = Field(
        default=1_048_576, ge=1, le=1_048_576, description="a number of rows from 1 to 1048576"
    )
    """The largest number of rows in a sheet; the header takes one of the 1,048,576 that there are."""
    long_texts: Literal["refuse", "cut"] = Field(default="refuse", description="refuse or cut")
    """The treatment of a text of more than 32,767 characters: the delivery fails, or the text is cut."""
    split: RowSplitSettings | None = _ROW_SPLIT


class HtmlRenderSettings(Block):
    """Rows as an HTML report."""

    template: LocalPath | None = Field(default=None, description="the path of a Jinja template")
    """A template of your own; values are escaped in it."""
    rows: Integer = Field(
        default=10_000, ge=1, le=1_000_000, description="a number of rows from 1 to 1000000"
    )
    """The largest number of rows; more fail the delivery."""
    totals: Names = Field(default=(), description="a list of columns of numbers")
    """The columns whose sums stand below the table."""
    timezone: _Timezone = Field(default="UTC", description="a time zone's name, such as UTC or Europe/London")
    """The time zone of times."""


class SigningSettings(Block):
    """The key that signs."""

    key: Secret = Field(description=REFERENCES)
    """The secret key, armored."""
    passphrase: Secret | None = Field(default=None, description=REFERENCES)
    """Its passphrase, if it has one."""


class OpenPgpRenderSettings(Block):
    """Files encrypted to OpenPGP keys."""

    keys: Annotated[tuple[LocalPath, ...], Field(min_length=1)] = Field(
        description="a list of files with public keys"
    )
    """The public keys of those who can read the files."""
    sign: SigningSettings | None = Field(default=None, description="a block with key and passphrase")
    """The key that signs the files."""
    armor: bool = Field(default=False, description="true or false")
    """True for text instead of bytes."""


class GzipRenderSettings(Block):
    """Files compressed with gzip."""

    level: Integer = Field(default=6, ge=1, le=9, description="a number from 1, fast, to 9, small")
    """The level of compression."""


class PlainRenderSettings(Block):
    """A step without options."""


class RenderStep(Block):
    """A step of rendering: exactly one of these keys."""

    as_is: PlainRenderSettings | None = Field(default=None, description="a block without keys")
    csv: CsvRenderSettings | None = Field(default=None, description="a block with the options of CSV")
    json_: JsonRenderSettings | None = Field(
        default=None, alias="json", description="a block with the options of JSON"
    )
    jsonl: JsonRenderSettings | None = Field(
        default=None, description="a block with the options of JSON lines"
    )
    parquet: ParquetRenderSettings | None = Field(
        default=None, description="a block with the options of Parquet"
    )
    excel: ExcelRenderSettings | None = Field(
        default=None, description="a block with the options of workbooks"
    )
    html: HtmlRenderSettings | None = Field(default=None, description="a block with the options of reports")
    gzip: GzipRenderSettings | None = Field(default=None, description="a block with level")
    zip: PlainRenderSettings | None = Field(default=None, description="a block without keys")
    """All files of the delivery in one archive."""
    openpgp: OpenPgpRenderSettings | None = Field(
        default=None, description="a block with keys, sign and armor"
    )
    manifest: PlainRenderSettings | None = Field(default=None, description="a block without keys")
    """A further file that lists the others with sizes, checksums and numbers of rows."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        """Take a step's name for the step without options."""
        if isinstance(value, RenderStep):
            return value
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError("a step is a name, or a block with one key: the name, with the options in it")
        [(name, options)] = value.items()
        if name not in ORDER:
            import difflib

            close = difflib.get_close_matches(str(name), ORDER, n=1)
            hint = f"; perhaps {close[0]}" if close else ""
            raise ValueError(f"there is no step {name}{hint}. Known are {', '.join(ORDER)}")
        return {name: {} if options is None else options}

    @property
    def name(self) -> str:
        """The step's name."""
        [key] = self.model_fields_set
        return key.removesuffix("_")

    def options(self, name: str) -> Block | None:
        """Return the options of a step, if this is it."""
        found: Block | None = getattr(self, f"{name}_" if name == "json" else name)
        return found


ORDER = {
    **dict.fromkeys(("as_is", "csv", "json", "jsonl", "parquet", "excel", "html"), 0),
    "gzip": 1,
    "zip": 2,
    "openpgp": 3,
    "manifest": 4,
}
"""The steps, each with its place in a list of steps."""


_SUFFIXES = {
    "csv": (".csv",),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet",),
    "excel": (".xlsx",),
    "html": (".html", ".htm"),
    "gzip": (".gz",),
    "zip": (".zip",),
    "openpgp": (".pgp", ".gpg", ".asc"),
}
_PACKED = frozenset({"zip"})
"""The steps that make one file of several."""


def _in_order(steps: tuple[RenderStep, ...]) -> tuple[RenderStep, ...]:
    names = [step.name for step in steps]
    for before, after in itertools.pairwise(names):
        if ORDER[before] == ORDER[after] == 0:
            raise ValueError(f"{after} stands behind {before}: a delivery has one format")
        if before == after:
            raise ValueError(f"{after} is in it twice")
        if ORDER[before] > ORDER[after]:
            raise ValueError(f"{after} stands behind {before}: put {after} first")
    return steps


RenderSettings = Annotated[tuple[RenderStep, ...], AfterValidator(_in_order)]
"""The type of the key `render`."""


def has_manifest(steps: RenderSettings) -> bool:
    """Return whether a manifest is delivered with the files."""
    return any(step.manifest is not None for step in steps)


def takes_rows(steps: RenderSettings) -> bool:
    """Return whether the first step takes rows; otherwise it takes files."""
    return bool(steps) and steps[0].name != "as_is" and ORDER[steps[0].name] == 0


def rendering_mistakes(
    steps: RenderSettings, file: str | None, *, gives_rows: bool | None, gives_several: bool
) -> Iterator[tuple[str, str]]:
    """Yield what does not fit together in a delivery: the key, `render` or `file`, and what is wrong.

    Args:
        steps: The steps of `render`.
        file: The template of file names, `file`.
        gives_rows: True if the source gives rows, False if files, None if that is not known.
        gives_several: True if the source may give several files.
    """
    if gives_rows is True and not takes_rows(steps):
        formats = ", ".join(name for name, place in ORDER.items() if place == 0 and name != "as_is")
        yield "render", f"the source gives rows, and render has no format for them; add one of {formats}"
    if gives_rows is False and takes_rows(steps):
        name = steps[0].name
        yield "render", f"the source gives files, and {name} is made of rows; remove {name} from render"
    if file is None:
        return
    from platform_assets.delivery.renderers.naming import FileNames, template_mistake

    if mistake := template_mistake(file):
        yield "file", mistake
        return
    is_packed = any(step.name in _PACKED for step in steps)
    is_distinct = bool(FileNames(file).fields & {"name", "part"})
    if (gives_several or _splits(steps)) and not is_packed and not is_distinct:
        yield "file", "several files may be delivered under one name; put {part} or {name} into it"
    if mistake := _suffix_mistake(steps, file):
        yield "file", mistake


def _splits(steps: RenderSettings) -> bool:
    options = (step.options(step.name) for step in steps)
    return any(getattr(option, "split", None) is not None for option in options)


def _suffix_mistake(steps: RenderSettings, file: str) -> str:
    """Return the mistake in a name whose suffix promises something else than the last step makes."""
    last = next((step.name for step in reversed(steps) if step.manifest is None), "as_is")
    ending = file[file.rfind(".") :].lower() if "." in file else ""
    if last == "as_is" or "{" in ending or file.endswith("}"):
        return ""
    own = _SUFFIXES[last]
    if ending in own:
        return ""
    others = [name for name, suffixes in _SUFFIXES.items() if ending in suffixes]
    if others or ORDER[last] > 0:
        return f"the name does not end in {own[0]}, and {last} is the last step of render"
    return ""


def build_renderers(steps: RenderSettings, workshop: Workshop) -> list[Renderer]:
    """Return the renderers of the steps, in order; each takes what the one before yields.

    Args:
        steps: The steps.
        workshop: Means to work with.
    """
    found = [_renderer(step, workshop) for step in steps if step.manifest is None]
    if not takes_rows(steps):
        # Rows that no step makes a file of are refused with the reason.
        from platform_assets.delivery.renderers.as_is import AsIs

        found.insert(0, AsIs())
    return found


def _renderer(step: RenderStep, workshop: Workshop) -> Renderer:
    if step.csv is not None:
        from platform_assets.delivery.renderers import csv_rows

        given = step.csv.model_dump(exclude={"split", "line_end"})
        form = csv_rows.CsvForm(**given, line_end=_LINE_ENDS[step.csv.line_end])
        return csv_rows.Csv(form, workshop, _cut(step.csv.split))
    if (objects := step.json_ or step.jsonl) is not None:
        from platform_assets.delivery.renderers.json_rows import Json

        return Json(workshop, lines=step.jsonl is not None, cut=_cut(objects.split))
    if step.parquet is not None:
        from platform_assets.delivery.renderers.parquet_rows import Parquet

        one = step.parquet
        return Parquet(workshop, one.compression, one.row_group_rows, one.split.rows if one.split else None)
    if step.excel is not None:
        return _excel(step.excel, workshop)
    if step.html is not None:
        from platform_assets.delivery.renderers.html import Html, HtmlForm

        page = step.html
        return Html(HtmlForm(page.template, page.rows, page.totals, page.timezone), workshop)
    return _file_renderer(step, workshop)


def _excel(given: ExcelRenderSettings, workshop: Workshop) -> Renderer:
    from platform_assets.delivery.renderers.excel import Excel, ExcelForm

    form = ExcelForm(
        **given.model_dump(exclude={"split"}), rows_per_file=given.split.rows if given.split else None
    )
    return Excel(form, workshop)


def _file_renderer(step: RenderStep, workshop: Workshop) -> Renderer:
    """Return the renderer of a step that takes files."""
    if step.gzip is not None:
        from platform_assets.delivery.renderers.gzip_files import Gzip

        return Gzip(step.gzip.level)
    if step.zip is not None:
        from platform_assets.delivery.renderers.zip_files import Zip

        return Zip(workshop)
    if step.openpgp is not None:
        from platform_assets.delivery.renderers.openpgp import OpenPgp, Signing

        signed = step.openpgp.sign
        signing = Signing(signed.key, signed.passphrase) if signed is not None else None
        return OpenPgp(workshop, step.openpgp.keys, signing, step.openpgp.armor)
    from platform_assets.delivery.renderers.as_is import AsIs

    return AsIs()


def _cut(given: SplitSettings | None) -> Any:
    from platform_assets.delivery.renderers.lines import Cut

    if given is None:
        return Cut()
    return Cut(given.rows, int(given.megabytes * 1_000_000) if given.megabytes is not None else None)
