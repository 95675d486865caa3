"""The platform's files as Dagster components: what a delivery, a task file, a feed and a source share there.

A component's `defs.yaml` is another way to fill the model of such a file, with the same checks and messages.
The component of each room is in its `component.py`; `platform_assets.Delivery` and the others name them.
"""

import importlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self, cast

import dagster as dg
from dagster.components import scaffold_component
from pydantic import BaseModel, ConfigDict, RootModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from platform_assets.configuration.document import Document, Located, located
from platform_assets.configuration.mistakes import shown
from platform_assets.configuration.values import Block
from platform_assets.errors import SettingsError
from platform_assets.orchestration import BLOCKING_CHECKS, blocking_checks
from platform_assets.rooms import Rooms
from platform_assets.settings import GivenBlock, load_settings

_NAME = "name"
_TEMPLATE = {"type": "string", "pattern": r"\{\{"}
_NAME_SCHEMA = {"type": "string", "description": "The name; by default that of the folder of defs.yaml."}


class ComponentScaffolder(dg.Scaffolder[Any]):
    """Writes a component's first `defs.yaml`: a small example that loads as it is."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the file."""
        module, _, name = request.type_name.rpartition(".")
        scaffold_component(request, getattr(importlib.import_module(module), name).example)


@dg.scaffold_with(ComponentScaffolder)
class PlatformComponent(dg.Component, dg.Resolvable):
    """The content of a file of the platform's configuration, given by a `defs.yaml`.

    Args:
        name: Its name, as the stem of the file would be.
        file: The file that describes it; relative paths start from its folder.
        attributes: The content that the file would have.
        lines: The line of each key in the file.
    """

    key: ClassVar[str]
    """The top-level key, or the folder beside the configuration, that holds the others of this kind."""
    is_block: ClassVar[bool]
    """True for a block of the configuration, False for a file in a folder."""
    example: ClassVar[Mapping[str, Any]]
    """The content of a new `defs.yaml`."""

    def __init__(
        self,
        name: str,
        file: Path,
        attributes: Mapping[str, Any],
        lines: Mapping[tuple[str | int, ...], int] | None = None,
    ) -> None:
        self.name = name
        self.file = file
        self.attributes = dict(attributes)
        self.lines = dict(lines or {})
        self._location: _Location | None = None

    @classmethod
    @abstractmethod
    def block(cls) -> type[Block]:
        """Return the model that the attributes fill."""

    @abstractmethod
    def mistakes(self, rooms: Rooms) -> Sequence[str]:
        """Return what does not fit together with the rest of the configuration."""

    @abstractmethod
    def own_defs(self, rooms: Rooms) -> dg.Definitions:
        """Define what the file would give, without resources."""

    def shared_defs(self, rooms: Rooms, names: Sequence[str]) -> dg.Definitions:
        """Define what all components of this kind in a project share, without resources.

        Args:
            rooms: The rooms.
            names: The names of the components.
        """
        return dg.Definitions()

    @classmethod
    def model(cls) -> type[BaseModel]:
        """Return a model that accepts any attributes, and whose schema is that of `block`, for editors.

        The attributes are validated later, from the folder of their file and in the platform's own words.
        """
        return _attributes_model(cls)

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Make the component, also of a `defs.yaml` without attributes."""
        return super().load(attributes or cls.model().model_validate({}), context)

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """Make the component of its attributes, with their templates resolved."""
        given = dict(_resolved(context, model.model_dump()))
        positions = context.source_position_tree
        if positions is None:
            raise SettingsError(f"{cls.__name__} is made of a defs.yaml, or with name, file and attributes.")
        file = Path(positions.position.filename).absolute()
        lines = dict(_lines(positions.children["attributes"])) if "attributes" in positions.children else {}
        name = given.pop(_NAME, None) or file.parent.name
        return cls(str(name), file, given, lines)

    @property
    def document(self) -> Document:
        """The attributes as a document of the configuration."""
        if not self.is_block:
            return Document(self.file, self.attributes, lines=self.lines)
        lines = {(self.name, *key): line for key, line in self.lines.items()}
        return Document(self.file, {self.name: self.attributes}, lines=lines)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Define what the file would give, with the resources that it needs.

        Raises:
            SettingsError: A component of the project has mistakes. The message lists those of all.
        """
        of_project = _components(context)
        if self not in of_project:
            of_project = [self]
        first = of_project[0]
        if first._location is None:
            first._location = _Location(of_project)
        return first._location.defs(self)


class _Location:
    """The platform as the components of one project see it: the configuration and all of them.

    Args:
        components: The components.

    Raises:
        SettingsError: The configuration or a component has mistakes.
    """

    def __init__(self, components: Sequence[PlatformComponent]) -> None:
        self._components = components
        _refuse(_repeated(components))
        settings = load_settings(
            blocks=[
                GivenBlock(component.key, component.name, component.block(), component.document)
                for component in components
                if component.is_block
            ]
        )
        files = [component for component in components if not component.is_block]
        _refuse(_taken(files, settings.file.parent))
        given: dict[str, dict[str, Document]] = {}
        for file in files:
            given.setdefault(file.key, {})[file.name] = file.document
        self._rooms = Rooms(settings, given=given)
        of_rooms = list(self._rooms.definitions().values())
        self._mistakes = {id(component): component.mistakes(self._rooms) for component in components}
        self._resources: dict[str, Any] = {
            **{key: resource for defs in of_rooms for key, resource in (defs.resources or {}).items()},
            BLOCKING_CHECKS: dg.ResourceDefinition.hardcoded_resource(blocking_checks(of_rooms)),
        }

    def defs(self, component: PlatformComponent) -> dg.Definitions:
        """Define one of the components; the first of its kind also defines what they share.

        Raises:
            SettingsError: The component has mistakes. The message lists those of all.
        """
        if self._mistakes[id(component)]:
            _refuse([line for found in self._mistakes.values() for line in found])
        same = [other for other in self._components if type(other) is type(component)]
        parts = [component.own_defs(self._rooms)]
        if same[0] is component:
            parts.append(component.shared_defs(self._rooms, [other.name for other in same]))
        merged = dg.Definitions.merge(*parts)
        # Every component gives the same objects: Dagster accepts those under one key.
        resources = {key: self._resources[key] for key in _needed(merged) if key in self._resources}
        return dg.Definitions(
            assets=merged.assets,
            asset_checks=merged.asset_checks,
            jobs=merged.jobs,
            schedules=merged.schedules,
            sensors=merged.sensors,
            resources=resources,
        )


def _components(context: dg.ComponentLoadContext) -> list[PlatformComponent]:
    """Return all of the platform's components of a project, in the order of their files."""
    tree = context.component_tree
    module: object = tree.defs_module
    if not isinstance(module, ModuleType):
        # `dg.build_defs_for_component` has no project.
        return []
    return cast("list[PlatformComponent]", tree.get_all_components(PlatformComponent))


def _needed(defs: dg.Definitions) -> set[str]:
    """Return the keys of the resources that definitions use."""
    found: set[str] = set()
    for asset in (
        *(defs.assets or ()),
        *(defs.asset_checks or ()),
        *(defs.jobs or ()),
        *(defs.sensors or ()),
    ):
        found |= getattr(asset, "required_resource_keys", set())
    return found


def _repeated(components: Sequence[PlatformComponent]) -> Iterator[str]:
    """Yield the components whose name another one of their kind has."""
    known: dict[tuple[str, str], Path] = {}
    for component in components:
        other = known.setdefault((component.key, component.name), component.file)
        if other is not component.file:
            yield str(_taken_name(component, other))


def _taken(components: Sequence[PlatformComponent], folder: Path) -> Iterator[str]:
    """Yield the components whose name a file of the configuration has."""
    for component in components:
        other = folder / component.key / f"{component.name}.conf"
        if other.is_file():
            yield str(_taken_name(component, other))


def _taken_name(component: PlatformComponent, other: Path) -> Located:
    sentence = f"found {shown(component.name)}; expected a name of its own; {other} has one of this name."
    return located((component.file, component.lines.get((_NAME,))), (_NAME,), sentence)


def _refuse(mistakes: Iterator[str] | Sequence[str]) -> None:
    lines = list(dict.fromkeys(mistakes))
    if lines:
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise SettingsError("\n  ".join([f"The project's components have {count}.", *lines]))


def _resolved(context: dg.ResolutionContext, value: Any) -> Any:
    """Resolve templates; text without one stays as it is, which Dagster would read as a Python literal."""
    if isinstance(value, dict):
        return {key: _resolved(context.at_path(key), item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(context.at_path(number), item) for number, item in enumerate(value)]
    is_template = isinstance(value, str) and ("{{" in value or "{%" in value)
    return context.resolve_value(value) if is_template else value


def _lines(positions: Any, key: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Yield the line of each key below a position in a YAML file."""
    yield key, positions.position.start.line
    for part, child in positions.children.items():
        yield from _lines(child, (*key, part))


class _EditorSchema(GenerateJsonSchema):
    """The schema of a model for editors and `dg check yaml`, which know it before templates are resolved."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Accept the short form too, in which a block is written as one text."""
        inner = super().function_before_schema(schema)
        is_block = "$ref" in inner or inner.get("type") == "object"
        return {"anyOf": [inner, {"type": "string"}]} if is_block else inner

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Accept a template too."""
        return {"anyOf": [super().int_schema(schema), _TEMPLATE]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        """Accept a template too."""
        return {"anyOf": [super().bool_schema(schema), _TEMPLATE]}


@cache
def _attributes_model(kind: type[PlatformComponent]) -> type[BaseModel]:
    class Attributes(RootModel[dict[str, Any]]):
        """The attributes of a component."""

        model_config = ConfigDict(title=f"{kind.__name__}Attributes")

        @classmethod
        def model_json_schema(cls, *args: Any, **keywords: Any) -> dict[str, Any]:
            schema = kind.block().model_json_schema(schema_generator=_EditorSchema)
            return {**schema, "properties": {_NAME: _NAME_SCHEMA, **schema["properties"]}}

    return Attributes
