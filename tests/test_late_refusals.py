"""Every refusal of the packages after ``data_prep``, and what it has to wait for.

A new ``raise UserError`` without an entry here fails the test: what settings and tables
decide is told before the first stage (``test_early``), and nothing else is told late.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("pretext", "transfer", "features", "stacking")
EARLY = "told before the first stage"
# What each refusal needs that settings and tables cannot give: by module, or by
# function where a module has several sorts. ``__post_init__`` is early by itself.
WHY: dict[str, tuple[str, ...]] = {
    EARLY: (
        *(
            "pretext.preflight",
            "pretext.names",
            "pretext.networks.trial",
            "transfer.networks.moving",
            "transfer.networks.columns",
            "pretext.ready_weights",
            "pretext.networks.fitting",
            "stacking.preflight",
        ),
        *(
            "pretext.methods.crops:Crops.check",
            "pretext.methods.instances:check_head",
            "pretext.init_weights:check_alone",
        ),
        *("pretext.init_weights:check_init", "pretext.jigsaw:tile_side"),
        "pretext.jigsaw:JigsawSettings._become_the_original",
        "pretext.methods.permutations:check_orders",
        *("pretext.probe:ProbeSettings.check_data", "pretext.probe:check_folds"),
        "pretext.pretext_settings:PretextSettings.check_data",
        "pretext.rotation:RotationSettings.check_data",
        "pretext.settings:TrainingSettings.check_enough",
        "pretext.settings:TrainingSettings._check_parts",
        *("transfer.jobs:folds_of", "transfer.teacher", "transfer.distill"),
        *("transfer.jobs:check_devices_of", "transfer.mix_settings"),
        *(
            "transfer.networks.class_maps",
            "transfer.settings:FinetuneSettings._check_mix",
        ),
        *("features.layers:Layers.__init__", "features.pooling:check_statistics"),
        "features.settings:ExtractSettings.check_data",
        "features.settings:ExtractSettings.shard_of",
        *(
            "stacking.inputs.object_pooling:check_statistics",
            "stacking.inputs.other_runs",
            "stacking.ensemble.postprocessors",
        ),
        *(
            "stacking.inputs.leak_guards:check_scheme",
            "stacking.inputs.leak_guards:check_groups",
        ),
        *(
            "stacking.inputs.leak_guards:check_protocol",
            "stacking.inputs.leak_guards:check_net_of_all",
        ),
        "stacking.ensemble.objective:Objective.named",
        "stacking.settings:FitSettings._check_names",
        "transfer.settings:FinetuneSettings._check_choice",
        "transfer.settings:FinetuneSettings._check_views",
        "transfer.tune:TuneSettings.check_data",
    ),
    "a command that is no stage, or a call from Python": (
        *(
            "pretext.export",
            "pretext.networks.formats",
            "features.inference",
            "features.convert",
        ),
        *("features.exports", "features.extraction", "features.foreign"),
        *(
            "features.fresh",
            "features.fresh_stores",
            "features.merge",
            "stacking.analysis.conformal",
        ),
        *(
            "stacking.inputs.splits",
            "stacking.inputs.validation",
            "stacking.estimator",
            "stacking.reporting.leaderboard_entries",
            "stacking.predict",
            "stacking.ensemble.new_rows",
            "stacking.ledger",
        ),
        *("transfer.export", "transfer.explain", "transfer.results.model_card"),
        *("transfer.results.trained_nets", "transfer.results.explanations"),
        *("features.similar", "transfer.results.gradcam"),
        "transfer.results.score_curves",
        "features.origins:current_of",  # the pipeline tells by its plan
    ),
    "weights that a stage made, or a file of them": (
        *(
            "pretext.networks.backbones:load_backbone",
            "pretext.networks.backbones:load_metadata",
            "pretext.networks.backbones:described",
        ),
        "pretext.evaluation.embed",
        "transfer.networks.task_net",
        "pretext.probe:find_files",  # finished stages
    ),
    "the network, asked for what no name tells": (
        *("pretext.networks.backbones:build_backbone", "pretext.engine.optimizers"),
        *("features.layers:Layers._keep", "features.layers:Layers._pooled"),
    ),
    "the pictures, or how a training goes": (
        *(
            "pretext.engine.follower",
            "pretext.engine.followers",
            "pretext.engine.lr_finder",
            "pretext.engine.training:_check_world_size",
            "transfer.search.recipe_report",
            "pretext.data.pictures",
            "stacking.analysis.diagnostics",
        ),
    ),
    "the folds, which are dealt to pictures that can be read": (
        *("transfer.jobs:check_jobs", "stacking.inputs.leak_guards:check_enough"),
        *("pretext.evaluation.monitor_subset", "features.plan", "transfer.inner_split"),
    ),
    "files of data_prep.prepare, changed since": (
        *(
            "stacking.fit:_check_same",
            "stacking.inputs.leak_guards:check_folds",
            "stacking.reporting.outputs",
        ),
        *(
            "stacking.inputs.leak_guards:check_targets",
            "stacking.inputs.leak_guards:check_objects",
            "stacking.inputs.leak_guards:check_sample",
        ),
    ),
    "stores, and what the nets said": (
        *("features.store", "features.pooling:pool", "stacking.inputs.sources"),
        "stacking.ensemble.candidates:add_means",
        *("stacking.inputs.tta_views", "stacking.inputs.leak_guards:check_roles"),
        *(
            "stacking.inputs.leak_guards:check_not_selected",
            "stacking.inputs.leak_guards:check_ids",
        ),
        *(
            "stacking.inputs.leak_guards:check_fold_of_rows",
            "stacking.inputs.leak_guards:check_of_outputs",
        ),
        *(
            "stacking.inputs.leak_guards:check_pooled",
            "stacking.inputs.leak_guards:check_same_columns",
        ),
        *(
            "stacking.inputs.leak_guards:check_net",
            "stacking.inputs.leak_guards:check_finite",
        ),
        *(
            "stacking.inputs.leak_guards:check_varying",
            "stacking.inputs.leak_guards:check_proba",
        ),
    ),
    "models of a finished stack": ("stacking.ensemble.predictor:Predictor.load",),
    "the libraries of the machine": (
        "stacking.models.neural",
        "stacking.models.stacker",
    ),
}


def refusals() -> Iterator[str]:
    """Find the functions that raise our errors, as ``module:Class.function``."""
    errors = {"UserError"}
    trees = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): ast.parse(
            file.read_text(encoding="utf-8")
        )
        for package in ("data_prep", *PACKAGES)
        for file in sorted((ROOT / package).rglob("*.py"))
    }
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            errors |= {node.name} if bases & errors else set()

    def within(node: ast.AST, path: tuple[str, ...]) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Raise):
                made = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
                if isinstance(made, ast.Name) and made.id in errors:
                    yield ".".join(path)
            is_named = isinstance(child, (ast.FunctionDef, ast.ClassDef))
            name = (child.name,) if is_named else ()  # type: ignore[attr-defined]
            yield from within(child, (*path, *name))

    for module, tree in trees.items():
        if not module.startswith("data_prep"):
            yield from (f"{module}:{path}" for path in within(tree, ()))


def test_every_later_refusal_has_a_reason_to_be_late() -> None:
    reasons = {name: why for why, names in WHY.items() for name in names}
    assert len(reasons) == sum(map(len, WHY.values())), "a name is there twice"
    used = set()
    for place in dict.fromkeys(refusals()):
        module, _, function = place.partition(":")
        if function.endswith("Settings.__post_init__"):
            continue
        name = place if place in reasons else module
        assert name in reasons, (
            f"{place} raises a UserError and is not in WHY: if settings and tables"
            " decide it, let the settings' check_data raise it before the first stage;"
            " else say there what it has to wait for"
        )
        used.add(name)
    assert not sorted(set(reasons) - used), "they refuse nothing: take them out"
