"""YAML text to plain data with a line number for every key.

Knows YAML's dangers (tags that build objects, aliases that expand without end, nesting that fills the stack, keys given
twice, merge keys); knows nothing of jobs. `yaml_scalars` says what a scalar is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from trainshed.errors import Fault, SpecError
from trainshed.spec.document.yaml_scalars import SCALAR_TAGS, ScalarError, core_resolvers, value_of

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 40
TOO_MUCH = f"the document expands to too much (at most {MAX_NODES:,} values and {MAX_DEPTH} levels); write aliases out"

Path = tuple[str | int, ...]


@dataclass
class Document:
    """One YAML document: plain data, where it stands, and the line of every key and list item."""

    file: str
    line: int
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of the nearest thing on `path` that the file really has."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return self.line


class _TooMuch(yaml.YAMLError):
    """More values, or more of them inside one another, than a document needs: the line, and the message."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2, and an end to nesting, which PyYAML follows by recursion."""

    yaml_implicit_resolvers = core_resolvers()
    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; called by itself for each node inside."""
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > 2 * MAX_NODES:  # a key is a node too
            raise _TooMuch(self.peek_event().start_mark.line + 1, TOO_MUCH)  # type: ignore[no-untyped-call]
        self.depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self.depth -= 1
        return node


JOB_STARTS = "a job starts with `kind: prepare | tune | train | serve`"


def parse(text: str, file: str, *, starts: str = JOB_STARTS) -> list[Document]:
    """Every document of a YAML text; `starts` is said of one that holds none.

    Raises:
        SpecError: the text does not parse, or holds what a job file must not: duplicate keys, tags, an alias bomb.
    """
    if len(text) > MAX_BYTES:
        raise SpecError([Fault(file, 0, "", f"a job file is at most {MAX_BYTES:,} characters, got {len(text):,}")])
    faults: list[Fault] = []
    documents: list[Document] = []
    try:
        for node in _nodes(text):
            document = Document(file, node.start_mark.line + 1, None)
            document.data = _Walk(document, faults).build(node, ())
            if document.data is not None:
                documents.append(document)
    except _TooMuch as error:
        raise SpecError([*faults, Fault(file, error.args[0], "", error.args[1])]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            [*faults, Fault(file, mark.line + 1 if mark else 0, "", f"not YAML: {error.problem}")]
        ) from None
    except yaml.YAMLError as error:
        raise SpecError([*faults, Fault(file, 0, "", f"not YAML: {' '.join(str(error).split())}")]) from None
    if faults:
        raise SpecError(faults)
    if not documents:
        raise SpecError([Fault(file, 1, "", f"the file holds no document; {starts}")])
    return documents


def item(data: Any, element: str | int) -> Any:
    """What stands at one key or index of plain data, or None."""
    if isinstance(data, dict):
        return data.get(element)
    return data[element] if isinstance(data, list) and isinstance(element, int) and element < len(data) else None


def item_at(data: Any, path: Path) -> Any:
    """What stands at a path of plain data, or None."""
    for element in path:
        data = item(data, element)
    return data


def parse_scalar(text: str) -> Any:
    """The value of `--set key=TEXT`: a YAML scalar, list or mapping on one line."""
    documents = parse(text, "--set") if text.strip() not in ("", "~", "null") else []
    return documents[0].data if documents else None


def _nodes(text: str) -> Iterator[yaml.Node]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            if (node := loader.get_node()) is not None:
                yield node
    finally:
        loader.dispose()


class _Walk:
    """Builds one document's data; counts nodes, so that aliases cannot expand without end."""

    def __init__(self, document: Document, faults: list[Fault]) -> None:
        self.document = document
        self.faults = faults
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise SpecError([self._fault(node, path[:3], TOO_MUCH)])
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return self._sequence(node, path)
            case _:
                return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._refuse_tag(node, path, "tag:yaml.org,2002:map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(self._fault(key_node, path, "a key must be a plain word"))
                continue
            key = str(key_node.value)
            if self._refuse_tag(key_node, (*path, key), *SCALAR_TAGS):
                continue
            if key == "<<" and key_node.style is None:
                message = "merge keys (<<) are not in YAML 1.2 and are not read; write the keys out"
                self.faults.append(self._fault(key_node, path, message))
                continue
            if key in result:
                first = self.document.lines[(*path, key)]
                self.faults.append(
                    self._fault(key_node, (*path, key), f"the key stands twice, first on line {first}; keep one")
                )
                continue
            self.document.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, (*path, key))
        return result

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        self._refuse_tag(node, path, "tag:yaml.org,2002:seq")
        for index, item in enumerate(node.value):
            self.document.lines[(*path, index)] = item.start_mark.line + 1
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if self._refuse_tag(node, path, *SCALAR_TAGS):
            return None
        assert isinstance(node, yaml.ScalarNode)
        try:
            return value_of(node)
        except ScalarError as error:
            self.faults.append(self._fault(node, path, str(error)))
            return None

    def _refuse_tag(self, node: yaml.Node, path: Path, *allowed: str) -> bool:
        if node.tag in allowed:
            return False
        self.faults.append(
            self._fault(node, path, f"the tag {node.tag!r} is not allowed; a job file holds plain data only")
        )
        return True

    def _fault(self, node: yaml.Node, path: Path, message: str) -> Fault:
        return Fault(self.document.file, node.start_mark.line + 1, ".".join(map(str, path)), message)
