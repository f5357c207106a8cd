"""Writes the small data of this example, by rule: dialogues to learn a language from, and conversations in a format.

$ python make_dialogues.py [FOLDER]

dialogues.jsonl: texts, two people who talk about where things are. chats.jsonl: questions and answers in the format
that the endpoint shall have. held_out.jsonl: questions about things and places that no chat puts together.
"""

import json
import random
import sys
from pathlib import Path

COLORS = ("red", "blue", "green", "white", "black", "yellow")
THINGS = ("cup", "book", "lamp", "key", "hat", "bag", "pen", "box")
PLACES = ("kitchen", "garden", "cellar", "attic", "hall", "garage")
SAID = ("The {color} {thing} is in the {place}.", "I put the {color} {thing} into the {place}.")
ASKED = ("Where is the {color} {thing}?", "Do you know where the {color} {thing} is?")
SYSTEM = "Answer with thing and place."


def dialogue(draw: random.Random) -> str:
    """Some sentences, and a question that the last of them answers."""
    lines = []
    for _ in range(draw.randint(2, 4)):
        one = {"color": draw.choice(COLORS), "thing": draw.choice(THINGS), "place": draw.choice(PLACES)}
        lines += [draw.choice(SAID).format(**one), draw.choice(ASKED).format(**one), f"In the {one['place']}."]
    return "\n".join(lines)


def chat(draw: random.Random, color: str, thing: str, place: str) -> dict[str, object]:
    """A question about one thing, and its answer in the format."""
    one = {"color": color, "thing": thing, "place": place}
    question = f"{draw.choice(SAID).format(**one)} {draw.choice(ASKED).format(**one)}"
    answer = f"thing: {color} {thing}\nplace: {place}"
    turns = [("system", SYSTEM), ("user", question), ("assistant", answer)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    every = [(color, thing, place) for color in COLORS for thing in THINGS for place in PLACES]
    draw.shuffle(every)
    held_out, learnt = every[:100], every[100:]
    write(folder / "dialogues.jsonl", [{"text": dialogue(draw)} for _ in range(3000)])
    write(folder / "chats.jsonl", [chat(draw, *one) for one in learnt for _ in range(6)])
    write(folder / "held_out.jsonl", [chat(draw, *one) for one in held_out])
    print(f"3000 dialogues, {6 * len(learnt)} chats and 100 held-out questions in {folder}")


def write(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
