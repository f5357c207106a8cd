"""The endpoint as a Ray Serve application: every replica holds one engine and answers HTTP for it."""

from __future__ import annotations

from pathlib import Path

from ray import serve
from ray.serve.config import AutoscalingConfig
from starlette.types import ASGIApp

from trainshed.patience import patience
from trainshed.record.storage import Storage
from trainshed.runtime.scratch import scratch_of_process
from trainshed.runtime.serving.engines import build_engine
from trainshed.runtime.serving.own_address import listen_on_own_address
from trainshed.runtime.serving.routes import build_asgi
from trainshed.runtime.serving.settings import AppSettings

__all__ = ["AppSettings", "Replica", "build_application"]

_SURGE_PERCENT = 25
"""Replicas over the target while a new version takes over, one at least: an old one stops only when a new one is
ready. Serve's default of 0 stops the old ones first, and a version that cannot start leaves nothing that answers."""


class Replica:
    """One copy of the model. It is ready when it has generated, and healthy while its engine lives."""

    def __init__(self, settings: AppSettings) -> None:
        listen_on_own_address()
        self._settings = settings
        self._engine = build_engine(_local_folder(settings.model_dir), settings.engine)
        self._engine.warm_up()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve asks for the application once the replica is made."""
        return build_asgi(self._engine, self._settings)

    def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        self._engine.check()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.stop()


def build_application(settings: AppSettings) -> serve.Application:
    """The application to run; replicas import this package, and inherit the job's runtime environment."""
    ingress = serve.ingress()(Replica)
    deployment = serve.deployment(
        ingress,
        name="replica",
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        autoscaling_config=_autoscaling(settings),
        health_check_period_s=5,
        health_check_timeout_s=patience(30).seconds,
        graceful_shutdown_wait_loop_s=1,
        max_constructor_retry_count=1,
        max_surge_percent=_SURGE_PERCENT,
    )
    return deployment.bind(settings)


def _local_folder(model_dir: str) -> Path:
    """The model's folder on this node: the one named, or a copy of what lies in an object store."""
    if "://" not in model_dir:
        return Path(model_dir)
    return Storage.open(model_dir).download("", scratch_of_process("model"))


def _autoscaling(settings: AppSettings) -> AutoscalingConfig:
    """Scales up within seconds and down after minutes; Serve's own delays are 30 s and 600 s."""
    return AutoscalingConfig(
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        target_ongoing_requests=settings.target_ongoing_requests,
        metrics_interval_s=0.5,
        look_back_period_s=2,
        upscale_delay_s=0.5,
        downscale_delay_s=120,
    )
