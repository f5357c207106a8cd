"""Writes the small data of this example: parcels.jsonl, 2,000 parcels and the hours that they took, made by rule.

$ python make_parcels.py [FILE]
"""

import json
import random
import sys
from pathlib import Path

KILOMETRES = {"Bern": 90, "Lyon": 280, "Milan": 330, "Paris": 570, "Vienna": 850, "Warsaw": 1500}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def parcel(draw: random.Random) -> dict[str, str | float]:
    city, day, way = draw.choice(list(KILOMETRES)), draw.choice(DAYS), draw.choice(("express", "standard"))
    kilos = draw.randint(1, 30)
    hours = KILOMETRES[city] / (60 if way == "express" else 30) + 0.1 * kilos + (24 if day == "Saturday" else 4)
    hours *= 1 + 0.5 * draw.random() ** 2  # never early, now and then much too late
    return {"text": f"{way} to {city}, {kilos} kg, handed in on {day}", "days": round(hours / 24, 3)}


def main(file: Path) -> None:
    draw = random.Random(0)
    file.write_text("".join(json.dumps(parcel(draw)) + "\n" for _ in range(2000)))
    print(f"2,000 parcels in {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("parcels.jsonl"))
