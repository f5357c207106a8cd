"""report.html: one file with everything in it, for a browser without a network."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence

from jinja2 import Environment

from trainshed.record.ranking import rank_of
from trainshed.record.results import Used
from trainshed.record.run import Record, now
from trainshed.record.trial_facts import EndedBy, TrialResult, TrialState
from trainshed.runtime.tuning.report.scales import scale_of
from trainshed.spec.sweep.tune import TuneJob

WHY = {
    EndedBy.ASHA: "too far behind the others that came as far (asha)",
    EndedBy.HYPERBAND: "too far behind the others of its bracket that came as far (hyperband)",
    EndedBy.MEDIAN: "its best was worse than the median of the others so far (median)",
}
"""What `by` of a trial that ended early means; a limit of the budget is in words already."""
OWN_WORDS = {EndedBy.ITSELF: "its validation loss no longer fell (regularization.early_stopping)"}
"""What `by` means of one that came to its own end before its last step."""

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ job.name }}: sweep</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2833; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; } img { max-width: 100%; height: auto; }
code, pre { font-family: ui-monospace, monospace; background: #f2f4f6; padding: .1rem .3rem; }
pre { padding: .8rem; overflow-x: auto; } .note { color: #5d6d7e; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; } td, th { padding: .25rem .7rem; text-align: right; }
th, td:first-child { text-align: left; } td:first-child { white-space: nowrap; }
tr.best { background: #dbe7f3; font-weight: 600; }
tr:nth-child(even):not(.best) { background: #f7f9fa; } td.why { text-align: left; color: #5d6d7e; }
</style></head><body>
<h1>{{ job.name }}</h1>
<p class="note">sweep {{ run_id }}, report of {{ written }}</p>
<p>Best of {{ trials|length }} trials: <b>{{ best.trial }}</b>, {{ job.metric }} <b>{{ "%.4f"|format(best.value) }}</b>
 ({{ settings(best) }}).<br>
{% if refused %}Left out: {{ refused }}.<br>{% endif %}
{% if limit %}It ended at a limit: {{ limit }}; the best so far is kept.<br>{% endif %}
Spent: {{ "%.2f"|format(spent.hours) }} hours, {{ "%.2f"|format(spent.device_hours) }} device-hours
{%- if cost is not none %}, {{ job.budget.money_text(cost) }} at {{ "%.4g"|format(job.budget.price) }} for a device-hour
{%- if job.budget.price_from %} ({{ job.budget.price_from }}){% endif %}{% endif %}.</p>
<p>{% for state, count in states %}{{ count }} {{ state }}{{ ", " if not loop.last }}{% endfor %}.
{%- if stopped %} The trials that ended early left out {{ spared }} of {{ planned }} optimizer steps.{% endif %}</p>
<h2>How to go on</h2>
<p>Train the best settings again, from this job file:</p>
<pre>platform submit {{ best_file }}</pre>
<p>Or write a train document that says <code>from_best: run://{{ run_id }}</code>, and changes what it likes.</p>
{% for title, image, why in pictures %}
<h2>{{ title }}</h2>
{% if image %}<img alt="{{ title }}" src="data:image/png;base64,{{ image }}">
{% else %}<p class="note">Not drawn: {{ why }}.</p>{% endif %}
{% endfor %}
{% if causes %}<h2>What failed</h2><ul>
{% for (kind, cause), count in causes %}<li>{{ count }} &times; {{ kind }}: {{ cause }}</li>{% endfor %}</ul>{% endif %}
{% if stopped %}<h2>What was stopped, when and why</h2><ul>
{% for trial in stopped %}<li>{{ trial.trial }} at step {{ trial.step }}
{%- if trial.value is not none %}, {{ job.metric }} {{ "%.4f"|format(trial.value) }}{% endif %}: {{ why(trial) }}</li>
{% endfor %}</ul>{% endif %}
<h2>All trials</h2><div class="wide"><table>
<tr><th>trial</th><th>state</th><th>step</th><th>{{ job.metric }}</th>
{% for path in paths %}<th>{{ path }}</th>{% endfor %}
<th>device-minutes</th><th>why it ended</th></tr>
{% for trial in ranked %}<tr{% if trial.trial == best.trial %} class="best"{% endif %}><td>{{ trial.trial }}</td>
<td>{{ trial.state }}</td><td>{{ trial.step }}</td>
<td>{{ "%.4f"|format(trial.value) if trial.value is not none else "" }}</td>
{% for path in paths %}
<td>{{ scales[path].name(trial.settings[path]) if path in trial.settings else "" }}</td>{% endfor %}
<td>{{ "%.1f"|format(trial.device_s / 60) if trial.device_s is not none else "" }}</td>
<td class="why">{{ trial.cause or own_words.get(trial.by) or trial.by or "" }}
{% for taken in trial.took_over %} took over {{ taken.source }} at step {{ taken.step }}{% endfor %}</td></tr>
{% endfor %}</table></div></body></html>
""")


def page(
    record: Record,
    job: TuneJob,
    trials: Sequence[TrialResult],
    best: TrialResult,
    pictures: Sequence[tuple[str, bytes | None, str]],
    *,
    spent: Used,
    limit: str | None,
    refused: str,
) -> str:
    """The page; whatever a trial said is escaped."""
    ranked = sorted(trials, key=lambda one: rank_of(job, one.state, one.value))
    failed = Counter((one.kind, one.cause) for one in trials if one.cause)
    scales = {path: scale_of(values) for path, values in job.space.items()}
    whole = job.steps_of_a_trial
    stopped = [one for one in trials if one.state in (TrialState.EARLY, TrialState.CUT)]
    return PAGE.render(
        job=job,
        run_id=record.run_id,
        written=now(),
        trials=trials,
        ranked=ranked,
        best=best,
        paths=list(job.space),
        pictures=[(title, base64.b64encode(png).decode() if png else None, why) for title, png, why in pictures],
        causes=failed.most_common(),
        states=Counter(one.state for one in trials).most_common(),
        spent=spent,
        cost=job.budget.cost(spent.device_hours),
        limit=limit,
        refused=refused,
        best_file=record.storage.address(record.at("best.yaml")),
        scales=scales,
        stopped=stopped,
        spared=f"{whole * len(stopped) - sum(one.step for one in stopped):,}",
        planned=f"{whole * len(trials):,}",
        own_words=OWN_WORDS,
        why=_why,
        settings=lambda one: ", ".join(f"{path} {scales[path].name(value)}" for path, value in one.settings.items()),
    )


def _why(trial: TrialResult) -> str:
    """Why a trial ended early."""
    if trial.by is None:
        return "the sweep had ended"
    return WHY[trial.by] if isinstance(trial.by, EndedBy) and trial.by in WHY else trial.by
