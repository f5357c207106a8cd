"""What must stand before any test module is imported, and the one Ray of the tests that use it in their own process."""

import os
import secrets
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in its background has them ignore Ctrl-C, and so would every command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Ray reads it once, when it is first imported, whichever test that is; each cluster of the tests has its own token.
os.environ["RAY_AUTH_MODE"] = "token"


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of its own
def pytest_collection_modifyitems(items):
    """Where tests run in several processes: files stay together, and whole lives of jobs in one, on one cluster.

    An idle cluster takes a tenth of a core, and two lives of a job side by side take longer than one after the other.
    """
    here = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(here)
        item.add_marker(pytest.mark.xdist_group("e2e" if file.parts[0] == "e2e" else str(file)))


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory):
    """Ray in this process, with a token. Only one: Ray keeps the first token that a process has used."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    import trainshed

    source = str(Path(trainshed.__path__[0]).parent)
    changed = {
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(
            [source, str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        import ray  # after its variables are set

        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()
