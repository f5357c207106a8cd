"""Writes the small data of this example: a folder `shapes` with a folder of small drawings for each class.

$ python make_shapes.py [FOLDER]
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

EACH = 500
SIZE = 32


def drawing(shape: str, draw: random.Random) -> Image.Image:
    paper, ink = draw.randint(150, 255), draw.randint(0, 100)
    image = Image.new("L", (SIZE, SIZE), paper)
    pen, radius = ImageDraw.Draw(image), draw.randint(5, 10)
    x, y = (draw.randint(radius, SIZE - 1 - radius) for _ in range(2))
    match shape:
        case "circle":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
        case "square":
            pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=ink)
        case "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=ink)
    return image


def main(folder: Path) -> None:
    draw = random.Random(0)
    for shape in ("circle", "square", "triangle"):
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            drawing(shape, draw).save(folder / shape / f"{number:03d}.png")
    print(f"{3 * EACH} drawings in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("shapes"))
