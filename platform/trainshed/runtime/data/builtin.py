"""Data that needs no file: scikit-learn's digits, and dates in words with their numbers."""

from __future__ import annotations

import random

import numpy as np

from trainshed.spec.data.sources import Builtin

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
FIRST_YEAR = 1900
LAST_YEAR = 2049
GREY_LEVELS = 16
"""load_digits counts from 0 to 16."""


def rows(source: Builtin) -> list[dict[str, object]]:
    """Every sample with its fields by name."""
    return _digits() if source.name == "digits" else _dates(source.samples, source.seed)


def _digits() -> list[dict[str, object]]:
    from sklearn.datasets import load_digits  # heavy, and wanted for this one source

    bunch = load_digits()
    pixels = np.round(bunch.images * 255 / GREY_LEVELS).astype(np.uint8)
    return [
        {"image": image[None].tobytes(), "label": str(label), "origin": f"digits:{number}", "done": "[]"}
        for number, (image, label) in enumerate(zip(pixels, bunch.target, strict=True))
    ]


def _dates(samples: int, seed: int) -> list[dict[str, object]]:
    draw = random.Random(seed)
    made: list[dict[str, object]] = []
    for number in range(samples):
        month = draw.randrange(12)
        day = draw.randint(1, DAYS[month])
        year = draw.randint(FIRST_YEAR, LAST_YEAR)
        text = draw.choice(_spellings(day, month, year))
        made.append({"text": text, "target": f"{year}-{month + 1:02d}-{day:02d}", "origin": f"dates:{number}"})
    return made


def _spellings(day: int, month: int, year: int) -> list[str]:
    name = MONTHS[month]
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return [
        f"{day} {name} {year}",
        f"{name} {day}, {year}",
        f"the {day}{ending} of {name} {year}",
        f"{name[:3]} {day} {year}",
        f"{day:02d}.{month + 1:02d}.{year}",
    ]
