"""The steps of a submission up to its plan, as the command takes them."""

import pytest

from job_texts import text
from trainshed.client.bind import bind
from trainshed.client.check import check, faults_here
from trainshed.client.plan import plan
from trainshed.errors import SpecError
from trainshed.record.index import Index
from trainshed.spec.load import load_files


def checked(loaded, storage, *, local=False, priced=False):
    """The bound submission, with everything that can be refused before its plan."""
    made = bind(loaded, Index(storage), found=faults_here(loaded, local=local, priced=priced))
    check(made)
    return made


def planned(loaded, storage, *, machine_bytes=None):
    """The documents with numbers in them, and their plans."""
    made = plan(bind(loaded, Index(storage)), machine_bytes=machine_bytes)
    return made.loaded, made.plans


def loaded(folder, *jobs):
    """Documents as a job file in a folder has them."""
    file = folder / "job.yaml"
    file.write_text(text(*jobs))
    return load_files([file])


def faults(folder, storage, *jobs):
    """Line, key and message of everything that these documents are refused for."""
    with pytest.raises(SpecError) as caught:
        checked(loaded(folder, *jobs), storage)
    return [(fault.line, fault.key, fault.message) for fault in caught.value.faults]
