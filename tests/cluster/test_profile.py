"""Cluster profiles: the ones we ship load, and every mistake has its file, line and key."""

import pytest
import yaml

from paths import ROOT
from trainshed.cluster.profile import load_profile
from trainshed.errors import SpecError

SHIPPED = sorted(ROOT.glob("cluster/*.yaml"))
GOOD = {
    "kind": "cluster",
    "name": "mine",
    "currency": "USD",
    "prices_from": "made up",
    "node_types": {"small": {"cpus": 4, "memory_gb": 16, "price_per_hour": 0.2}},
}


def faults(tmp_path, text):
    file = tmp_path / "profile.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_profile(file)
    return [str(fault).replace(str(file), "profile.yaml") for fault in caught.value.faults]


def wrong(**values):
    return yaml.safe_dump({key: value for key, value in {**GOOD, **values}.items() if value is not None})


def node(**values):
    return {"small": {**GOOD["node_types"]["small"], **values}}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_profile_we_ship_loads_and_says_what_its_prices_are(file):
    profile = load_profile(file)
    assert profile.name == file.stem
    assert "made up" in profile.prices_from


def test_there_is_a_profile_for_a_laptop_and_one_for_a_cloud_with_gpus():
    kinds = {file.stem: load_profile(file).node_types.values() for file in SHIPPED}
    assert not any(one.gpus for one in kinds["laptop"])
    assert any(one.spot and one.gpus for one in kinds["gpu-cloud"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (wrong(node_type={}), "node_type: unknown key; did you mean 'node_types'?"),
        (wrong(node_types=None), "node_types: missing; a `cluster` needs it"),
        (wrong(node_types={}), "node_types: "),
        (wrong(node_types=node(cpu=3)), "node_types.small.cpu: unknown key; did you mean 'cpus'?"),
        (wrong(node_types=node(cpus="four")), 'node_types.small.cpus: expected a whole number, got "four"'),
        (wrong(node_types=node(gpus=1)), "node_types.small: gpus: 1 need a gpu_type"),
        (wrong(node_types=node(gpu_type="T4")), "node_types.small: gpu_type T4 needs gpus above 0"),
        (wrong(node_types=node(gpus=1, gpu_type="T5")), 'node_types.small.gpu_type: got "T5"; known here: A100-40GB'),
        (wrong(node_types=node(min_nodes=3)), "node_types.small: min_nodes 3 is over max_nodes 1"),
        (wrong(node_types=node(price_per_hour=-1.0)), "node_types.small.price_per_hour: "),
        (wrong(currency=None), "currency is missing; node type small has a price_per_hour"),
        (wrong(prices_from=None), "prices_from is missing"),
        (wrong(currency="dollars"), 'currency: got "dollars"; say the three letters of ISO 4217'),
        (wrong(kind="clutser"), "kind: this is no cluster profile"),
        (wrong(name="../up"), 'name: got "../up"'),
        ("# nothing\n", "the file holds no document; a cluster profile starts with `kind: cluster`"),
        (f"{wrong()}---\n{wrong()}", "a file holds one cluster profile"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text, said, tmp_path):
    (found,) = faults(tmp_path, text)
    assert said in found
    assert found.startswith("profile.yaml:")


def test_the_line_is_the_one_of_the_key(tmp_path):
    text = wrong(node_types=node(cpu=3))
    line = next(number for number, each in enumerate(text.splitlines(), 1) if each.strip() == "cpu: 3")
    assert faults(tmp_path, text)[0].startswith(f"profile.yaml:{line}: node_types.small.cpu")
