"""Where each of Lightning's public modules is found in Leyden, and which names have no counterpart."""

HOMES = {
    "": "leyden",
    **dict.fromkeys(("core", "core.module", "core.datamodule", "trainer", "trainer.trainer"), "leyden"),
    "core.hooks": "leyden.compat.core",
    "core.saving": "leyden.compat.fabric",
    **dict.fromkeys(("core.mixins", "core.mixins.hparams_mixin"), "leyden.hparams"),
    "core.optimizer": "leyden.optim",
    **dict.fromkeys(
        ("accelerators", *(f"accelerators.{name}" for name in ("accelerator", "cpu", "cuda"))),
        "leyden.accelerators",
    ),
    **dict.fromkeys(
        (
            "callbacks",
            *(
                f"callbacks.{name}"
                for name in (
                    "batch_size_finder",
                    "callback",
                    "checkpoint",
                    "device_stats_monitor",
                    "early_stopping",
                    "finetuning",
                    "gradient_accumulation_scheduler",
                    "lambda_function",
                    "lr_finder",
                    "lr_monitor",
                    "model_checkpoint",
                    "model_summary",
                    "on_exception_checkpoint",
                    "prediction_writer",
                    "rich_model_summary",
                    "spike",
                    "stochastic_weight_avg",
                    "throughput_monitor",
                    "timer",
                    "weight_averaging",
                )
            ),
        ),
        "leyden.callbacks",
    ),
    **dict.fromkeys(
        (
            "callbacks.progress",
            *(f"callbacks.progress.{n}" for n in ("progress_bar", "rich_progress", "tqdm_progress")),
        ),
        "leyden.callbacks.progress",
    ),
    **dict.fromkeys(("utilities.model_summary", "utilities.model_summary.model_summary"), "leyden.summary"),
    **dict.fromkeys(
        ("loggers", *(f"loggers.{name}" for name in ("csv_logs", "logger", "mlflow", "tensorboard", "wandb"))),
        "leyden.loggers",
    ),
    **dict.fromkeys(
        (
            "utilities",
            *(
                f"utilities.{name}"
                for name in (
                    "combined_loader",
                    "data",
                    "enums",
                    "exceptions",
                    "grads",
                    "memory",
                    "model_helpers",
                    "parsing",
                    "rank_zero",
                    "seed",
                    "warnings",
                )
            ),
        ),
        "leyden.compat.utilities",
    ),
    "loggers.utilities": "leyden.compat.for_loggers",
    "utilities.types": "leyden.compat.types",
    "trainer.states": "leyden.states",
    **dict.fromkeys(
        ("profilers", *(f"profilers.{n}" for n in ("advanced", "base", "profiler", "pytorch", "simple"))),
        "leyden.profilers",
    ),
    **dict.fromkeys(("tuner", "tuner.tuning", "tuner.lr_finder"), "leyden.tuner"),
    **dict.fromkeys(
        ("strategies", *(f"strategies.{name}" for name in ("ddp", "fsdp", "single_device", "single_xla", "strategy"))),
        "leyden.strategies",
    ),
    **dict.fromkeys(
        (
            *("plugins", "plugins.environments", "plugins.io", "plugins.precision"),
            *(f"plugins.io.{name}" for name in ("async_plugin", "checkpoint_plugin", "torch_plugin")),
            *(f"plugins.precision.{name}" for name in ("amp", "double", "half", "precision")),
        ),
        "leyden.plugins",
    ),
    "cli": "leyden.cli",
    "demos": "leyden.compat.demos",
    "demos.boring_classes": "leyden.compat.demos",
}
"""Module of Lightning's, without the package's name -> module of Leyden's that holds what is public in it."""

FABRIC = {
    **dict.fromkeys(
        (
            *("", "utilities"),
            *(
                f"utilities.{name}"
                for name in (
                    *("apply_func", "cloud_io", "data", "enums", "exceptions", "logger", "rank_zero", "seed", "types"),
                    "warnings",
                )
            ),
            *("loggers", "loggers.logger"),
        ),
        "leyden.compat.fabric",
    ),
    **dict.fromkeys(
        ("accelerators", *(f"accelerators.{name}" for name in ("accelerator", "cpu", "cuda"))), "leyden.accelerators"
    ),
    **dict.fromkeys(("plugins", "plugins.io", "plugins.io.checkpoint_io", "plugins.io.torch_io"), "leyden.plugins"),
}
"""The same of ``lightning.fabric``, of which libraries written for Lightning take a little. There is no ``Fabric``."""

HELPERS = """
    BType BoringDataModuleNoLen DeepSpeedSummary DistributedDataParallel EarlyStoppingReason
    ExperimentWriter Interval IterableBoringDataModule LayerSummary LightningDoublePrecisionModule LightningEnum
    LightningLSTM LightningTransformer MODULE_OPTIMIZERS Net RegisterRecordFunction ScheduleWrapper
    convert load_hparams_from_tags_csv load_hparams_from_yaml save_hparams_to_tags_csv save_hparams_to_yaml
    update_hparams SequenceSampler SimpleLSTM Tqdm Transformer WikiText2 clean_namespace collect_init_args convert_inf
    do_nothing_closure extract_batch_size find_shared_parameters get_cpu_stats
    get_device_stats get_formatted_model_size get_nvidia_gpu_stats
    get_standard_metrics get_torchvision_model has_len_all_ranks instantiate_module is_cuda_out_of_memory
    is_cudnn_snafu is_out_of_cpu_memory is_picklable is_shared_filesystem lightning_getattr lightning_hasattr
    lightning_setattr merge_dicts multiplicative parse_batch_shape parse_class_init_keys recursive_detach
    save_hyperparameters set_shared_parameters
"""
"""Functions and small classes of Lightning's modules that few programs name."""

NOT_PROVIDED = frozenset(
    (
        *HELPERS.split(),
        "BitsandbytesPrecision",
        "CometLogger",
        "DeepSpeedPrecision",
        "DeepSpeedStrategy",
        "FSDPPrecision",
        "Fabric",
        "KubeflowEnvironment",
        "LSFEnvironment",
        "LayerSync",
        "LitLogger",
        "MPIEnvironment",
        "MPSAccelerator",
        "ModelParallelStrategy",
        "ModelPruning",
        "NeptuneLogger",
        "ParallelStrategy",
        "ServableModule",
        "ServableModuleValidator",
        "TorchSyncBatchNorm",
        "TransformerEnginePrecision",
        "XLAAccelerator",
        "XLACheckpointIO",
        "XLAEnvironment",
        "XLAPrecision",
        "XLAProfiler",
        "XLAStrategy",
    )
)
"""Public names of Lightning 2.6 that Leyden has not; ``docs/migrating.md`` says of each what to do."""

MODULES = """
    accelerators.mps accelerators.xla
    demos.lstm demos.mnist_datamodule demos.transformer loggers.comet loggers.neptune
    loops overrides plugins.io.wrapper plugins.io.xla_plugin plugins.layer_sync serve
    strategies.deepspeed strategies.launchers trainer.call trainer.configuration_validator trainer.connectors
    trainer.setup tuner.batch_size_scaling utilities.argparse utilities.compile utilities.consolidate_checkpoint
    utilities.deepspeed utilities.imports utilities.migration utilities.model_registry
    utilities.model_summary.model_summary_deepspeed utilities.parameter_tying utilities.signature_utils
    utilities.testing utilities.upgrade_checkpoint
"""
LEFT_OUT = frozenset(MODULES.split())
"""Modules of Lightning 2.6, without the package's name, that Leyden has not; mostly its inner parts."""
