"""What stands around Serve's own proxy. The proxy loads `middlewares` by name, so nothing heavy is imported here."""

from __future__ import annotations

from starlette.middleware import Middleware

from trainshed.runtime.serving.proxy_errors import ProxyErrors
from trainshed.runtime.serving.proxy_health import KnownHealth

PROXY_VARIABLES = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}.middlewares"}
"""What the proxy's process must find in its environment."""


def middlewares() -> list[Middleware]:
    """What Serve puts around its proxy, innermost first."""
    return [Middleware(ProxyErrors), Middleware(KnownHealth)]
