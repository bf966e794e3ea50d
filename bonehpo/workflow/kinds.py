"""Every kind of result, in the order of the page: its entry says how it is made, drawn, told and asked for.

A new one needs a module in `results`, a drawing function in `report.figures`, and an entry; docs/how-to/add-a-result.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bonehpo.analysis.interventions import shares_by_set
from bonehpo.errors import StudyError
from bonehpo.learning.backbones import BACKBONES, RESNET50, Backbone
from bonehpo.report.figures.best_fold import architecture_figure, best_fold_figure, calibration_figure
from bonehpo.report.figures.comparisons import (
    ablation_figure,
    audit_figure,
    by_plane_figure,
    compare_detection_figure,
    compare_figure,
    mixed_figure,
)
from bonehpo.report.figures.detection import best_fold_detection_figure, detection_figure, limit_slices_figure
from bonehpo.report.figures.heat_maps import checks_figure, classes_figure, states_figure
from bonehpo.report.figures.scans import middle_slices_figure, specimens_figure, stress_strain_figure
from bonehpo.report.figures.strain import strain_figure, strain_maps_figure
from bonehpo.report.figures.studies import sweep_figure
from bonehpo.results import (
    ablation,
    audit,
    best_fold,
    by_plane,
    compare,
    detection,
    heat_maps,
    leakage,
    slice_wise,
    specimens,
    strain,
    sweep,
    validity,
)
from bonehpo.results.kind import FromOptimum, FromPlan, Printed, ResultKind, ResultOptions
from bonehpo.store.images import open_expected
from bonehpo.task import DAMAGE, STRAIN


def _scans(options: ResultOptions) -> Path:
    if options.scans is None:
        raise StudyError("the ablation prepares the scans again: name their table, SCANS.csv")
    return options.scans


def _compare(backbone: Backbone) -> ResultKind:
    """The comparison with a backbone. That of the paper is a step of `reproduce`, and missed where there is none."""
    published = backbone == RESNET50
    kind = ResultKind(
        name=compare.compare_name(backbone),
        level="comparison",
        heading=f"Beside {backbone.label}",
        command="compare" if published else f"compare --backbone {backbone.name}",
        paper="Figs 8, 9" if published else None,
        made=FromOptimum(
            address=lambda study, options: compare.compare_address(study, options.weights, backbone),
            run=lambda study, options, engine, progress: compare.run_compare(
                study, options.weights, engine, progress, backbone
            ),
        ),
        options=("weights",),
        is_step=published,
        figures=(compare_figure, compare_detection_figure),
        tables={
            "configurations": Printed("Accuracy of each network"),
            "tests": Printed("Differences over test sets, sign-flip test"),
        },
        options_of=compare.weights_option,
    )
    return kind if published else replace(kind, is_wanted=lambda _: False)


_KINDS = (
    ResultKind(
        name=specimens.NAME,
        level="explanation",
        heading="The specimens",
        command="inspect",
        paper="Figs 1, 2",
        made=FromPlan(
            address=lambda plan: specimens.specimens_address(plan.store_id),
            run=lambda plan, _: specimens.specimens_result(
                open_expected(plan.folder.store, plan.store_id), plan.folder.name
            ),
        ),
        tasks=(DAMAGE.name, STRAIN.name),
        is_step=False,
        store_figures=(specimens_figure, stress_strain_figure, middle_slices_figure),
        tables={"scans": Printed("Measures of the pristine specimens", specimens.pristine_scans)},
        is_wanted=lambda _: True,
    ),
    ResultKind(
        name=leakage.NAME,
        level="explanation",
        heading="Leaks between sets",
        command="audit --leakage",
        also_by=("search",),
        paper=None,
        made=FromPlan(address=leakage.leakage_address, run=leakage.leakage_result),
        tasks=(DAMAGE.name, STRAIN.name),
        is_step=False,
        tables={
            "checks": Printed("What was asked of the slice store"),
            "near-duplicates": Printed("Slices that show the same"),
        },
        question="whether a held-out slice is, or shows the bone of, one that networks were trained on",
    ),
    ResultKind(
        name=sweep.NAME,
        level="comparison",
        heading="One hyperparameter at a time",
        command="sweep",
        paper="Fig 3",
        made=FromOptimum.alone(sweep.sweep_address, sweep.run_sweep),
        figures=(sweep_figure,),
        tables={
            "combinations": Printed("Combinations that were fitted after the sweep"),
            "optima": Printed("Optima of sweep and search"),
        },
    ),
    ResultKind(
        name=best_fold.BEST_FOLD,
        level="explanation",
        heading="The network of the best fold",
        command="explain",
        paper="Fig 4",
        made=FromOptimum.alone(best_fold.best_fold_address, best_fold.run_best_fold),
        figures=(architecture_figure, best_fold_figure),
        tables={"layers": Printed("Layers of the network")},
    ),
    ResultKind(
        name=heat_maps.NAME,
        level="explanation",
        heading="What the network looks at",
        command="explain",
        paper="Figs 5a, 6a, 7",
        made=FromOptimum.alone(heat_maps.heat_maps_address, heat_maps.run_heat_maps),
        figures=(classes_figure, states_figure, checks_figure),
        question="whether heat maps depend on what was learnt and, on phantoms, lie on the damage",
    ),
    ResultKind(
        name=detection.NAME,
        level="explanation",
        heading="From which load on damage is seen",
        command="explain",
        paper="Figs 5b, 5c, 6b, 6c",
        made=FromOptimum(
            address=lambda study, options: detection.detection_address(study, options.visible_from),
            run=lambda study, options, engine, progress: detection.run_detection(
                study, engine, progress, options.visible_from
            ),
        ),
        options=("visible_from",),
        figures=(best_fold_detection_figure, detection_figure, limit_slices_figure),
        tables={"limits": Printed("Detection limits; strain as a fraction")},
        question="whether loaded bone is told from pristine bone before there is damage",
        options_of=detection.visible_option,
    ),
    ResultKind(
        name=audit.NAME,
        level="explanation",
        heading="Models that cannot see a crack",
        command="audit",
        also_by=("explain",),
        paper=None,
        made=FromOptimum(
            address=lambda study, options: audit.audit_address(study, options.visible_from),
            run=lambda study, options, engine, progress: audit.run_audit(study, engine, progress, options.visible_from),
        ),
        options=("visible_from",),
        figures=(audit_figure,),
        tables={
            "models": Printed(
                "The network and the models beside it; differences from the network over test sets", audit.asked_models
            ),
            "exchanged": Printed(
                "Failed less pristine slices, and the share of it that moves with undamaged parts", shares_by_set
            ),
        },
        question="how far models come that cannot see a crack",
    ),
    ResultKind(
        name=validity.PERMUTATION,
        level="explanation",
        heading="The same on labels that mean nothing",
        command="audit --permutation",
        paper=None,
        made=FromOptimum.alone(validity.permutation_address, validity.run_permutation),
        is_step=False,
        tables={
            "trials": Printed("Candidates on permuted labels"),
            "sets": Printed("For each test set the candidate that is chosen without it"),
        },
        question="what the procedure finds in labels that mean nothing",
    ),
    ResultKind(
        name=slice_wise.NAME,
        level="comparison",
        heading="What a leak is worth",
        command="audit --slice-wise",
        paper=None,
        made=FromOptimum.alone(slice_wise.slice_wise_address, slice_wise.run_slice_wise),
        is_step=False,
        tables={
            "splits": Printed("Accuracy of the optimum's hyperparameters in both splits"),
            "sets": Printed("Slices of each set, by networks that know its other slices and by networks that do not"),
        },
        is_wanted=lambda _: False,
    ),
    ResultKind(
        name=validity.PRUNING,
        level="explanation",
        heading="What pruning has lost",
        command="audit --pruned",
        paper=None,
        made=FromOptimum.alone(validity.pruning_address, validity.audit_pruning),
        tasks=(DAMAGE.name, STRAIN.name),
        is_step=False,
        tables={"trials": Printed("Stopped trials, finished")},
        is_wanted=lambda study: study.task == DAMAGE.name and study.pruned,
    ),
    ResultKind(
        name=by_plane.NAME,
        level="explanation",
        heading="Planes and classes",
        command="explain",
        paper=None,
        made=FromOptimum.alone(by_plane.by_plane_address, by_plane.run_by_plane),
        figures=(by_plane_figure,),
        tables={"planes": Printed("Accuracy by plane and class, over test sets")},
    ),
    ResultKind(
        name=best_fold.CALIBRATION,
        level="explanation",
        heading="Whether p(failed) is a probability",
        command="explain",
        paper=None,
        made=FromOptimum.alone(best_fold.calibration_address, best_fold.run_calibration),
        figures=(calibration_figure,),
        tables={"folds": Printed("Brier score of each fold")},
    ),
    ResultKind(
        name=compare.MIXED,
        level="comparison",
        heading="Mixed split",
        command="compare",
        paper="Table 1, §3.4",
        made=FromOptimum.alone(compare.mixed_address, compare.run_mixed),
        figures=(mixed_figure,),
        tables={"configurations": Printed("Accuracy in each split"), "sets": Printed("What each set holds")},
    ),
    *map(_compare, BACKBONES.values()),
    ResultKind(
        name=ablation.NAME,
        level="comparison",
        heading="What preparation is for",
        command="ablate SCANS.csv",
        paper="Appendix A",
        made=FromOptimum(
            address=lambda study, options: ablation.ablation_address(study, _scans(options), options.states),
            run=lambda study, options, engine, progress: ablation.run_ablation(
                study, _scans(options), engine, progress, options.states
            ),
        ),
        options=("scans",),
        figures=(ablation_figure,),
        tables={"separation": Printed("Lowest mean accuracy over all loaded states")},
        options_of=ablation.states_option,
        question="what networks learn from scans without histogram matching and filter",
    ),
    ResultKind(
        name=strain.NAME,
        level="comparison",
        heading="Strain read from slices",
        command="strain",
        paper="§4",
        made=FromOptimum.alone(strain.strain_address, strain.run_strain),
        tasks=(DAMAGE.name, STRAIN.name),
        figures=(strain_figure, strain_maps_figure),
        tables={
            "configurations": Printed("Mean absolute error"),
            "specimens": Printed("Mean absolute error on each test set"),
        },
    ),
)

RESULT_KINDS: Mapping[str, ResultKind] = {kind.name: kind for kind in _KINDS}
"""By name of the result."""

STEPS = ("search", *(kind.name for kind in _KINDS if kind.is_step), "report")
"""Steps of `reproduce`, in the order of the paper."""


def names_made_by(command: str) -> tuple[str, ...]:
    """Names of the results that a command makes without a flag that asks for another."""
    return tuple(kind.name for kind in _KINDS if command in kind.commands and f"{command} --" not in kind.command)
