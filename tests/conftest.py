"""What must stand before any test module is imported, and the one Ray of the tests that use it in their own process."""

import gc
import os
import secrets
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in its background has them ignore Ctrl-C, and so would every command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Ray reads it once, when it is first imported, whichever test that is; each cluster of the tests has its own token.
os.environ["RAY_AUTH_MODE"] = "token"
# Ray's workers give way to all else on a machine (15 by default): beside another process of tests they stand still.
os.environ.setdefault("RAY_worker_niceness", "0")


LONGEST = ("e2e", "client", "runtime")
"""Folders of tests that start clusters and workers; they begin first, so that no process has one of them left alone."""


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent

    def place(item):
        folder = item.path.relative_to(here).parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)  # stable


def pytest_collection_finish():
    """What the tests have imported is no garbage: the collector need not go through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep together, where tests run in several processes, what shares a cluster or a model."""
    from together import TestsTogether

    return TestsTogether(config, log)


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
