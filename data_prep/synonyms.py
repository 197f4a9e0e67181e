"""What other programs call a setting, and what of theirs is not there.

Whoever comes from torch, timm or Keras types their words. Where a name is not known,
``data_prep.settings.nearest`` looks here before it compares spellings. A word has names
here, of which the first among the choices is told; and a sentence where there is none.
"""

from collections.abc import Collection

from data_prep.words_of_nets import WORDS_OF_NETS, Synonym

OF_TASKS = "it is a key of [tasks.NAME]"

SYNONYMS = (
    *WORDS_OF_NETS,
    # tables
    Synonym(
        words="label labels y target_column label_column target_col y_col",
        names=("target",),
    ),
    Synonym(words="class", names=("target", "classes")),
    Synonym(
        words="train_csv csv table train_table annotations labels_csv metadata",
        names=("train",),
    ),
    Synonym(words="test_csv test_table holdout", names=("test",)),
    Synonym(
        words="image_dir images_dir img_dir root data_dir image_folder folder path"
        " pictures",
        names=("images",),
    ),
    Synonym(
        words="filename file_name image_id image image_path file x_col id_column",
        names=("id",),
    ),
    Synonym(words="groups group_column group_id subject_id", names=("group",)),
    Synonym(words="year time timestamp datetime", names=("date",)),
    Synonym(words="sample_submission submission", names=("sample",)),
    Synonym(words="weight_column row_weights", names=("sample_weights",)),
    Synonym(
        words="task problem_type problem objective mode",
        names=("target_kind",),
        elsewhere="target_kind of [data] says whether the target is numbers or classes",
    ),
    Synonym(words="tags keywords captions multilabel_table", names=("attributes",)),
    Synonym(
        words="val validation val_split validation_split test_size splitter n_splits"
        " n_folds kfold skfold gkfold sgkfold k_fold num_folds cross_validation",
        names=("cv",),
        elsewhere=(
            "cv of [data_prep.prepare] says how rows are held out, such as cv ="
            " 'sgkfold5': 5 folds, groups whole, equal shares of the target; x2: twice"
        ),
    ),
    Synonym(
        words="repeats n_repeats num_repeats repeated_kfold repeatedkfold"
        " repeatedstratifiedkfold repeated_cv",
        names=("cv",),
        elsewhere=(
            "cv of [data_prep.prepare] deals the folds several times: cv ="
            " 'sgkfold3x2' deals three of them twice"
        ),
    ),
    Synonym(
        words="timeseriessplit time_series_split time_split forward_chaining"
        " walk_forward chronological",
        names=("cv",),
        elsewhere=(
            "cv of [data_prep.prepare] holds out forward in time by [data] date: cv ="
            " 'time4'"
        ),
    ),
    Synonym(words="embargo purge purged purge_gap", names=("gap",)),
    Synonym(
        words="predefinedsplit predefined_split fold_column fold_col fold_file"
        " folds_file folds_csv kfold_column",
        names=("folds",),
        elsewhere=(
            "folds of [data_prep.prepare] takes your own: a table of id and fold, or a"
            " column of the training table"
        ),
    ),
    Synonym(
        words="pages frames all_pages multipage multi_page frame n_frames",
        names=("page",),
    ),
    # sub-tasks and their losses
    Synonym(
        words="class_weight class_weights pos_weight balanced",
        names=("class_weights",),
        elsewhere=f"{OF_TASKS} with kind = 'classes': class_weights = ['balanced']",
    ),
    Synonym(
        words="sampler weighted_sampler oversample oversampling undersample imbalance"
        " smote",
        names=("class_weights",),
        elsewhere=(
            "not there: class_weights = ['balanced'] of [tasks.NAME] with kind ="
            " 'classes' weighs the rows of rare classes instead of repeating them"
        ),
    ),
    Synonym(
        words="smoothing label_smooth label_smoothing",
        names=("label_smoothing",),
        elsewhere=f"{OF_TASKS} with kind = 'classes': label_smoothing = 0.05",
    ),
    Synonym(
        words="focal focal_loss",
        names=("focal",),
        elsewhere=f"{OF_TASKS} with kind = 'classes': loss = 'focal'",
    ),
    Synonym(words="sce symmetric_cross_entropy", names=("symmetric",)),
    Synonym(words="bitempered bi_tempered_logistic", names=("bi_tempered",)),
    Synonym(
        words="criterion loss_fn loss_function loss",
        names=("loss",),
        elsewhere=f"{OF_TASKS}: loss = 'huber' of a regression, for one",
    ),
    Synonym(words="smooth_l1_loss huber_loss", names=("huber",)),
    Synonym(words="taylor_ce poly_loss polyloss", names=("taylor",)),
    Synonym(
        words="hl_gauss label_distribution ldl soft_histogram", names=("histogram",)
    ),
    Synonym(
        words="pairwise_loss pairwise_difference difference_loss",
        names=("pairwise",),
        elsewhere=f"{OF_TASKS} with kind = 'regression': pairwise = 0.25",
    ),
    Synonym(
        words="ranking_loss rank_loss rank_similarity",
        names=("ranksim",),
        elsewhere=f"{OF_TASKS} with kind = 'regression': ranksim = 1.0",
    ),
    Synonym(words="task_weight loss_weight loss_weights", names=("weight",)),
    Synonym(
        words="classification classifier categorical multiclass binary",
        names=("classes",),
    ),
    Synonym(
        words="regressor numeric number continuous", names=("regression", "numbers")
    ),
    Synonym(words="multilabel multi_label", names=("tags",)),
    Synonym(words="ordered rank ranking grades coral", names=("ordinal",)),
    Synonym(words="text text_embedding word2vec", names=("words",)),
    Synonym(words="l1 l1_loss mean_absolute_error", names=("mae",)),
    Synonym(
        words="mse_loss mean_squared_error squared_error root_mean_squared_error mse",
        names=("mse", "rmse"),
    ),
    Synonym(
        words="ce crossentropy cross_entropy_loss nll categorical_crossentropy logloss",
        names=("cross_entropy", "log_loss"),
    ),
    Synonym(words="bce_loss binary_crossentropy bcewithlogits", names=("bce",)),
    # the stack
    Synonym(words="scoring metrics eval_metric score", names=("metric",)),
    Synonym(words="acc top1 accuracy_score", names=("accuracy",)),
    Synonym(words="f1 f1_score f1_macro", names=("macro_f1",)),
    Synonym(words="qwk kappa cohen_kappa weighted_kappa", names=("quadratic_kappa",)),
    Synonym(words="roc_auc auroc auc_score roc_auc_score", names=("auc",)),
    Synonym(words="r2_score r_squared", names=("r2",)),
    Synonym(
        words="xgboost xgb gbm lgbm lgb gradient_boosting random_forest rf trees",
        names=("lightgbm",),
    ),
    Synonym(words="linear lasso elasticnet logistic", names=("ridge",)),
    Synonym(words="svm", names=("svr",)),
    Synonym(
        words="ensemble other_runs extra_runs extra_features merge_runs",
        names=("also",),
    ),
    Synonym(words="models estimators base_models learners", names=("stackers",)),
    Synonym(words="calibration calibrate platt", names=("isotonic", "postprocess")),
    Synonym(
        words="n_trials trials optuna hyperparameters tuning",
        names=("tune", "trials"),
        elsewhere=(
            "tune of stacking.fit searches the boosted trees, and python -m"
            " transfer.tune the settings of the nets"
        ),
    ),
    # commands
    Synonym(
        words="force clean no_cache redo rerun",
        names=("overwrite",),
        elsewhere="--overwrite makes a stage anew although it is done",
    ),
    Synonym(words="config cfg config_file yaml", names=("experiment",)),
    Synonym(words="output output_dir out_dir save_dir workdir", names=("out", "run")),
)
BY_WORD = {word: synonym for synonym in SYNONYMS for word in synonym.words.split()}


def answer(name: str, choices: Collection[str], *, is_key: bool) -> str:
    """Say what the word of another program is called here; empty: nothing is known.

    Args:
        name: As it was typed; of a flag with its dashes.
        choices: Names that are known where it was typed, flags with theirs.
        is_key: It was typed as a key or a flag; a column of the user's table that is
            called ``gpu`` is no question about GPUs.

    Example:
        >>> answer("--lr", ["--learning-rate", "--run"], is_key=True)
        "did you mean '--learning-rate'?"
    """
    bare = name.lstrip("-").replace("-", "_").replace(" ", "_").casefold()
    synonym = BY_WORD.get(bare)
    if synonym is None:
        return ""
    by_bare = {choice.lstrip("-").replace("-", "_"): choice for choice in choices}
    for candidate in synonym.names:
        if candidate in by_bare and candidate != bare:
            return f"did you mean {by_bare[candidate]!r}?"
    if not is_key or (bare in synonym.names and not synonym.elsewhere):
        return ""
    return synonym.elsewhere or (
        f"it is called {synonym.names[0]!r}, and is a key of other tables: python -m"
        f" pipeline --explain {synonym.names[0]}"
    )


def names_for(word: str) -> tuple[str, ...]:
    """Give the names that the word of another program may have here."""
    synonym = BY_WORD.get(word.casefold())
    return synonym.names if synonym else ()
