"""Two real processes meet as the workers of a group do: what they listen on, and who can speak to their store."""

import json
import os
import subprocess
import sys

import psutil
import pytest

pytestmark = pytest.mark.slow

WORKER = """
import json, os, sys
import psutil, torch
import torch.distributed as dist
from trainshed.runtime.training.ray_train import rendezvous
worker = int(sys.argv[1])
if worker == 0:
    print(json.dumps(rendezvous.open_store_socket(one_machine=True)), flush=True)
place = json.loads(sys.stdin.readline())
rendezvous.meet("gloo", place=place, worker=worker, workers=2, timeout_s=60)
value = torch.ones(3)
dist.all_reduce(value)
pairs = dist.new_group([0, 1])  # as DeepSpeed makes more of them
dist.all_reduce(value, group=pairs)
listening = [c.laddr.ip for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
print(json.dumps({"listening": listening, "sum": value.tolist()}), flush=True)
sys.stdin.readline()  # the others look at the listeners as long as this one does
os._exit(0)
"""


def start(worker):
    command = [sys.executable, "-c", WORKER, str(worker)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def tell(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()


def test_two_workers_of_one_machine_listen_on_the_loopback_alone():
    first, second = start(0), start(1)
    try:
        place = first.stdout.readline().strip()  # a second line end would be taken for the word to go
        for process in (first, second):
            tell(process, place)
        told = [json.loads(process.stdout.readline()) for process in (first, second)]
        for process in (second, first):  # the one whose store both stand on goes last
            tell(process, "")
            process.wait()
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert [one["sum"] for one in told] == [[4.0] * 3] * 2
    assert {ip for one in told for ip in one["listening"]} == {"127.0.0.1"}
    assert len(told[0]["listening"]) > len(told[1]["listening"]) > 0, "the store listens on worker 0, gloo on both"


def test_gloo_is_told_the_interface_of_an_address_and_what_somebody_set_stays(monkeypatch):
    from trainshed.runtime.training.ray_train import rendezvous  # torch

    loopback = next(
        name for name, held in psutil.net_if_addrs().items() if any(one.address == "127.0.0.1" for one in held)
    )
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    monkeypatch.delenv("NCCL_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(rendezvous, "_chosen", set())
    rendezvous.listen_on("127.0.0.1")
    assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("eth7", loopback)
    rendezvous.listen_on("192.0.2.1")  # no interface has it
    assert os.environ["NCCL_SOCKET_IFNAME"] == loopback
