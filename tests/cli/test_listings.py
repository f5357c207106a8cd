"""A command lists a folder of storage at most once, however many runs, references and versions it speaks of."""

from collections import Counter

import pytest

from cli.calling import call
from cli.small_storage import DOCUMENTS, made_in
from counting_storage import counting
from job_texts import text
from trainshed.cli import context


@pytest.mark.parametrize(
    ("arguments", "listed"),
    [
        (("check", "job.yaml"), ["models/tales/versions", "runs"]),
        (("plan", "job.yaml"), ["models/tales/versions", "runs"]),
        (("runs",), ["runs"]),
        (("sweeps", "list"), ["runs"]),
        (("models",), ["models", "models/tales/aliases", "models/tales/versions"]),
        (("show", "model"), ["runs"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_verb_lists_no_folder_twice(tmp_path, monkeypatch, capsys, arguments, listed):
    made_in(tmp_path)
    storage, seen = counting(tmp_path)
    (tmp_path / "job.yaml").write_text(text(*DOCUMENTS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setattr(context, "storage", lambda: storage)
    for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    called = call(capsys, *arguments)
    assert called.code == 0, called.err
    assert [folder for folder, times in Counter(seen).items() if times > 1] == []
    assert set(listed) <= set(seen)
