"""Writes the small data of this example: a folder `texts` of 300 recipes, made by rule.

$ python make_texts.py [FOLDER]
"""

import random
import sys
from pathlib import Path

VEGETABLES = ("carrots", "leeks", "onions", "peas", "potatoes", "tomatoes")
HERBS = ("basil", "dill", "mint", "parsley", "thyme")
DISHES = {
    "soup": "Cover with {litres} litres of water and simmer for {minutes} minutes. Stir in the {herb} and serve hot.",
    "salad": "Boil for {minutes} minutes, drain and let cool. Add oil, vinegar and the {herb}. Serve cold.",
    "pie": "Put everything into a dish, cover with pastry and bake for {minutes} minutes. Strew the {herb} over it.",
}


def recipe(draw: random.Random) -> str:
    first, second = draw.sample(VEGETABLES, 2)
    dish, herb = draw.choice(list(DISHES)), draw.choice(HERBS)
    end = DISHES[dish].format(litres=draw.randint(1, 3), minutes=draw.randrange(20, 60, 5), herb=herb)
    return (
        f"{first.capitalize()} {dish} with {herb}\n\n"
        f"For {draw.randint(2, 6)} people: {draw.randrange(200, 900, 100)} g of {first}, "
        f"{draw.randint(1, 4)} {second}, a handful of {herb}.\n"
        f"Wash the {first} and cut them into slices. Fry the {second} in butter until they are soft. {end}\n"
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    for number in range(300):
        (folder / f"recipe-{number:03d}.txt").write_text(recipe(draw))
    print(f"300 recipes in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("texts"))
