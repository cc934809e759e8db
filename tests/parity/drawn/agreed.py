"""What a drawn program must not have for the libraries to agree: each rule with its reason.

They are differences that ``docs/migrating.md`` tells of, programs that cannot run, and faults of Lightning 2.6.6.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

EARLY = ("on_train_start", "on_train_epoch_start")


def agreed(spec: Spec) -> Spec:
    """``spec`` without what is not to be compared."""
    for rule in (_data, _lengths, _logging, _second_order, _plateau, _averaging, _saving, _afterwards):
        rule(spec)
    return spec


def _has(spec: Spec, *names: str) -> bool:
    return any(callback["name"] in names for callback in spec["callbacks"])


def _options(spec: Spec, name: str) -> list[Spec]:
    """Those of the callbacks of a name."""
    return [callback["options"] for callback in spec["callbacks"] if callback["name"] == name]


def _drop(spec: Spec, *names: str) -> None:
    spec["callbacks"] = [callback for callback in spec["callbacks"] if callback["name"] not in names]


def _data(spec: Spec) -> None:
    data, module, options = spec["data"], spec["module"], spec["trainer"]
    if data["several"]:  # a part of each loader, of which the shortest may have less than a batch
        options.pop("limit_train_batches", None)
        data["train"] = [loader | {"stream": False} for loader in data["train"]]
    for loader in data["train"] if module["batch_norm"] else ():  # statistics are of more than one sample
        size = max(2, loader["batch_size"])
        loader |= {"count": max(4, loader["count"]), "batch_size": size, "drop_last": True, "stream": False}
    cut_short = module["skips"] is not None or "limit_train_batches" in options or data["several"] == "min_size"
    if cut_short:  # the next epoch would go on in its middle, and end early
        data["train"] = [loader | {"own": None} if loader["own"] == "place" else loader for loader in data["train"]]
    if any(loader["stream"] for loader in data["train"]):  # nobody knows half of it
        for name in ("limit_train_batches", "val_check_interval"):
            if isinstance(options.get(name), float):
                del options[name]
    if len(data["val"]) != 1:  # one metric object for two loaders
        module["metrics"] = [name for name in module["metrics"] if name != "validation_step"]
    if not data["val"]:  # Lightning checks the interval of validations that are not there
        options.pop("val_check_interval", None)
        options.pop("check_val_every_n_epoch", None)


def _lengths(spec: Spec) -> None:
    module, options = spec["module"], spec["trainer"]
    if options["max_epochs"] in (-1, None) and (module["skips"] is not None or module["manual"]):
        options["max_epochs"] = 2  # steps might never come
    # Lightning counts a reloaded loader's batches anew, and reloads it where it had only served the sanity check.
    on_steps = any("on_step" in call["options"] for call in module["val_logs"])
    if on_steps or options.get("check_val_every_n_epoch", 1) not in (1, None):
        options.pop("reload_dataloaders_every_n_epochs", None)


def _logging(spec: Spec) -> None:
    module = spec["module"]
    calls = [module["logs"], *(options["logs"] for options in _options(spec, "Logging"))]
    for logs in calls:
        if module["skips"] is not None:  # Lightning forgets what was logged in the batch that ends the epoch
            logs[:] = [call for call in logs if call["hook"] != "on_train_batch_start"]
        if len(module["optimizers"]) == 2:  # Lightning forgets, in the first batch, what a hook had logged before
            kept = ("training_step", "on_train_batch_end", *EARLY, "on_train_epoch_end")
            logs[:] = [call for call in logs if call["hook"] in kept]
    if any(call["hook"] in EARLY for logs in calls for call in logs):
        _drop(spec, "LearningRateMonitor")  # it asks for metrics at the start, and Lightning shows them from then on


def _second_order(spec: Spec) -> None:
    """LBFGS runs a step several times, of which Lightning forgets some in the first batch."""
    module = spec["module"]
    if any(optimizer["name"] == "LBFGS" for optimizer in module["optimizers"]):
        module |= {"logs": [], "metrics": [], "loss": {}, "returns": "loss"}
        _drop(spec, "Logging")
        for name in ("accumulate_grad_batches", "precision"):
            spec["trainer"].pop(name, None)


def _plateau(spec: Spec) -> None:
    """A scheduler that watches a metric steps before the callbacks that do."""
    schedulers = [scheduler for optimizer in spec["module"]["optimizers"] for scheduler in optimizer["schedulers"]]
    if any(scheduler["name"] == "ReduceLROnPlateau" for scheduler in schedulers):
        _drop(spec, "ModelCheckpoint", "EarlyStopping")
        spec["module"]["brings"] = None


def _averaging(spec: Spec) -> None:
    """The average is taken also of a run that ends early, and without an epoch more for batch norm."""
    module, options = spec["module"], spec["trainer"]
    if _has(spec, "EMAWeightAveraging"):
        _drop(spec, "StochasticWeightAveraging", "BackboneFinetuning")
    if _has(spec, "StochasticWeightAveraging"):
        _drop(spec, "EarlyStopping", "BackboneFinetuning")
        module |= {"batch_norm": False, "stops": None, "skips": None}
        module["brings"] = None if module["brings"] == "EarlyStopping" else module["brings"]
        options.pop("max_steps", None)
        options["max_epochs"] = max(2, options["max_epochs"] or 2)


def _saving(spec: Spec) -> None:
    """Lightning puts a save off at step 0, which accumulation makes long, and never off in manual optimization. It
    keeps the last state only where that is among the best, and also that of a ``fast_dev_run``."""
    module, options = spec["module"], spec["trainer"]
    if "accumulate_grad_batches" in options:  # which excludes it
        _drop(spec, "GradientAccumulationScheduler")
    accumulates = module["accumulates"] or "accumulate_grad_batches" in options or module["manual"]
    accumulates = accumulates or _has(spec, "GradientAccumulationScheduler")
    for saving in _options(spec, "ModelCheckpoint"):
        if accumulates and "monitor" in saving:
            saving.pop("every_n_train_steps", None)
        if "monitor" in saving or "fast_dev_run" in options:
            saving.pop("save_last", None)


def _afterwards(spec: Spec) -> None:
    module, then = spec["module"], spec["then"]
    draws = module["dropout"] or module["draws"] or any(loader["shuffle"] for loader in spec["data"]["train"])
    excluded = {
        "again": draws or _has(spec, "GradientAccumulationScheduler"),  # which Lightning then takes for a conflict
        "best": not _has(spec, "ModelCheckpoint") or _has(spec, "EMAWeightAveraging"),
        "resume": draws or not _saves_whole_epochs(spec),
    }
    spec["then"] = [] if module["fails"] else [stage for stage in then if not excluded.get(stage)]
    if "resume" in spec["then"]:  # Lightning would check again, and reload in other epochs than a whole run
        spec["trainer"]["num_sanity_val_steps"] = 0
        if spec["trainer"].get("reload_dataloaders_every_n_epochs") == 2:
            del spec["trainer"]["reload_dataloaders_every_n_epochs"]


def _saves_whole_epochs(spec: Spec) -> bool:
    """Whether checkpoints are of epochs' ends: from elsewhere Lightning goes on with other batches."""
    module, options = spec["module"], spec["trainer"]
    saving = _options(spec, "ModelCheckpoint")
    if not saving or "max_steps" in options or module["stops"] is not None or module["skips"] is not None:
        return False
    by_default = not {"val_check_interval", "check_val_every_n_epoch"} & set(options)
    at_ends = saving[0].get("save_on_train_epoch_end", by_default) and "every_n_train_steps" not in saving[0]
    return at_ends and not saving[0].get("save_weights_only")


def agreed_across_ranks(spec: Spec) -> Spec:
    """What of ``spec`` two processes do alike with both libraries."""
    data, module, options = spec["data"], spec["module"], spec["trainer"]
    for loader in (*data["train"], *data["val"]):  # as many samples for each rank, which Lightning would fill up to
        size = loader["batch_size"]
        loader |= {"count": max(2, loader["count"] // (2 * size)) * 2 * size, "stream": False, "own": None}
    for loader in data["train"]:
        loader["shuffle"] = True  # which Lightning does in any case
    module["batch_norm"] = False  # whose statistics Lightning takes from each rank by itself
    module |= {"fails": None, "metrics": [], "returns": module["returns"].replace("sometimes", "loss")}
    _reduce_metrics(spec)
    _drop(spec, "BackboneFinetuning")  # what is thawed is not averaged by Lightning
    for optimizer in module["optimizers"]:
        optimizer["name"] = optimizer["name"].replace("LBFGS", "SGD")
        if module["manual"]:  # it would watch a rank's own loss
            optimizer["schedulers"] = [one for one in optimizer["schedulers"] if one["name"] != "ReduceLROnPlateau"]
    options.pop("overfit_batches", None)
    in_parts = module["manual"] or module["freezes"] is not None
    options |= {"devices": 2, "strategy": "ddp_find_unused_parameters_true" if in_parts else "ddp"}
    spec["then"] = [stage for stage in spec["then"] if stage in ("validate", "test")]
    return spec


def _reduce_metrics(spec: Spec) -> None:
    """Over ranks, as one has to ask Lightning for."""
    module = spec["module"]
    module["sync"] = {"sync_dist": True}
    calls = [options["logs"] for options in _options(spec, "Logging")]
    for logs in (module["logs"], module["val_logs"], module["test_logs"], *calls):
        for call in logs:
            call["options"] |= module["sync"]


def _of_the_batch_before(call: Spec) -> bool:
    return call["value"] == "loss" and call["hook"] in (*EARLY, "on_train_batch_start", "on_train_epoch_end")


def resumable(spec: Spec) -> Spec:
    """What of ``spec`` goes on where it was stopped."""
    module, options = spec["module"], spec["trainer"]
    module["fails"] = None
    for loader in spec["data"]["train"]:  # Lightning does not draw from it to its end
        loader["own"] = "generator" if loader["own"] == "batches" and loader["count"] % 2 else loader["own"]
    for name in ("fast_dev_run", "csv"):  # the one saves nothing, the other's files are compared elsewhere
        options.pop(name, None)
    calls = [module["logs"], *(options["logs"] for options in _options(spec, "Logging"))]
    for logs in calls:  # that hook runs once more, and what programs keep of the batch before is lost
        logs[:] = [call for call in logs if call["hook"] != "on_train_start" and not _of_the_batch_before(call)]
    for call in module["val_logs"]:
        call["value"] = call["value"].replace("loss", "number")
    module["draws"] = [hook for hook in module["draws"] if hook != "on_train_end"]  # it does not run again
    if "optimizer_zero_grad" in module["overrides"]:  # gradients that are there and zero are not kept
        module["returns"] = "loss"
    return spec


def goes_on_from_files(spec: Spec) -> bool:
    """Whether a run that is given a file of ModelCheckpoint ends as the run did that saved it."""
    module = spec["module"]
    saving = _options(spec, "ModelCheckpoint")
    if not saving or saving[0].get("save_weights_only"):
        return False
    if "devices" in spec["trainer"]:  # each process has a folder of its own
        return False
    if "on_save_checkpoint" in module["draws"]:  # also for the checkpoint of the same place that was saved next
        return False
    if _has(spec, "EarlyStopping") or module["stops"] is not None or module["brings"]:  # it is to train on
        return False
    if any(optimizer["name"] == "LBFGS" for optimizer in module["optimizers"]):  # rounds by where its tensors lie
        return False
    calls = [*module["logs"], *module["val_logs"]]
    after = {*module["draws"], *(call["hook"] for call in calls)}  # hooks that the module has after the callbacks
    return not after & {"on_train_batch_end", "on_validation_end"}
