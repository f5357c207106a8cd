"""Writes the small data of this example: reports.jsonl, 1,500 weather reports made by rule.

$ python make_reports.py [FILE]
"""

import json
import random
import sys
from pathlib import Path

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PLACES = {"the coast": "fog", "the mountains": "snow", "the valley": "rain", "the plain": "sun"}
WINDS = {"north": "cold", "south": "warm", "east": "dry", "west": "wet"}


def report(draw: random.Random) -> str:
    day, place, wind = draw.choice(DAYS), draw.choice(list(PLACES)), draw.choice(list(WINDS))
    return (
        f"{day} on {place}: {PLACES[place]} in the {draw.choice(('morning', 'evening'))}, "
        f"{draw.randint(0, 30)} degrees at noon. The wind blows from the {wind}, so the night will be {WINDS[wind]}."
    )


def main(file: Path) -> None:
    draw = random.Random(0)
    file.write_text("".join(json.dumps({"text": report(draw)}) + "\n" for _ in range(1500)))
    print(f"1,500 reports in {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("reports.jsonl"))
