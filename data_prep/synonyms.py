"""What other programs call a setting, and what of theirs is not there.

Whoever comes from torch, timm or Keras types their words. Where a name is not known,
``data_prep.settings.nearest`` looks here before it compares spellings. A word has names
here, of which the first among the choices is told; and a sentence where there is none.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Synonym:
    """A word of others.

    Attributes:
        words: The word, and others that mean the same; lower case, ``_`` between.
        names: What it may be called here: keys, values, stages.
        elsewhere: What is said of a key or flag where none of the names is a choice;
            empty: that the first name is a key of other tables.
    """

    words: str
    names: tuple[str, ...] = ()
    elsewhere: str = ""


NOT_A_LOADER = (
    "there is no loader and so no workers: batches are cut from stored pictures;"
    " threads is how many cores compute, and workers of data_prep.prepare how many"
    " decode"
)
DEVICES = (
    "a GPU is used if there is one, and CUDA_VISIBLE_DEVICES chooses it; devices of a"
    " training is how many share it, and jobs of transfer.finetune trains several nets"
    " at once, on the GPUs in turn"
)
VIEWS_OF_TRAINING = (
    "the views of a training are set by min_area, colour and turns of its stage, and of"
    " transfer.finetune by augment; more is in: python -m pipeline --explain min_area"
)
MIXED_PICTURES = (
    "mix of [transfer.finetune] mixes the pictures of a batch in pairs, such as mix ="
    " 'cutmix'; mix_alpha and mix_share say how much and how often"
)
FIRST_WEIGHTS = (
    "weights of others are named by init, such as init = 'timm:resnet18.a1_in1k' in"
    " [transfer.finetune] or of a pretext, and by source of features.extract"
)
FREEZING = (
    "what moves of a net is train of [transfer.finetune]: train = 'head' freezes all"
    " but the heads, and unfreeze_after says for how long"
)
STOPPING = (
    "patience of [transfer.finetune] with select = 'inner' ends a fine-tuning early,"
    " stop = 'plateau' a pretext; boosted trees always stop by themselves"
)
OF_TASKS = "it is a key of [tasks.NAME]"

SYNONYMS = (
    # a training
    Synonym(words="lr max_lr base_lr learningrate step_size", names=("learning_rate",)),
    Synonym(
        words="batch batchsize bs batch_size_train train_batch_size minibatch",
        names=("batch_size",),
    ),
    Synonym(words="epoch n_epochs num_epochs max_epochs", names=("epochs",)),
    Synonym(
        words="iterations iters max_steps max_iter n_steps num_steps n_estimators"
        " num_boost_round",
        names=("steps", "max_rounds"),
    ),
    Synonym(words="optim optimiser opt solver", names=("optimizer",)),
    Synonym(
        words="scheduler lr_scheduler lr_schedule lr_policy sched",
        names=("schedule",),
    ),
    Synonym(words="wd l2 l2_penalty", names=("weight_decay", "mse")),
    Synonym(words="warmup_steps warmup_epochs warmup_ratio", names=("warmup",)),
    Synonym(
        words="grad_clip clip_grad gradient_clip_val max_grad_norm max_norm clip_norm",
        names=("clip",),
    ),
    Synonym(
        words="accumulate_grad_batches gradient_accumulation_steps grad_accum"
        " accumulation",
        names=("accumulate",),
    ),
    Synonym(words="model_ema ema_decay swa averaging", names=("ema", "average_epochs")),
    Synonym(words="amp fp16 mixed_precision bf16 half autocast", names=("precision",)),
    Synonym(words="random_state random_seed manual_seed rng", names=("seed",)),
    Synonym(
        words="num_workers n_workers num_worker dataloader_workers prefetch",
        names=("workers",),
        elsewhere=NOT_A_LOADER,
    ),
    Synonym(
        words="n_jobs nthreads num_threads n_threads cpus cores nproc",
        names=("threads", "jobs", "workers"),
    ),
    Synonym(
        words="gpus n_gpus num_gpus nproc_per_node ddp strategy distributed multi_gpu",
        names=("devices",),
        elsewhere=DEVICES,
    ),
    Synonym(words="gpu gpu_ids device cuda accelerator", elsewhere=DEVICES),
    Synonym(words="nodes nnodes n_nodes num_machines", names=("num_nodes",)),
    Synonym(words="sync_bn syncbn sync_batch_norm", names=("sync_batchnorm",)),
    Synonym(
        words="lr_find lr_finder auto_lr_find range_test",
        names=("find_lr",),
    ),
    Synonym(
        words="early_stopping early_stop early_stopping_rounds earlystopping"
        " stop_patience patience",
        elsewhere=STOPPING,
    ),
    Synonym(
        words="log_dir tensorboard wandb mlflow tracker report_to",
        names=("logger",),
    ),
    Synonym(
        words="checkpoint checkpoints resume save_every save_top_k",
        names=("keep_epochs",),
        elsewhere="a stage that was killed goes on by the same command, without a key",
    ),
    Synonym(
        words="shuffle drop_last pin_memory persistent_workers loader dataloader",
        elsewhere=NOT_A_LOADER,
    ),
    Synonym(
        words="momentum nesterov betas beta1 beta2 eps",
        elsewhere=(
            "not there, because optimizers keep what their papers give: sgd a momentum"
            " of 0.9, adamw betas of 0.9 and 0.999; optimizer names others"
        ),
    ),
    # a network
    Synonym(
        words="model net network arch architecture encoder model_name",
        names=("backbone",),
    ),
    Synonym(
        words="pretrained weights pretrained_weights checkpoint_path init_weights"
        " imagenet",
        names=("init", "source", "weights"),
        elsewhere=FIRST_WEIGHTS,
    ),
    Synonym(
        words="freeze frozen freeze_backbone unfreeze trainable finetune_layers"
        " linear_probe",
        elsewhere=FREEZING,
    ),
    Synonym(
        words="llrd layerwise_decay layer_wise_decay discriminative_lr",
        names=("layer_decay",),
    ),
    Synonym(words="drop drop_rate dropout_rate", names=("dropout",)),
    Synonym(
        words="drop_path drop_path_rate stochastic_depth",
        elsewhere="not there; dropout is for the features before the heads",
    ),
    Synonym(
        words="num_classes n_classes nb_classes class_names",
        elsewhere=(
            "not there, because classes are read from the table; target_kind ="
            " 'classes' in [data] says that numbers are names of some"
        ),
    ),
    Synonym(words="hidden hidden_dim hidden_size mlp_head", names=("head_width",)),
    Synonym(words="multitask multi_task shared_backbone", names=("joint",)),
    Synonym(words="embedding embeddings feature_layer", names=("layer", "source")),
    # pictures and views
    Synonym(
        words="size image_size img_size input_size resolution imgsz resize",
        names=("side",),
    ),
    Synonym(
        words="mean std normalize normalise normalization mean_std",
        elsewhere=(
            "not there, because pictures are normalised by the mean and deviation of"
            " the collection, or by those that ready weights bring"
        ),
    ),
    Synonym(
        words="resize_mode letterbox padding aspect center_crop crop_mode",
        names=("fit",),
    ),
    Synonym(
        words="augment augmentation augmentations transforms transform aug aa cutout"
        " data_augmentation randaugment autoaugment trivialaugment random_erasing",
        names=("augment",),
        elsewhere=VIEWS_OF_TRAINING,
    ),
    Synonym(
        words="mixup cutmix fmix snapmix cmixup mixup_alpha cutmix_alpha mixup_prob",
        names=("mix",),
        elsewhere=MIXED_PICTURES,
    ),
    Synonym(
        words="color color_jitter colorjitter jitter brightness hue saturation"
        " grayscale",
        names=("colour", "grey"),
    ),
    Synonym(
        words="flip flips hflip vflip horizontal_flip rotate rotations rotation",
        names=("turns", "views"),
    ),
    Synonym(
        words="crop crops random_resized_crop crop_scale crop_pct",
        names=("min_area",),
    ),
    Synonym(
        words="tta test_time_augmentation n_tta tta_views",
        names=("views",),
        elsewhere=(
            "views of features.extract says which flips and turns a prediction is"
            " averaged over; all eight are the default"
        ),
    ),
    Synonym(words="pool pooling aggregation agg", names=("statistics", "layer_pool")),
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
