"""What tests of trainings in their own process share."""

import pytest

from process_group import alone


@pytest.fixture
def group_of_one():
    """A process group that this process is alone in."""
    with alone():
        yield
