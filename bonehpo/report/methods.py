"""Methods of a study for a paper: sentences with its numbers, a checklist for reporting, references.

References:
    Collins et al., TRIPOD+AI, BMJ 385:e078378 (2024), doi:10.1136/bmj-2023-078378.
    Kapoor et al., REFORMS, Science Advances 10:eadk3452 (2024), doi:10.1126/sciadv.adk3452.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bonehpo.config import StudyConfig
from bonehpo.hyperparameters import in_words
from bonehpo.scans.sections import crop_in_words
from bonehpo.search.recorder import StudyRecord
from bonehpo.search.summary import StudySummary
from bonehpo.store.recipe import Recipe
from bonehpo.task import DAMAGE, task_named


@dataclass(frozen=True, kw_only=True)
class Described:
    """A study as its methods are described.

    Attributes:
        study: Its trials and estimates.
        record: Code, versions, sets.
        config: Settings.
        recipe: Preparation of its slices.
        states: Load states of its scans.
        results: Names of the results that there are.
    """

    study: StudySummary
    record: StudyRecord
    config: StudyConfig
    recipe: Recipe
    states: Sequence[int]
    results: Sequence[str]


class Item(NamedTuple):
    """An item of a checklist: what is asked, and what the study answers; empty where the authors must."""

    asked: str
    answer: str


def paragraphs(of: Described) -> tuple[str, ...]:
    """The methods in sentences: slices, networks, evaluation, software."""
    return (_slices(of), _networks(of), _evaluation(of), _software(of))


def _slices(of: Described) -> str:
    recipe, n = of.recipe, of.record.n_sets
    what = "Synthetic micro-CT scans (phantoms)" if of.study.ran_on == "phantom" else "Micro-CT scans"
    voxel = f" (voxel side {recipe.voxel_um:g} µm)" if recipe.voxel_um else ""
    steps = [f"cropped to {crop_in_words(recipe.crop)}"] if recipe.crop else []
    steps += [f"matched in {_MATCHED[recipe.matching]} to the pristine scan {recipe.reference}"] if recipe.match else []
    steps += ["filtered with a 3 × 3 × 3 median"] if recipe.median else []
    done = f" were {', '.join(steps)}, and" if steps else " were"
    unmatched = "" if recipe.match else "Intensities were not matched. "
    standard = ", each given the same mean and standard deviation of intensity" if recipe.standardise else ""
    labelled = (
        "Slices of the first load state of each specimen were labelled pristine and those of its last failed"
        if of.study.task == DAMAGE.name
        else "Slices of all load states were labelled with the apparent strain of their scan"
    )
    units = _UNITS.get(of.study.split, "sets of (specimen, plane) groups")
    return (
        f"{what} of {of.study.bone} bone from {n} {units} at {len(of.states)} load states{voxel}{done} cut into "
        f"{recipe.n_slices} evenly spaced slices in each of the planes {', '.join(recipe.planes)}, of {recipe.side} × "
        f"{recipe.side} pixels and 256 intensity levels{standard}. {unmatched}{labelled} "
        f"({sum(of.record.n_images.values()):,} images)."
    )


_UNITS = {"specimen": "specimens", "donor": "donors"}

_MATCHED = {"histogram": "histogram", "phases": "intensity, linearly by their darkest pores and their bone,"}


def _networks(of: Described) -> str:
    training, search = of.config.training, of.config.search
    space = "; ".join(f"{name.replace('_', ' ')} {values}" for name, values in of.record.space.items())
    ways = ["random left-right flips"] if training.flip else []
    ways += [f"random shear of up to {training.shear_deg:g}°"] if training.shear_deg else []
    augmented = f", with {' and '.join(ways)}" if ways else ""
    n, stopped = len(of.study.trials), sum(row.state == "stopped" for row in of.study.trials)
    again = (
        f"; fits that never learnt were offered other seeds, at most {training.restarts}" if training.restarts else ""
    )
    early = f", of which {stopped} were stopped early" if stopped else ""
    return (
        "Convolutional networks (blocks of convolution, ReLU and 2 × 2 maximum pooling, then two dense layers [1]) were "
        f"trained with Adam for {training.epochs} epochs{augmented}{again}. Their hyperparameters were searched over {n} "
        f"trials{early} ({search.sampler} sampler of Optuna, seed {search.seed}): {space}. The first trial was "
        f"{in_words(of.config.baseline)}."
    )


def _evaluation(of: Described) -> str:
    study, measure = of.study, task_named(of.study.task).measure
    n = of.record.n_sets
    how = (
        f"Every trial was scored by cross-validation over all {n * (n - 1)} ordered pairs of a test and a validation set "
        f"({n} sets). One network, trained on the other sets, serves both orders of a pair."
    )
    found = study.estimates
    if found is None:
        return how
    low, high = measure.span(found.nested_score_worse_end, found.nested_score_better_end)
    next_low, next_high = measure.span(found.next_score_worse_end, found.next_score_better_end)
    best, unit = study.row(found.trial), measure.unit
    return (
        f"{how} The best trial ({in_words(best.hyperparameters)}; {best.n_parameters:,} parameters) had a mean test "
        f"{measure.noun} of {abs(found.apparent_score):.3f} ± {found.sd:.3f}{unit} (sd over {found.n_folds} folds). As the "
        f"search chose it by these scores, we report the nested {measure.noun}, in which the trial is chosen without the "
        f"set under test: {abs(found.nested_score):.3f}{unit} (95 % interval over n = {len(found.nested_score_by_set)} sets "
        f"{low:.3f} to {high:.3f}, approximate; 95 % prediction interval for one more set "
        f"{next_low:.3f} to {next_high:.3f})."
    )


def _software(of: Described) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in of.record.versions.items())
    commit = of.record.git_commit[:12] or "unknown"
    return f"Software: bonehpo [2], commit {commit} ({versions}); slice store {of.study.store_id[:12]}."


def checklist(of: Described) -> tuple[Item, ...]:
    """Items of TRIPOD+AI and REFORMS that concern such a study."""
    study, found = of.study, of.study.estimates
    measured = task_named(study.task).measure
    number = (
        "" if found is None else f"nested {measured.noun} {abs(found.nested_score):.3f}, n = {of.record.n_sets} sets"
    )
    audited = "audit" in of.results
    return (
        Item("Question, and use that is meant", ""),
        Item("Where specimens and scans come from, ethics", ""),
        Item(
            "Number of independent units",
            f"{of.record.n_sets} sets; slices are not independent",
        ),
        Item("Several samples of one donor kept together", "each set is a donor" if study.split == "donor" else ""),
        Item(
            "Outcome and how it was labelled",
            "first load state pristine, last failed" if study.task == DAMAGE.name else "apparent strain of the table",
        ),
        Item("Preparation of the data", "recipe in the slice store; see the paragraph"),
        Item("Missing data", "scans that lack voxels are refused, or told in the notes of the store"),
        Item(
            "Model, hyperparameters and how they were chosen",
            f"{len(study.trials)} trials, {of.record.sampler}, {study.protocol} protocol",
        ),
        Item(
            "Separation of training and test data, leakage",
            "looked for by content and by the bone shown" if "leakage" in of.results else "",
        ),
        Item("Performance with its uncertainty", number),
        Item(
            "Comparison with simpler models",
            "models that see no damage, on the same folds" if audited else "",
        ),
        Item("Calibration", "reliability and Brier score" if "calibration" in of.results else ""),
        Item("What the model looks at", "Grad-CAM with checks" if "grad-cam" in of.results else ""),
        Item("Validation on new specimens", ""),
        Item("Code, data and model to be had", ""),
    )


def methods_page(of: Described) -> str:
    """The paragraphs, the checklist and the references as Markdown."""
    text = "\n\n".join(paragraphs(of))
    items = "\n".join(
        f"- [{'x' if item.answer else ' '}] {item.asked}: {item.answer or '**open, for the authors**'}"
        for item in checklist(of)
    )
    warning = (
        "**Phantoms: these numbers are of the software, and say nothing about bone.**\n\n"
        if of.study.ran_on == "phantom"
        else ""
    )
    return f"""# Methods of study {of.study.name}

{warning}{text}

## Checklist for reporting

What TRIPOD+AI (doi:10.1136/bmj-2023-078378) and REFORMS (doi:10.1126/sciadv.adk3452) ask of such a study, in short; ticked
where the study itself answers. Their own lists have more.

{items}

## References

[1] Shen S. C., Peña Fernández M., Tozzi G., Buehler M. J. Deep learning approach to assess damage mechanics of bone tissue.
J. Mech. Behav. Biomed. Mater. 123, 104761 (2021), doi:10.1016/j.jmbbm.2021.104761.

[2] bonehpo {of.record.versions.get("bonehpo", "")}: nested-cross-validated architecture search for damage classification in
micro-CT images of bone.

As BibTeX: references.bib.
"""


def references_bib(version: str, year: int) -> str:
    """BibTeX of the paper and of bonehpo.

    Args:
        version: Of bonehpo.
        year: In which it was used.
    """
    return f"""@article{{shen2021deep,
  title   = {{Deep learning approach to assess damage mechanics of bone tissue}},
  author  = {{Shen, Sabrina Chin-yun and Pe{{\\~n}}a Fern{{\\'a}}ndez, Marta and Tozzi, Gianluca and Buehler, Markus J.}},
  journal = {{Journal of the Mechanical Behavior of Biomedical Materials}},
  volume  = {{123}},
  pages   = {{104761}},
  year    = {{2021}},
  doi     = {{10.1016/j.jmbbm.2021.104761}},
}}

@software{{bonehpo,
  title   = {{bonehpo: nested-cross-validated architecture search for damage classification in micro-{{CT}} images of bone}},
  author  = {{{{The bonehpo maintainers}}}},
  version = {{{version}}},
  year    = {{{year}}},
}}
"""
