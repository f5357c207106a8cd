"""Which tests run in one process, in their order, where there are several processes of tests."""

from xdist.scheduler import LoadScopeScheduling

SHARING = ("tests/e2e/", "tests/runtime/serving/")
"""Folders whose files share what takes long to start: a cluster; models that answer.

An idle cluster takes a tenth of a core, and two lives of a job side by side take longer than one after the other.
"""


class TestsTogether(LoadScopeScheduling):
    """Files stay whole, and so do some folders; in the order of their collection."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in SHARING if file.startswith(folder)), file)
