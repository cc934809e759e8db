"""Where each of Lightning's public modules is found in Leyden, and which names have no counterpart."""

HOMES = {
    "": "leyden",
    **dict.fromkeys(("core", "core.module", "core.datamodule", "core.hooks", "trainer", "trainer.trainer"), "leyden"),
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
    "utilities.model_summary": "leyden.summary",
    **dict.fromkeys(
        ("loggers", *(f"loggers.{name}" for name in ("csv_logs", "logger", "mlflow", "tensorboard", "wandb"))),
        "leyden.loggers",
    ),
    **dict.fromkeys(
        (
            "utilities",
            *(
                f"utilities.{name}"
                for name in ("combined_loader", "exceptions", "parsing", "rank_zero", "seed", "types")
            ),
        ),
        "leyden.compat.utilities",
    ),
    "trainer.states": "leyden.states",
    **dict.fromkeys(
        ("profilers", *(f"profilers.{n}" for n in ("advanced", "profiler", "pytorch", "simple"))), "leyden.profilers"
    ),
    **dict.fromkeys(("tuner", "tuner.tuning", "tuner.lr_finder"), "leyden.tuner"),
    "strategies": "leyden.strategies",
    "demos": "leyden.compat.demos",
    "demos.boring_classes": "leyden.compat.demos",
}
"""Module of Lightning's, without the package's name -> module of Leyden's that holds what is public in it."""

NOT_PROVIDED = frozenset(
    (
        "AsyncCheckpointIO",
        "BitsandbytesPrecision",
        "CometLogger",
        "DeepSpeedPrecision",
        "DeepSpeedStrategy",
        "FSDPPrecision",
        "FSDPStrategy",
        "Fabric",
        "LitLogger",
        "MPSAccelerator",
        "ModelParallelStrategy",
        "ModelPruning",
        "SingleDeviceXLAStrategy",
        "TransformerEnginePrecision",
        "XLAPrecision",
        "XLAProfiler",
        "XLAStrategy",
    )
)
"""Public names of Lightning 2.6 that Leyden has not; ``docs/migrating.md`` says of each what to do."""
