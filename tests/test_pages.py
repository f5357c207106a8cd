"""What the pages say of the command, the files and the figures is so."""

import re
import shlex
import subprocess
import sys
from typing import get_args

import pytest
from typer.main import get_command

from paths import ROOT
from trainshed.cli.main import app
from trainshed.spec.data.prepare import PrepareStep, Tokenizer
from trainshed.spec.data.sources import Source
from trainshed.spec.load import load_files
from trainshed.spec.sweep.search import Search
from trainshed.spec.sweep.stopping import StopEarly
from trainshed.spec.training.engines import Engine
from trainshed.spec.training.models import Model
from trainshed.spec.training.optimizers import Optimizer
from trainshed.spec.training.schedules import Schedule
from trainshed.spec.training.tasks import Task
from trainshed.spec.training.trackers import Tracker

README = ROOT / "README.md"
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("examples/*/*.md"))
    if page.relative_to(ROOT).parts[0] != ".venv"
)
COMMAND = get_command(app)
UNIONS = {
    "source": Source,
    "steps": PrepareStep,
    "tokenizer": Tokenizer,
    "task": Task,
    "model": Model,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "engine": Engine,
    "search": Search,
    "stop_early": StopEarly,
    "report_to": Tracker,
}


def blocks(page, language=""):
    """The fenced blocks of a page in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for said, text in found if said == language]


def commands(page):
    """Every line of a page's blocks that calls the command, as words."""
    lines = [line.removeprefix("$ ") for block in blocks(page) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("platform ")]


def kinds(union):
    """The `kind` of every member of a union."""
    if fields := getattr(union, "model_fields", None):
        return set(get_args(fields["kind"].annotation))
    return {kind for member in get_args(union) for kind in kinds(member)}


def verbs(group, before=()):
    """Every command, a group's with the group's name before it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


def rows(page, head):
    """The cells of the table that begins with this heading."""
    lines = page.read_text().partition(head)[2].splitlines()[2:]
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:end]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_what_is_there(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_of_a_page_has_these_verbs_and_options(page):
    known = dict(verbs(COMMAND))
    for words in commands(page):
        name = next((name for name in (" ".join(words[1:3]), words[1]) if name in known), None)
        assert name is not None, words
        options = {option for one in known[name].params for option in one.opts}
        assert {word for word in words if word.startswith("-")} <= options, words


def test_the_job_file_of_the_readme_is_that_of_the_example_and_short():
    (shown,) = blocks(README, "yaml")
    example = ROOT / "examples/own_text/job.yaml"
    assert shown == example.read_text()
    assert len(shown.splitlines()) <= 25
    assert [one.job.kind for one in load_files([example])] == ["prepare", "train", "serve"]


def test_the_readme_names_every_verb_and_no_other():
    named = [name for first, _ in rows(README, "| command |") for name in re.findall(r"`([^`]+)`", first)]
    assert sorted(named) == sorted(name for name, _ in verbs(COMMAND))


def test_the_readme_calls_targets_that_make_has():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"(?:^|`)make ([a-z]+)", README.read_text(), re.MULTILINE))
    assert {"quickstart", "test"} <= called <= targets


def test_the_tree_of_the_readme_is_that_of_the_project():
    tree = README.read_text().partition("## The tree")[2].partition("```\n")[2].partition("```")[0]
    named = {line.split("/")[0] for line in tree.splitlines() if not line.startswith(" ")}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    there = {line.split("/")[0] for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert named == there


def test_every_choice_of_a_job_file_is_listed():
    listed = {re.findall(r"`([^`]+)`", field)[0]: set(re.findall(r"`([^`]+)`", said))
              for field, said in rows(ROOT / "docs/jobs.md", "| field |")}  # fmt: skip
    assert listed == {field: kinds(union) for field, union in UNIONS.items()}


@pytest.mark.parametrize(("head", "union"), [("| `search.kind` |", Search), ("| `stop_early.kind` |", StopEarly)])
def test_every_search_and_rule_of_a_sweep_is_explained(head, union):
    assert {kind.strip("`") for kind, _ in rows(ROOT / "docs/sweeps.md", head)} == kinds(union)


def test_the_figures_of_the_page_are_the_results():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from results import PAGE, page_table

    said = "benchmarks/README.md is not what was measured: run `python benchmarks/results.py --page`"
    assert f"\n{page_table()}\n" in PAGE.read_text(), said
