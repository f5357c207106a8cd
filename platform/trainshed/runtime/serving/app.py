"""The endpoint as a Ray Serve application: every replica holds one engine and answers HTTP for it."""

from __future__ import annotations

from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from starlette.types import ASGIApp

from trainshed.errors import PlatformError
from trainshed.patience import patience
from trainshed.runtime.scratch import scratch
from trainshed.runtime.serving.engines import build_engine
from trainshed.runtime.serving.own_address import listen_on_own_address
from trainshed.runtime.serving.refusal import BUSY_RETRY_S
from trainshed.runtime.serving.routes import build_asgi
from trainshed.runtime.serving.settings import AppSettings

__all__ = ["AppSettings", "Replica", "build_application"]

DEPLOYMENT = "replica"
"""The name of an application's one deployment."""

_SURGE_PERCENT = 25
"""Replicas over the target while a new version takes over, one at least: an old one stops only when a new one is
ready. Serve's default of 0 stops the old ones first, and a version that cannot start leaves nothing that answers."""


class Replica:
    """One copy of the model. It is ready when it has generated, and healthy while its engine lives."""

    def __init__(self, settings: AppSettings) -> None:
        listen_on_own_address()
        self._settings = settings
        with scratch("model") as folder:
            try:
                self._engine = build_engine(settings.files.copy_to(folder), settings.engine)
            except PlatformError as error:  # of the copy, which nobody can look at any more
                raise PlatformError(str(error).replace(str(folder), settings.model_dir)) from error
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
        name=DEPLOYMENT,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        backpressure_config=BackpressureConfig(retry_after_s=BUSY_RETRY_S),
        autoscaling_config=_autoscaling(settings),
        health_check_period_s=5,
        health_check_timeout_s=patience(30).seconds,
        graceful_shutdown_wait_loop_s=1,
        max_constructor_retry_count=1,
        max_surge_percent=_SURGE_PERCENT,
    )
    return deployment.bind(settings)


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
