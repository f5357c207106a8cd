"""The rollout of an endpoint's next version, with an automatic return to the former one where the next does not answer.

Serve keeps the failed version as its target: old replicas answer, but the next one that dies is never replaced. So each
deployment carries the settings of what answered before it. They lie where Serve keeps its own state, and are found
again after a crash of this process or of Serve's controller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus

from trainshed.errors import PlatformError
from trainshed.runtime.cause import cause_of
from trainshed.runtime.serving.app import DEPLOYMENT
from trainshed.runtime.serving.endpoint import START_S, delete_application, run_application
from trainshed.runtime.serving.seams import DeploymentInfo, DeploymentRoute
from trainshed.runtime.serving.settings import AppSettings

Answer = TypeVar("Answer")


def roll_out(
    settings: AppSettings,
    http_port: int,
    prove: Callable[[str], Answer],
    *,
    proven_run: str | None,
    start_timeout_s: float = START_S,
) -> Answer:
    """Makes these settings what answers, and returns what `prove(url)` does: it asks the endpoint, and records it.

    `proven_run` is the serve run that the endpoint's record names.

    Raises:
        PlatformError: a replica failed, or `prove` did. Then the former version is the target again and has been ready,
            or there was none and nothing of the new one is left; the message says which.
    """
    target = _target(settings.name)
    is_known = settings.name in serve.status().applications
    former = _former(target, settings, proven_run)
    try:
        return prove(run_application(replace(settings, former=former), http_port, start_timeout_s))
    except Exception as error:
        if former is None and is_known and target is None:
            left = "what answered before it was deployed by another release, and Serve keeps it while it lives"
        else:
            left = _go_back(settings.name, former, http_port, start_timeout_s)
        raise PlatformError(f"{cause_of(error)}; {left}") from error


def _former(target: AppSettings | None, settings: AppSettings, proven_run: str | None) -> AppSettings | None:
    """What answers before these settings do, or did until a deployment failed that nobody took back."""
    if target is None:
        return None
    if target.run_id != settings.run_id and (target.run_id == proven_run or _runs(settings.name)):
        return replace(target, former=None)
    return target.former


def _runs(name: str) -> bool:
    application = serve.status().applications.get(name)
    return application is not None and application.status is ApplicationStatus.RUNNING


def _go_back(name: str, former: AppSettings | None, http_port: int, start_timeout_s: float) -> str:
    """What stands now, in words."""
    try:
        if former is None:
            delete_application(name)
            return "nothing answered before it"
        run_application(former, http_port, start_timeout_s)
    except PlatformError as error:
        return f"and {former.model if former else 'what is left of it'} could not be restored: {error}"
    return f"{former.model} answers as before"


def _target(name: str) -> AppSettings | None:
    """What Serve wants the endpoint's replicas to be; None where it knows none, or one of another release."""
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return None
    try:
        found = ray.get(client._controller.get_deployment_info.remote(DEPLOYMENT, name))
    except (RayError, KeyError):
        return None
    info = DeploymentInfo.from_proto(DeploymentRoute.FromString(found).deployment_info)
    arguments = info.replica_config.init_args
    settings = arguments[0] if isinstance(arguments, tuple) and arguments else None
    return settings if isinstance(settings, AppSettings) and hasattr(settings, "hashes") else None
