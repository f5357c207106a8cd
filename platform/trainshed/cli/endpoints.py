"""The verbs about endpoints: list them, ask one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.show import ago, own_name, print_json, print_table, say

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from trainshed.record.facts import EndpointFacts

ASK_TIMEOUT_S = 120.0
HEALTH_TIMEOUT_S = 3.0
KeyOption = typer.Option(
    None, "--key", metavar="NAME", help="The key to show there. Default: the one that the endpoint was deployed with."
)
UrlOption = typer.Option(
    None, "--url", metavar="URL", help="With --key: the address that this key may go to, from now on without asking."
)


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(endpoints)
    app.command()(ask)


def endpoints(
    name: str | None = typer.Argument(
        None, help="One endpoint: how to ask it, and how to take it down.", show_default=False
    ),
    as_json: bool = context.JsonOption,
) -> None:
    """List deployed endpoints and whether they answer now; with a name, how to use that one.

    \b
    platform endpoints
    platform endpoints stdlib-complete
    """
    from trainshed.record.endpoints import all_endpoints, get_endpoint

    storage = context.storage()
    listed = all_endpoints(storage) if name is None else [get_endpoint(storage, name)]
    found = [(one, _answers(one.url)) for one in listed]
    causes = {one.name: _why_silent(one) for one, answers in found if not answers}
    if as_json:
        print_json([{**one.model_dump(), "answers": answers, "cause": causes.get(one.name)} for one, answers in found])
    elif name is not None:
        _print_how(*found[0])
    else:
        rows = [
            [one.name, one.url, one.model, "yes" if answers else "no", one.run_id, ago(one.deployed_at)]
            for one, answers in found
        ]
        print_table(
            ["ENDPOINT", "URL", "MODEL", "ANSWERS", "RUN", "DEPLOYED"],
            rows,
            empty="no endpoints yet; a serve job makes one",
        )
    for silent, cause in causes.items():
        if cause and not as_json:
            say(f"{silent} does not answer: {cause}")


def _why_silent(one: EndpointFacts) -> str | None:
    from trainshed.client.silence import why_silent  # the network: only where an endpoint is silent

    return why_silent(context.home(), context.storage(), one.name, one.run_id)


def _print_how(one: EndpointFacts, answers: bool) -> None:
    """Address, and the ways to ask again and to take it down, ready to paste: no part of them is more than a word."""
    from shlex import quote

    key = one.auth[0]
    url = f"{one.url}/v1"
    verb = own_name()
    made = f"\nwhat made it:  {verb} show {one.model_run}" if one.model_run else ""
    typer.echo(f"""{one.name} serves {one.model} at {url} ({"answers" if answers else "does not answer"} now)

its key:
  export {key}=$(cat {quote(f"{context.home()}/secrets/{key}")})

ask again:
  {verb} ask {one.name} "import os"

  curl {url}/completions -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\
    -d '{{"model": "{one.model}", "prompt": "import os", "max_tokens": 40}}'

  import os; from openai import OpenAI         # pip install openai
  client = OpenAI(base_url="{url}", api_key=os.environ["{key}"])
  client.completions.create(model="{one.model}", prompt="import os", max_tokens=40)
{made}
take it down:  {verb} stop {one.run_id}
end the local cluster:  {verb} cluster down""")


def ask(
    endpoint: str = typer.Argument(..., help="The endpoint's name.", show_default=False),
    text: str = typer.Argument(..., help="The text to complete.", show_default=False),
    max_tokens: int = typer.Option(64, "--max-tokens", min=1, help="Tokens to write at most."),
    temperature: float = typer.Option(0.0, "--temperature", min=0.0, help="0 takes the likeliest token each time."),
    key: str | None = KeyOption,
    url: str | None = UrlOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Ask an endpoint to complete a text; the answer streams as it is written.

    A key goes to the address that `submit` made it for, and nowhere else: storage, which others may write, cannot send
    it elsewhere. Where an endpoint lies on a cluster of your own, say so once, with --key and --url.

    \b
    platform ask stdlib-complete "def main("
    platform ask stdlib-complete "import os" --max-tokens 100 --temperature 0.7
    """
    from trainshed.errors import ClusterError
    from trainshed.record.endpoints import get_endpoint

    found = get_endpoint(context.storage(), endpoint)
    import httpx  # a name that does not exist does not pay for it

    value = _key_for(found, context.home(), key=key, url=url)
    question = {"model": found.model, "prompt": text, "max_tokens": max_tokens, "temperature": temperature}
    try:
        with _client(found.url, ASK_TIMEOUT_S, {"Authorization": f"Bearer {value}"}) as client:
            if as_json:
                answer = client.post("/v1/completions", json=question)
                _refuse_errors(answer)
                print_json(answer.json())
            else:
                _stream(client, question, text)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ClusterError(
            f"{endpoint} does not answer at {found.url}: {error}; `platform endpoints` shows which do"
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ClusterError(f"what answers at {found.url} is no endpoint ({type(error).__name__})") from None


def _key_for(found: EndpointFacts, home: Path, *, key: str | None, url: str | None) -> str:
    """The key that may be shown to this endpoint.

    Raises:
        UsageError: it was not made for the address that storage names, and the user has not said that it may go there.
    """
    from trainshed.errors import UsageError
    from trainshed.record.secrets import let_go_to, may_go_to, need_secret

    name = key or found.auth[0]
    if url is not None:
        if key is None or url.rstrip("/") != found.url:
            raise UsageError(f"--url {url}: the endpoint {found.name} is at {found.url}; give that, and --key NAME")
        value = need_secret(name, home)
        let_go_to(name, found.url, home)
        return value
    if not may_go_to(name, found.url, home):
        raise UsageError(
            f"{name} was not made here for {found.url}, which storage names as the address of {found.name}; "
            f"where that is the right one, say so: --key {name} --url {found.url}"
        )
    return need_secret(name, home)


def _stream(client: Any, question: dict[str, Any], prompt: str) -> None:
    import json

    typer.echo(prompt, nl=False)
    with client.stream("POST", "/v1/completions", json={**question, "stream": True}) as answer:
        _refuse_errors(answer)
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if line.startswith("data: ") and data != "[DONE]":
                chunk = json.loads(data)
                typer.echo("".join(choice["text"] for choice in chunk.get("choices", [])), nl=False)
    typer.echo("")


def _refuse_errors(answer: Any) -> None:
    from trainshed.errors import ClusterError

    if answer.status_code >= 400:
        answer.read()
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text.strip()[:300]
        raise ClusterError(f"{answer.url}: {answer.status_code}: {message}")


def _client(url: str, timeout_s: float, headers: dict[str, str] | None = None) -> httpx.Client:
    """Connections to one endpoint. The world's certificates take longer to load than most verbs: only for https."""
    import httpx

    return httpx.Client(
        base_url=url, headers=headers, timeout=timeout_s, trust_env=False, verify=url.startswith("https:")
    )


def _answers(url: str) -> bool:
    import httpx

    try:
        with _client(url, HEALTH_TIMEOUT_S, {"Cache-Control": "no-cache"}) as client:  # the replica itself
            return bool(client.get("/health").status_code == 200)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
