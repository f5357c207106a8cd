"""Asks the endpoint every held-out question through the openai client, and counts the answers that are in the format.

$ python ask.py URL KEY
"""

import json
import sys
from pathlib import Path

from openai import OpenAI


def main(url: str, key: str) -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key=key)
    model = client.models.list().data[0].id
    rows = [json.loads(line) for line in Path(__file__).with_name("held_out.jsonl").read_text().splitlines()]
    in_format, right = 0, 0
    for row in rows:
        *question, expected = row["messages"]
        made = client.chat.completions.create(model=model, messages=question, temperature=0, max_tokens=40)
        said = made.choices[0].message.content or ""
        lines = said.splitlines()
        ended = made.choices[0].finish_reason == "stop"
        in_format += ended and len(lines) == 2 and lines[0].startswith("thing: ") and lines[1].startswith("place: ")
        right += said == expected["content"]
    print(f"of {len(rows)} held-out questions {in_format} are answered in the format, {right} rightly")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
