"""What the endpoint answers instead of text: a status and an error body in the shape of the OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

BUSY_RETRY_S = 1
"""When to ask again where others are being answered: their places come free all the time."""
REPLICA_RETRY_S = 5
"""When to ask again where a replica must be made anew."""


class Refusal(Exception):
    """A request that is answered with an error; `parameter` names the field at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        parameter: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """`retry_after_s` where the same request may be answered later."""
        super().__init__(message)
        self.status = status
        self.parameter = parameter
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """`{"error": {...}}`, as OpenAI clients expect it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.parameter, "code": self.code}}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """The same as an HTTP answer."""
        told = dict(headers or {})
        if self.retry_after_s is not None:
            told["Retry-After"] = str(self.retry_after_s)
        return JSONResponse(self.body, status_code=self.status, headers=told)
