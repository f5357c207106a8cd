"""The steps of a submission up to its plan, as the command takes them."""

from trainshed.client.bind import bind
from trainshed.client.check import check, faults_here
from trainshed.client.plan import plan
from trainshed.record.index import Index


def checked(loaded, storage, *, local=False, priced=False):
    """The bound submission, with everything that can be refused before its plan."""
    made = bind(loaded, Index(storage), found=faults_here(loaded, local=local, priced=priced))
    check(made)
    return made


def planned(loaded, storage, *, machine_bytes=None):
    """The documents with numbers in them, and their plans."""
    made = plan(bind(loaded, Index(storage)), machine_bytes=machine_bytes)
    return made.loaded, made.plans
