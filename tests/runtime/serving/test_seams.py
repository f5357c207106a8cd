"""What Ray Serve has no public way to."""

import inspect
import re

import ray

from paths import ROOT
from trainshed.runtime.serving import seams

SOURCE = ROOT / "platform" / "trainshed"
PRIVATE = re.compile(r"ray\.serve\._private|ray\.serve\.generated|ray\._common")


def test_ray_is_the_version_that_the_seams_were_checked_against():
    assert ray.__version__ == seams.CHECKED_AGAINST, "read every seam again, then write the new version there"


def test_a_replicas_port_for_other_deployments_is_bound_by_the_function_that_we_exchange():
    source = inspect.getsource(seams.replica)
    assert re.search(r"^from ray\._common\.tls_utils import .*add_port_to_grpc_server", source, re.MULTILINE)
    assert source.count("add_port_to_grpc_server(") == 1
    assert list(inspect.signature(seams.add_port_to_grpc_server).parameters) == ["server", "address"]


def test_a_deployments_settings_can_be_read_from_what_serve_keeps_of_it():
    assert callable(seams.DeploymentInfo.from_proto)
    assert "deployment_info" in seams.DeploymentRoute.DESCRIPTOR.fields_by_name


def test_no_other_file_knows_a_private_name_of_ray_serve():
    assert [file for file in SOURCE.rglob("*.py") if file.name != "seams.py" and PRIVATE.search(file.read_text())] == []
