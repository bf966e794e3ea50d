"""The next step on a study: one table, from what was found to what follows from it.

Commands end with a line of it. Promotion is advised only where its gate is open.
"""

from collections.abc import Callable
from typing import NamedTuple

from bonehpo.results.audit import NAME as AUDIT
from bonehpo.results.heat_maps import NAME as HEAT_MAPS
from bonehpo.results.specimens import NAME as SPECIMENS
from bonehpo.workflow.standing import Standing


class NextStep(NamedTuple):
    """A step, and the finding that it follows from.

    Attributes:
        finding: In a word or two.
        command: To type; {study} stands for how a command names it, {name} for its name, {n} for its trials.
        why: What it is good for, in a few words.
    """

    finding: str
    command: str
    why: str


class _Row(NamedTuple):
    holds: Callable[[Standing], bool]
    step: NextStep
    done: tuple[str, ...] = ()
    """Commands after which this is no news."""


TABLE: tuple[_Row, ...] = (
    _Row(
        lambda s: not s.has_store,
        NextStep("no slices", "bonehpo prepare SCANS.csv {study}", "cuts the scans into slices"),
    ),
    _Row(
        lambda s: bool(s.leaks),
        NextStep(
            "sets share bone",
            "bonehpo prepare SCANS.csv {study} --overwrite",
            "after scans that two sets share are out",
        ),
        done=("prepare",),
    ),
    _Row(
        lambda s: s.n_trials == 0 and SPECIMENS not in s.results,
        NextStep("not looked at", "bonehpo inspect {study}", "shows what is in the store"),
        done=("inspect",),
    ),
    _Row(lambda s: s.n_trials == 0, NextStep("no trial", "bonehpo search {study} --trials 50", "searches the network")),
    _Row(
        lambda s: s.n_complete == 0 and s.n_failed == s.n_trials,
        NextStep("every trial failed", "bonehpo show {study}", "says why"),
        done=("show", "search"),
    ),
    _Row(
        lambda s: s.n_complete == 0 and s.n_failed == s.n_trials,
        NextStep(
            "every trial failed", "bonehpo search --bone NEW --trials 50", "with lower learning rates in its study.toml"
        ),
    ),
    _Row(
        lambda s: not s.has_optimum,
        NextStep("no optimum", "bonehpo search {study} --trials {n}", "goes on, and fits the optimum again"),
    ),
    _Row(
        lambda s: s.is_at_chance and HEAT_MAPS not in s.results,
        NextStep("at chance", "bonehpo explain {study}", "shows what the network looks at: its accuracy may be chance"),
        done=("explain",),
    ),
    _Row(
        lambda s: s.is_at_chance,
        NextStep(
            "at chance",
            "bonehpo search --bone NEW --trials {n}",
            "trains longer, with more epochs in its study.toml: the accuracy may be chance",
        ),
    ),
    _Row(
        lambda s: bool(s.shortcuts),
        NextStep("flagged", "bonehpo audit {study}", "a model that sees no damage comes near: where do scans differ?"),
        done=("audit",),
    ),
    _Row(
        lambda s: bool(s.shortcuts) and not s.is_standardised,
        NextStep(
            "flagged", "bonehpo prepare SCANS.csv --bone NEW --standardise", "takes level and contrast from each slice"
        ),
    ),
    _Row(
        lambda s: bool(s.shortcuts),
        NextStep("flagged", "bonehpo inspect {study}", "shows by what pristine and failed scans differ"),
        done=("inspect",),
    ),
    _Row(
        lambda s: s.is_promotable and AUDIT not in s.results,
        NextStep("not audited", "bonehpo audit {study}", "asks whether a model that sees no damage does as well"),
    ),
    _Row(
        lambda s: bool(s.objections) and not s.shortcuts,
        NextStep(
            "the search has not paid", "bonehpo search {study} --trials {more}", "tries more: the baseline does as well"
        ),
    ),
    _Row(
        lambda s: s.is_promotable and HEAT_MAPS not in s.results,
        NextStep(
            "not explained", "bonehpo explain {study}", "shows what the network looks at, and from which state on"
        ),
    ),
    _Row(
        lambda s: not s.has_report,
        NextStep("no report", "bonehpo report {study}", "puts everything on one page"),
        done=("report",),
    ),
    _Row(
        lambda s: s.is_promotable and not s.objections,
        NextStep("good", "bonehpo promote {study}", "registers the network"),
        done=("promote", "predict"),
    ),
    _Row(
        lambda s: s.is_promotable and not s.objections,
        NextStep("promoted", "bonehpo predict {study} SCAN", "judges a new scan"),
        done=("predict",),
    ),
    _Row(lambda _: True, NextStep("done", "bonehpo ui --bone {name}", "compares runs")),
)
"""From the first row that holds follows the next step."""


def next_step(standing: Standing, study: str, name: str, after: str = "") -> NextStep:
    """The step that follows from the standing of a study.

    Args:
        standing: Of the study.
        study: How a command names it, `--bone TB`.
        name: Its name.
        after: The command that has just ended; it is not advised again.
    """
    step = next(row.step for row in TABLE if row.holds(standing) and after not in row.done)
    n = max(standing.n_trials, 1)
    return step._replace(command=step.command.format(study=study, name=name, n=n, more=2 * n))
