"""What other programs call a setting of the nets: trainings, networks, views.

``data_prep.synonyms`` has the words of tables, sub-tasks, stack and commands, and
looks them all up.
"""

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
PSEUDO_LABELS = (
    "pseudo_labels of [transfer.finetune] names a run whose nets label the pictures"
    " without label, such as pseudo_labels = '../runs/first'"
)
DISTILLATION = (
    "python -m transfer.distill, after transfer.finetune, trains one net by what those"
    " of all folds say; teacher_share of [transfer.distill] is their part"
)
STOPPING = (
    "patience of [transfer.finetune] with select = 'inner' ends a fine-tuning early,"
    " stop = 'plateau' a pretext; boosted trees always stop by themselves"
)

WORDS_OF_NETS = (
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
    Synonym(words="optim optimiser opt solver lookahead", names=("optimizer",)),
    Synonym(words="sam asam sharpness_aware rho sam_optimizer", names=("sam_rho",)),
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
    # labels that are made, and one net in place of many
    Synonym(
        words="pseudo_label pseudo_labeling pseudo_labelling pseudolabels"
        " self_training noisy_student semi_supervised unlabeled unlabelled",
        names=("pseudo_labels",),
        elsewhere=PSEUDO_LABELS,
    ),
    Synonym(
        words="pseudo_threshold confidence confidence_threshold",
        names=("pseudo_min_confidence",),
        elsewhere=PSEUDO_LABELS,
    ),
    Synonym(
        words="distillation distill distil kd knowledge_distillation teacher student"
        " teacher_weight distill_alpha",
        names=("teacher_share",),
        elsewhere=DISTILLATION,
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
        words="mixup cutmix fmix snapmix cmixup mixing",
        names=("mix",),
        elsewhere=MIXED_PICTURES,
    ),
    Synonym(
        words="mixup_alpha cutmix_alpha beta_alpha",
        names=("mix_alpha",),
        elsewhere=MIXED_PICTURES,
    ),
    Synonym(
        words="mixup_prob cutmix_prob mix_prob mixup_p",
        names=("mix_share",),
        elsewhere=MIXED_PICTURES,
    ),
    Synonym(
        words="mixup_off_epoch close_mosaic",
        names=("mix_last_plain",),
        elsewhere=MIXED_PICTURES,
    ),
    Synonym(words="num_ops n_ops ra_n rand_n", names=("rand_operations",)),
    Synonym(words="magnitude ra_m rand_m", names=("rand_magnitude",)),
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
)
