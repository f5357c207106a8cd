"""report.html of an evaluation: one file with everything in it, for a browser without a network.

Whatever comes from data, a model or a job file is escaped: an answer may hold any text.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment

from trainshed.record.evaluation import EvaluationResult

SHOWN_ANSWERS = 20
SHOWN_CHARACTERS = 600

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ name }}: evaluation of {{ result.model }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2833; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; } img { max-width: 100%; height: auto; }
.note { color: #5d6d7e; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; } td, th { padding: .25rem .7rem; text-align: right; }
th, td:first-child { text-align: left; } tr:nth-child(even) { background: #f7f9fa; }
.verdict { border-left: .4rem solid; padding: .5rem 1rem; background: #f7f9fa; }
.passed { border-color: #1e8449; } .failed { border-color: #b03a2e; }
table.answers td { text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere; }
table.answers { width: 100%; table-layout: fixed; } code { font-family: ui-monospace, monospace; font-size: .85rem; }
</style></head><body>
<h1>{{ name }}</h1>
<p class="note">evaluation {{ run_id }}, report of {{ written }}</p>
<p><b>{{ result.model }}</b> on {{ "{:,}".format(result.samples) }} samples of the {{ result.split }} split of
 {{ result.data }}.</p>
{% if result.verdict %}
<div class="verdict {{ "passed" if result.verdict.passed else "failed" }}">
<b>{{ "Passed" if result.verdict.passed else "Failed" }}</b> its gate
 ({% for key, value in result.verdict.require.items() if value is not none %}{{ key }} {{ value }}
{{- ", " if not loop.last }}{% endfor %}).
{% if result.registered %} It became {{ result.registered }}.{% endif %}
{% if result.promoted %} The alias {{ result.promoted }} points at it.{% endif %}
{% if result.verdict.reasons %}<ul>{% for reason in result.verdict.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>
{% endif %}</div>{% endif %}
<h2>Figures</h2>
<div class="wide"><table><tr><th>metric</th><th>value</th><th>{{ percent }} interval</th>
{% if result.against %}<th>{{ result.against }}</th><th>{{ percent }} interval of the difference</th>{% endif %}</tr>
{% for metric, one in result.metrics.items() %}<tr><td>{{ metric.replace("_", " ") }}</td>
<td>{{ digits(one.value) }}</td><td>{{ span(one.interval) }}</td>
{% if result.against %}<td>{{ digits(one.other) }}</td><td>{{ span(one.difference) }}</td>{% endif %}</tr>
{% endfor %}</table></div>
<p class="note">Intervals: percentiles of a bootstrap over samples. A figure at the end of its range, such as an
 accuracy of 1, has an interval of no width: it says nothing of samples that are not here.</p>
{% for metric, signature in result.signatures.items() %}
<p class="note">{{ metric }}: <code>{{ signature }}</code></p>{% endfor %}
<h2>Leakage</h2>
{% if result.overlap %}
<p>{{ "{:,}".format(result.overlap.overlapping) }} of {{ "{:,}".format(result.overlap.samples) }} samples
 ({{ "%.1f"|format(100 * result.overlap.share) }} %) share a run of {{ result.overlap.ngram }} tokens with the training
 split of {{ result.overlap.training_data }}; {{ "%.2f"|format(100 * result.overlap.run_share) }} % of all their runs
 stand in it.</p>{% else %}<p class="note">Not compared with a training set.</p>{% endif %}
{% for remark in result.remarks %}<p class="note">{{ remark }}</p>{% endfor %}
{% for title, image in pictures %}
<h2>{{ title }}</h2><img alt="{{ title }}" src="data:image/png;base64,{{ image }}">
{% endfor %}
{% if answers %}<h2>Answers</h2>
<p class="note">The first {{ answers|length }} of {{ result.answered }}.</p>
<table class="answers"><tr><th>prompt</th><th>the model says</th><th>the data has</th></tr>
{% for one in answers %}<tr><td>{{ cut(one.prompt) }}</td><td>{{ cut(one.said) }}</td><td>{{ cut(one.truth) }}</td></tr>
{% endfor %}</table>{% endif %}
</body></html>
""")


@dataclass(frozen=True)
class Answer:
    """A prompt, what the model generated, and what the data has."""

    prompt: str
    said: str
    truth: str


def page(
    result: EvaluationResult,
    *,
    name: str,
    run_id: str,
    written: str,
    pictures: Sequence[tuple[str, bytes]],
    answers: Sequence[Answer],
) -> str:
    """The page; `written` is when."""
    return PAGE.render(
        result=result,
        name=name,
        run_id=run_id,
        written=written,
        percent=f"{100 * result.confidence:g} %",
        pictures=[(title, base64.b64encode(png).decode()) for title, png in pictures],
        answers=answers[:SHOWN_ANSWERS],
        digits=_digits,
        span=_span,
        cut=_cut,
    )


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _span(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"
