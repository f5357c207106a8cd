"""A submission whose answer is lost: did the cluster get it, and what becomes of the Record."""

from __future__ import annotations

from uuid import uuid4

import pytest

from client.cutting_proxy import CuttingProxy
from trainshed.client.address import Address
from trainshed.client.hand_over import hand_over
from trainshed.client.jobs_api import JobsClient, Unreachable
from trainshed.client.pack import Packed
from trainshed.client.package import package_files
from trainshed.record.storage import Storage
from trainshed.record.submission import Submission

pytestmark = pytest.mark.slow


def test_what_may_have_arrived_keeps_its_record(running, jobs: JobsClient, tmp_path) -> None:
    taken_back: list[str] = []
    code, working = package_files({"a.txt": b"a"}), package_files({"b.txt": b"b"})
    with CuttingProxy(int(running.local.dashboard_url.rsplit(":", 1)[1]), [10**9]) as proxy:
        address = Address(proxy.url, running.local.token, None)

        def give(before) -> str:
            job = f"test-{uuid4().hex[:12]}"
            submission = Submission(submission_id=job, storage=str(tmp_path), runs=(), created_at="now", code={})
            hand_over(
                Packed(submission, code, working),
                address,
                Storage.open(tmp_path),
                before=before,
                take_back=lambda: taken_back.append(job),
                home=tmp_path,
            )
            return job

        job = give(lambda: proxy.break_off([0, 0, 0]))  # every answer to the submission is lost
        assert jobs.status(job).submission_id == job
        with pytest.raises(Unreachable, match="may have arrived all the same: `platform runs` shows it"):
            give(proxy.shut)
    assert taken_back == [], "a record without its run can be removed; a run without its record cannot be found"
