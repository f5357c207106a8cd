"""A name that does not exist is refused before anything heavy is loaded; what storage holds is read by pydantic."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "httpx",
    "rich",
    "ray",
    "torch",
    "transformers",
    "trainshed.client.stop",
    "trainshed.client.resume",
)
CALL = """
import json, sys
from trainshed.cli.main import run
try:
    run()
except SystemExit as ended:
    print(json.dumps({"code": ended.code, "loaded": sorted(sys.modules)}))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nosuchrun"),
        ("logs", "nosuchrun", "-f"),
        ("stop", "nosuchrun"),
        ("resume", "nosuchrun"),
        ("sweeps", "show", "nosuchrun"),
        ("endpoints", "nosuchrun"),
        ("ask", "nosuchrun", "hello"),
        ("alias", "nosuchrun@1", "production"),
    ],
    ids=" ".join,
)
def test_a_name_that_does_not_exist_is_refused_before_heavy_imports(tmp_path, arguments):
    environment = {**os.environ, "PLATFORM_HOME": str(tmp_path), "PLATFORM_STORAGE": str(tmp_path)}
    command = [sys.executable, "-c", CALL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    ended = json.loads(done.stdout)
    assert ended["code"] == 2
    assert "nosuchrun" in done.stderr
    assert [name for name in HEAVY if name in ended["loaded"]] == []
