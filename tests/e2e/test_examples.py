"""An example from its first command to its last, as its page has them."""

import shutil
import subprocess
import sys

import pytest

from paths import ROOT

pytestmark = pytest.mark.slow


def test_a_folder_of_text_becomes_an_endpoint_that_completes_it(platform, tmp_path):
    folder = tmp_path / "own_text"
    shutil.copytree(ROOT / "examples/own_text", folder, ignore=shutil.ignore_patterns("texts"))
    subprocess.run([sys.executable, folder / "make_texts.py"], check=True)
    done = platform.run("submit", folder / "job.yaml")
    assert "registered recipes@" in done.stdout
    trained = platform.json("show", "recipes-gpt")["result"]
    assert trained["metrics"]["validation_loss"] < 0.25 * trained["unigram_entropy_nats"]
    answer = platform.json("ask", "recipes-complete", "Leeks soup with", "--max-tokens", 100)
    text = answer["choices"][0]["text"]
    assert "and cut them into slices. Fry the" in text, "what stands in every recipe was not learnt: " + text
    platform.run("stop", "recipes-complete")
    assert "recipes-complete" not in [one["name"] for one in platform.json("endpoints")]
