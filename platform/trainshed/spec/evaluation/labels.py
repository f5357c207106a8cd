"""Does a model know the labels of a data set, and by which numbers? From the config.json of its export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMED = 3


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a model's labels in the order of its numbers; empty where it names none."""
    own = config.get("labels")
    if isinstance(own, list):
        return tuple(map(str, own))
    named = config.get("id2label")
    if not isinstance(named, Mapping):
        return ()
    numbers = {int(number): str(name) for number, name in named.items() if str(number).isdecimal()}
    return tuple(numbers[number] for number in sorted(numbers))


def label_numbers(data: Sequence[str], model: Sequence[str]) -> tuple[int, ...]:
    """The model's number of each label of the data, which may have fewer labels, and in another order.

    Raises:
        ValueError: the model does not know one; the message is one line.
    """
    numbers = {name: number for number, name in enumerate(model)}
    unknown = [name for name in data if name not in numbers]
    if unknown:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise ValueError(
            f"its labels {', '.join(map(repr, unknown[:NAMED]))}{more} are none of the model's: "
            f"{', '.join(model) or 'it has none'}; evaluate on data with the labels that it was trained on"
        )
    return tuple(numbers[name] for name in data)
