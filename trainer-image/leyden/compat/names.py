"""Where each of Lightning's public modules is found in Leyden, and which names have no counterpart."""


def _by_module(found_in: dict[str, str]) -> dict[str, str]:
    """Leyden's module by each of Lightning's that it stands for; ``.`` is the package itself."""
    return {name.strip("."): home for home, names in found_in.items() for name in names.split()}


HOMES = _by_module(
    {
        "leyden": ". core core.module core.datamodule trainer trainer.trainer",
        "leyden.compat.core": "core.hooks",
        "leyden.compat.saving": "core.saving",
        "leyden.hparams": "core.mixins core.mixins.hparams_mixin",
        "leyden.optim": "core.optimizer",
        "leyden.compat.hardware": """
            accelerators accelerators.accelerator accelerators.cpu accelerators.cuda
            strategies strategies.ddp strategies.fsdp strategies.single_device strategies.single_xla
            strategies.strategy trainer.connectors trainer.connectors.accelerator_connector
        """,
        "leyden.callbacks": """
            callbacks callbacks.batch_size_finder callbacks.callback callbacks.checkpoint
            callbacks.device_stats_monitor callbacks.early_stopping callbacks.finetuning
            callbacks.gradient_accumulation_scheduler callbacks.lambda_function callbacks.lr_finder
            callbacks.lr_monitor callbacks.model_checkpoint callbacks.model_summary
            callbacks.on_exception_checkpoint callbacks.prediction_writer callbacks.rich_model_summary
            callbacks.spike callbacks.stochastic_weight_avg callbacks.throughput_monitor callbacks.timer
            callbacks.weight_averaging
        """,
        "leyden.callbacks.progress": """
            callbacks.progress callbacks.progress.progress_bar callbacks.progress.rich_progress
        """,
        "leyden.compat.tqdm_progress": "callbacks.progress.tqdm_progress",
        "leyden.summary": "utilities.model_summary utilities.model_summary.model_summary",
        "leyden.loggers": "loggers loggers.csv_logs loggers.logger loggers.mlflow loggers.tensorboard loggers.wandb",
        "leyden.compat.utilities": """
            utilities utilities.combined_loader utilities.data utilities.enums utilities.exceptions
            utilities.grads utilities.memory utilities.model_helpers utilities.parsing utilities.rank_zero
            utilities.seed utilities.warnings
        """,
        "leyden.compat.for_loggers": "loggers.utilities",
        "leyden.compat.types": "utilities.types",
        "leyden.states": "trainer.states",
        "leyden.profilers": """
            profilers profilers.advanced profilers.base profilers.profiler profilers.pytorch profilers.simple
        """,
        "leyden.tuner": "tuner tuner.tuning tuner.lr_finder",
        "leyden.plugins": """
            plugins plugins.environments plugins.io plugins.io.async_plugin plugins.io.checkpoint_plugin
            plugins.io.torch_plugin plugins.precision plugins.precision.amp plugins.precision.double
            plugins.precision.half plugins.precision.precision
        """,
        "leyden.cli": "cli",
        "leyden.compat.demos": "demos demos.boring_classes",
    }
)
"""Module of Lightning's, without the package's name -> module of Leyden's that holds what is public in it."""

FABRIC = _by_module(
    {
        "leyden.compat.utilities": """
            . utilities utilities.apply_func utilities.data utilities.enums utilities.exceptions
            utilities.rank_zero utilities.seed utilities.warnings
        """,
        "leyden.compat.saving": "utilities.cloud_io",
        "leyden.compat.types": "utilities.types",
        "leyden.compat.for_loggers": "loggers loggers.logger utilities.logger",
        "leyden.compat.hardware": "accelerators accelerators.accelerator accelerators.cpu accelerators.cuda",
        "leyden.plugins": """
            plugins plugins.io plugins.io.checkpoint_io plugins.io.torch_io plugins.precision
            plugins.precision.precision
        """,
    }
)
"""The same of ``lightning.fabric``, of which libraries written for Lightning take a little. There is no ``Fabric``."""

HELPERS = """
    BType BoringDataModuleNoLen DeepSpeedSummary DistributedDataParallel EarlyStoppingReason
    ExperimentWriter Interval IterableBoringDataModule LayerSummary LightningDoublePrecisionModule LightningEnum
    LightningLSTM LightningTransformer MODULE_OPTIMIZERS Net RegisterRecordFunction ScheduleWrapper
    convert load_hparams_from_tags_csv load_hparams_from_yaml save_hparams_to_tags_csv save_hparams_to_yaml
    update_hparams SequenceSampler SimpleLSTM Transformer WikiText2 clean_namespace collect_init_args convert_inf
    do_nothing_closure extract_batch_size find_shared_parameters get_cpu_stats
    get_device_stats get_formatted_model_size get_nvidia_gpu_stats
    get_standard_metrics get_torchvision_model has_len_all_ranks instantiate_module is_cuda_out_of_memory
    is_cudnn_snafu is_out_of_cpu_memory is_picklable is_shared_filesystem lightning_getattr lightning_hasattr
    lightning_setattr merge_dicts multiplicative parse_batch_shape parse_class_init_keys recursive_detach
    save_hyperparameters set_shared_parameters
"""
"""Functions and small classes of Lightning's modules that few programs name."""

CLASSES = """
    BitsandbytesPrecision CometLogger DeepSpeedPrecision DeepSpeedStrategy FSDPPrecision Fabric KubeflowEnvironment
    LSFEnvironment LayerSync LitLogger MPIEnvironment MPSAccelerator ModelParallelStrategy ModelPruning NeptuneLogger
    ParallelStrategy ServableModule ServableModuleValidator TorchSyncBatchNorm TransformerEnginePrecision
    XLAAccelerator XLACheckpointIO XLAEnvironment XLAPrecision XLAProfiler XLAStrategy
"""
"""Those that a program would be built on."""

NOT_PROVIDED = frozenset(f"{HELPERS} {CLASSES}".split())
"""Public names of Lightning 2.6 that Leyden has not; ``docs/migrating.md`` says of each what to do."""

MODULES = """
    accelerators.mps accelerators.xla
    demos.lstm demos.mnist_datamodule demos.transformer loggers.comet loggers.neptune
    loops overrides plugins.io.wrapper plugins.io.xla_plugin plugins.layer_sync serve
    strategies.deepspeed strategies.launchers trainer.call trainer.configuration_validator
    trainer.connectors.callback_connector trainer.connectors.checkpoint_connector trainer.connectors.data_connector
    trainer.connectors.logger_connector trainer.connectors.signal_connector
    trainer.setup tuner.batch_size_scaling utilities.argparse utilities.compile utilities.consolidate_checkpoint
    utilities.deepspeed utilities.imports utilities.migration utilities.model_registry
    utilities.model_summary.model_summary_deepspeed utilities.parameter_tying utilities.signature_utils
    utilities.testing utilities.upgrade_checkpoint
"""
LEFT_OUT = frozenset(MODULES.split())
"""Modules of Lightning 2.6, without the package's name, that Leyden has not; mostly its inner parts."""
