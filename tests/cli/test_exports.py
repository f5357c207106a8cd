"""What `platform show` says of what a training exported."""

import pytest

from trainshed.cli.run_page import facts_of
from trainshed.record.facts import EndFacts
from trainshed.record.results import AgreementFacts, ExportFacts, TrainResult
from trainshed.record.run import Record
from trainshed.record.storage import Storage

AGREES = AgreementFacts(
    samples=50,
    measure="log-probability per token",
    sample=7,
    trained=-2.5,
    exported=-2.500003,
    difference=3.1e-06,
    tolerance=1e-4,
)


@pytest.fixture
def shown(tmp_path):
    """The facts that are printed of a training that exported these."""

    def of(**export):
        record = Record(Storage.open(tmp_path), "model-261125-000000-0000abcd")
        created = {"submission_id": "ts-1", "created_at": "2026-11-25T00:00:00.000+00:00", "number": 0}
        record.begin({"kind": "train", "name": "model"}, **created)
        model = record.at("model") if "adapter" not in export or "model" in export else None
        record.finish(EndFacts(state="succeeded"), TrainResult(metrics={}, model=model, export=export))
        return dict(facts_of(record))

    return of


def test_how_far_the_export_is_from_what_was_trained(shown):
    found = shown(model=ExportFacts(dtype="bf16", agreement=AGREES))
    assert found["model export"] == (
        "bf16, as trained in 50 held-out samples: log-probability per token 3.1e-06 apart at most, 0.0001 allowed"
    )
    assert found["model"].endswith("/model-261125-000000-0000abcd/model")


def test_both_exports_are_told_and_where_they_lie(shown):
    found = shown(adapter=ExportFacts(dtype="fp32", agreement=AGREES), model=ExportFacts(dtype="fp32"))
    assert found["adapter"].endswith("/adapter")
    assert found["model export"] == "fp32, not compared with what was trained"
    assert "model" not in shown(adapter=ExportFacts(dtype="fp32"))


def test_an_older_run_has_a_model_and_no_comparison(shown):
    found = shown()
    assert found["model"].endswith("/model")
    assert "model export" not in found
