"""An expression of DuckDB's serialized syntax tree -> a Condition.

The tree's form is DuckDB's own and differs between versions (1.x wraps constants and arguments
otherwise than 2.x). So nothing is taken for granted: what does not look as expected is Unknown,
which every file may match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gigapi_metadata.pruning.bounds import Operator
from gigapi_metadata.pruning.comparisons import Comparison, In, IsNull, Like
from gigapi_metadata.pruning.conditions import (
    And,
    Condition,
    Constant,
    IsTrue,
    Not,
    Or,
    Unknown,
)
from gigapi_metadata.pruning.constants import Constants, arguments, children, type_name
from gigapi_metadata.pruning.operands import NO_OPERAND, Operand
from gigapi_metadata.pruning.values import Value, loosened, together

Node = dict[str, Any]
Resolve = Callable[[list[str]], "str | None"]

_OPERATORS: dict[str, Operator] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "!=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_NOT_DISTINCT_FROM": "=",
    "COMPARE_DISTINCT_FROM": "!=",
}
_MIRRORED: dict[Operator, Operator] = {
    "=": "=",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
_BETWEEN: tuple[Operator, Operator] = (">=", "<=")
_MAX_DEPTH = 60
_TRUE = Value("true", flag=True)


def joined(names: list[str]) -> str | None:
    """The name that statistics have a column under: a field of a struct after a dot."""
    return ".".join(names)


def condition_from_duckdb(
    node: Node, *, resolve: Resolve = joined, time_zone: str | None = None
) -> Condition:
    """The condition that an expression node of `json_serialize_sql` means.

    `resolve` is given the `column_names` of each column reference and answers with the column's
    name in this table's statistics, or None if it is no column of it. `time_zone` as in
    `parse_condition`.
    """
    constants = Constants(node, time_zone)
    return _Translator(constants, resolve).condition(node)


class _Translator:
    def __init__(self, constants: Constants, resolve: Resolve) -> None:
        self.constants = constants
        self.resolve = resolve
        self.depth = 0

    def condition(self, node: Any) -> Condition:
        """What a boolean expression means."""
        if not isinstance(node, dict) or self.depth > _MAX_DEPTH:
            return Unknown()
        self.depth += 1
        try:
            return self._condition(node)
        finally:
            self.depth -= 1

    def _condition(self, node: Node) -> Condition:
        match node.get("class"):
            case "COMPARISON":
                return self._comparison(node, _OPERATORS.get(node.get("type", "")))
            case "BETWEEN":
                return self._between(node)
            case "FUNCTION":
                return self._function(node)
            case "CONJUNCTION" | "OPERATOR":
                return self._operator(node.get("type", ""), children(node))
        return self._truth(node)

    def _operator(self, kind: str, parts: list[Any]) -> Condition:
        found: Condition = Unknown()
        if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
            inner = tuple(map(self.condition, parts))
            found = And(inner) if kind == "CONJUNCTION_AND" else Or(inner)
        elif kind == "OPERATOR_NOT":
            found = Not(self.condition(parts[0]))
        elif kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            column = self._column(parts[0])
            if column is not None:
                found = IsNull(column, kind == "OPERATOR_IS_NULL")
        elif kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            found = self._in(parts)
            found = found if kind == "COMPARE_IN" else Not(found)
        return found

    def _truth(self, node: Node) -> Condition:
        """A column or constant where a condition is expected."""
        if self.constants.is_null(node):
            return Constant(None)
        value = self.constants.value(node)
        if value is not None:
            return Unknown() if value.flag is None else Constant(value.flag)
        column = self._column(node)
        return Unknown() if column is None else Comparison(column, "=", _TRUE)

    def _comparison(self, node: Node, operator: Operator | None) -> Condition:
        left, right = node.get("left"), node.get("right")
        if operator is None or left is None or right is None:
            return Unknown()
        if self.constants.is_constant(left):
            left, right, operator = right, left, _MIRRORED[operator]
        distinct = "DISTINCT" in node["type"]
        if self.constants.is_null(right):
            return self._beside_null(left, operator) if distinct else Constant(None)
        value = self.constants.value(right)
        if value is None:
            return Unknown()
        if distinct and value.flag is not None and _is_boolean_cast(left):
            return self._is_truth(left, value.flag, operator)
        if distinct:  # TRUE for a NULL, or FALSE, where = and != are NULL
            same = IsTrue(self._compared(left, "=", value))
            return same if operator == "=" else Not(same)
        return self._compared(left, operator, value)

    def _compared(self, node: Node, operator: Operator, value: Value) -> Condition:
        column = self._column(node)
        if column is not None:
            return Comparison(column, operator, value)
        return self._operand(node).compared(operator, value)

    def _operand(self, node: Any) -> Operand:
        """A column after the steps that an expression takes with it."""
        column = self._column(node)
        if column is not None:
            return Operand(column)
        if isinstance(node, dict) and node.get("class") == "CAST" and not node.get("try_cast"):
            return self._operand(node.get("child")).cast(type_name(node), self.constants.zone)
        if isinstance(node, dict) and node.get("class") == "FUNCTION":
            return self._result(str(node.get("function_name")).lower(), arguments(node))
        return NO_OPERAND

    def _result(self, name: str, given: list[Any]) -> Operand:
        if len(given) == 1:
            return self._operand(given[0]).function(name)
        if len(given) == 2 and name in ("date_trunc", "datetrunc"):
            unit = self.constants.text(given[0])
            return self._operand(given[1]).truncated(unit, self.constants.zone)
        if len(given) == 2:
            return self._operand(given[0]).arithmetic(name, self.constants.value(given[1]))
        return NO_OPERAND

    def _beside_null(self, node: Node, operator: Operator) -> Condition:
        column = self._column(node)
        return Unknown() if column is None else IsNull(column, operator == "=")

    def _is_truth(self, node: Node, flag: bool, operator: Operator) -> Condition:
        """`… IS [NOT] TRUE` or FALSE."""
        inner = self.condition(node.get("child"))
        found = IsTrue(inner if flag else Not(inner))
        return found if operator == "=" else Not(found)

    def _between(self, node: Node) -> Condition:
        tested: Any = node.get("input")
        sides: list[Any] = [node.get("lower"), node.get("upper")]
        if self.constants.is_constant(tested):
            value = self.constants.value(tested)
            if value is None or None in sides:
                return Unknown()
            loose = loosened(value)
            found = [self._compared(sides[0], "<=", loose), self._compared(sides[1], ">=", loose)]
            return And(tuple(found))
        given = self._constants(sides)
        if given is None:
            return Unknown()
        values = iter(together([each for each in given if each is not None], None not in given))
        found = [
            Constant(None) if each is None else self._compared(tested, operator, next(values))
            for each, operator in zip(given, _BETWEEN, strict=True)
        ]
        return And(tuple(found))

    def _constants(self, nodes: list[Any]) -> list[Value | None] | None:
        """The constants, None for NULL; None altogether if one of them is not known."""
        found: list[Value | None] = []
        for node in nodes:
            value = self.constants.value(node)
            if value is None and not self.constants.is_null(node):
                return None
            found.append(value)
        return found

    def _in(self, parts: list[Any]) -> Condition:
        given = self._constants(parts[1:])
        if given is None:
            return Unknown()
        with_null = None in given
        values = together([each for each in given if each is not None], not with_null)
        column = self._column(parts[0])
        if column is not None:
            return In(column, tuple(values), with_null)
        some = [self._compared(parts[0], "=", value) for value in values]
        return Or((*some, *([Constant(None)] if with_null else [])))

    def _function(self, node: Node) -> Condition:
        name, given = node.get("function_name", ""), arguments(node)
        if len(given) < 2:
            return self._truth(node)
        column = self._column(given[0])
        text = self.constants.text(given[1])
        if column is None or text is None:
            return Unknown()
        if name in ("^@", "starts_with", "prefix") and len(given) == 2:
            return Like(column, text)
        if name in ("~~", "!~~") and len(given) == 2:
            found = _like(column, text, "%_\\")
        elif name in ("like_escape", "not_like_escape") and len(given) == 3:
            escape = self.constants.text(given[2])
            if escape is None:
                return Unknown()
            found = _like(column, text, "%_\\" + escape)
        else:
            return Unknown()
        return found.negated() if name in ("!~~", "not_like_escape") else found

    def _column(self, node: Any) -> str | None:
        if not isinstance(node, dict) or node.get("class") != "COLUMN_REF":
            return None
        names = node.get("column_names")
        if not isinstance(names, list) or self.constants.is_constant(node):
            return None
        return self.resolve(names)


def _is_boolean_cast(node: Any) -> bool:
    return isinstance(node, dict) and node.get("class") == "CAST" and type_name(node) == "BOOLEAN"


def _like(column: str, pattern: str, stops: Iterable[str]) -> Condition:
    end = min((pattern.find(stop) for stop in stops if stop in pattern), default=len(pattern))
    prefix, rest = pattern[:end], pattern[end:]
    if not rest:
        return Comparison(column, "=", Value(repr(pattern), text=pattern))
    return Like(column, prefix, whole=not rest.strip("%"))
