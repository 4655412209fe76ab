"""A training as plain values, and back: the part of `Trainer` that goes on.

``state`` is for a training that continues one that has ended. For checkpoints,
``_middle`` is all that a training needs to go on after a step, ``_end`` what it leaves
behind. What runs before and after a training is repeated when a fit is resumed. It may
be resumed by another number of processes, with the stored schedule (`resumed_schedule`)
and rows in a new order.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skae.state.container import ModelFileError
from skae.state.plain import from_plain, to_plain
from skae.training.attributes import (
    attributes_of_module,
    digests_of_others,
    load_module,
)
from skae.training.callbacks import callback_states, load_callbacks
from skae.training.checkpoint import WAYS_OUT
from skae.training.schedule import Schedule

__all__ = ["Resumable", "resumed_schedule"]

# Products may depend on where a tensor begins, in bytes of so many.
_ALIGNMENT = 64
_NUMBERS = (
    "_n_done",
    "_n_in_round",
    "_n_lost",
    "_n_finite",
    "_best",
    "kept_round_",
    "start_loss_",
    "stop_training",
    "stop_reason_",
)
# Of a schedule, what depends on the number of processes.
_LENGTHS = "n_steps", "n_rounds", "batch_size", "steps_per_epoch"


def resumed_schedule(schedule: Schedule, recording: Any) -> Schedule:
    """The schedule with the lengths of the training that comes next in a recording.

    Parameters
    ----------
    schedule : Schedule
    recording : Recording or None
    """
    stored = None if recording is None else recording.coming
    if stored is None:
        return schedule
    try:
        return replace(schedule, **{name: stored["lengths"][name] for name in _LENGTHS})
    except (LookupError, TypeError) as error:
        raise ModelFileError(
            f"{recording.path} does not fit this training: {error}. {WAYS_OUT}"
        ) from error


class Resumable:
    """What `Trainer` writes to its recording and takes from there.

    The attributes are the trainer's.
    """

    module_: Any
    flat_: Any
    optimizer_: Any
    generator: Any
    recording: Any
    global_generators: Any
    history: Any
    schedule: Any
    callbacks_: Any
    _batches: Any
    _best_values: Any
    _norms: Any
    _patience: Any
    _spread: Any
    _n_done: int
    _sums: dict[str, Tensor]
    _others: dict[str, str]

    def state(self) -> dict:
        """What a training that goes on from here needs beside the weights.

        Returns
        -------
        state : dict
            Arrays and plain values: the optimiser's and the generator's.
        """
        return {
            "optimizer": self.optimizer_.state(),
            "generator": self.generator.get_state().numpy(),
            "device": self.generator.device.type,
        }

    def _continue(self, state: dict) -> None:
        """Go on from the `state` of an earlier training."""
        self.optimizer_.load(state["optimizer"])
        # Devices have generators of their own.
        if state["device"] == self.generator.device.type:
            self.generator.set_state(torch.from_numpy(state["generator"].copy()))

    def _is_taken_up(self) -> bool:
        """Go on from the file where there is one; True for a training that is over."""
        self._stored: dict | None = None
        is_over = False
        if self.recording is not None:
            self._stored, is_over = self.recording.take()
        if self._stored is None:
            self._begin_anew()
            return False
        self._load(self._stored, is_over)
        if is_over:
            self.module_.eval()
            load_callbacks(self.callbacks_, self._stored["callbacks"])
            self.recording.finish(self._stored)
        return is_over

    def _begin_anew(self) -> None:
        raise NotImplementedError

    def _record_start(self) -> None:
        """After ``on_train_begin``: the first file, or all as it was in the file."""
        if self.recording is None:
            return
        self._others = digests_of_others(self.module_)
        if self._stored is None:
            self.recording.begin(self._middle)
            return
        if len(self.history):
            n_steps = self.schedule.steps_in(len(self.history))
            datasets = {"dataset_train": range(n_steps), "dataset_valid": None}
            for _, callback in self.callbacks_:
                callback.on_epoch_begin(self, **datasets)
        # Again, as callbacks may have changed the weights at these two events.
        self._load(self._stored, is_over=False)
        load_callbacks(self.callbacks_, self._stored["callbacks"])
        self._stored = None

    def _record_end(self) -> None:
        if self.recording is not None:
            self.recording.finish(self._end())

    def _end(self) -> dict:
        """What a training leaves behind."""
        callbacks, others = callback_states(self.callbacks_)
        for name in others:
            self.recording.warn(
                name,
                f"The callback's attribute {name} is not in the checkpoint, as it is "
                "no plain value: a resumed fit has that of a new callback, unless the "
                "object in it has methods state() and load(state).",
            )
        buffers = self.module_.named_buffers()
        return {
            "training": self._name_of_training(),
            "lengths": {name: getattr(self.schedule, name) for name in _LENGTHS},
            "weights": _array(self.flat_.data),
            "fixed": [_array(p) for p in self._fixed()],
            "buffers": {name: _array(buffer) for name, buffer in buffers},
            "attributes": attributes_of_module(self.module_),
            "generators": [each.get_state().numpy() for each in self._generators()],
            "callbacks": callbacks,
            "history": [_packed(row) for row in self.history],
            "numbers": to_plain([getattr(self, name) for name in _NUMBERS]),
        }

    def _middle(self) -> dict:
        """What a training needs to go on after this step."""
        for name, own in digests_of_others(self.module_).items():
            if self._others.get(name, own) != own:
                self.recording.warn(
                    name,
                    f"The attribute {name} of your module changes in the training and "
                    "is not in the checkpoint: a fit that is resumed may differ. Give "
                    "the object in it methods state() and load(state).",
                )
        weights, buffers = self._best_values
        return {
            **self._end(),
            "batches": to_plain(self._batches.state()),
            "optimizer": to_plain(self.optimizer_.state()),
            "average": _array(self.optimizer_.average),
            "best": _array(weights),
            "best_buffers": {name: _array(values) for name, values in buffers.items()},
            "patience": to_plain([self._patience.best, self._patience.n_waited]),
            "sums": {
                name: total.item() for name, total in getattr(self, "_sums", {}).items()
            },
            "norms": _with_places(list(self._norms.batches)),
            "global": None
            if self.global_generators is None
            else self.global_generators.state(),
        }

    def _load(self, stored: dict, is_over: bool) -> None:
        try:
            if stored["training"] != self._name_of_training():
                raise ValueError("it is of another training")
            self._load_end(stored)
            if not is_over:
                self._load_middle(stored)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{self.recording.path} does not fit this training: {error}. {WAYS_OUT}"
            ) from error

    def _load_end(self, stored: dict) -> None:
        _fill(self.flat_.data, stored["weights"])
        for parameter, values in zip(self._fixed(), stored["fixed"], strict=True):
            _fill(parameter.data, values)
        load_module(self.module_, stored["attributes"])
        for name, buffer in self.module_.named_buffers():
            _fill(buffer, stored["buffers"][name])
        for own, state in zip(self._generators(), stored["generators"], strict=True):
            own.set_state(torch.from_numpy(state))
        self.history.clear()
        self.history.extend(map(_unpacked, stored["history"]))
        numbers = from_plain(stored["numbers"])
        for name, value in zip(_NUMBERS, numbers, strict=True):
            setattr(self, name, value)

    def _load_middle(self, stored: dict) -> None:
        batches = from_plain(stored["batches"])
        if batches.keys() == self._batches.state().keys():
            self._batches.load(batches)
        else:
            # Of another number of processes.
            self._batches.begin_anew(self._n_done)
        self._spread.draw_apart(self.generator, self._n_done)
        self.optimizer_.load(from_plain(stored["optimizer"]))
        _fill(self.optimizer_.average, stored["average"])
        device = self.flat_.data.device
        self._best_values = (
            _like(self.flat_.data, stored["best"]),
            {
                name: _like(buffer, stored["best_buffers"][name])
                for name, buffer in self.module_.named_buffers()
                if name in stored["best_buffers"]
            },
        )
        self._patience.best, self._patience.n_waited = from_plain(stored["patience"])
        self._sums = {
            name: self.flat_.data.new_tensor(total)
            for name, total in stored["sums"].items()
        }
        self._norms.batches.clear()
        self._norms.batches.extend(_in_places(stored["norms"], device))
        if self.global_generators is not None:
            self.global_generators.load(stored["global"])

    def _generators(self) -> list[torch.Generator]:
        return [self.generator, self._batches.generator]

    def _name_of_training(self) -> list:
        """By which the trainings of a fit are recognised."""
        own = self.schedule
        sizes = len(self.flat_.data), own.n_steps, own.n_rounds, own.batch_size
        return [*map(int, sizes), float(own.lr)]

    def _fixed(self) -> list[Tensor]:
        """The module's parameters that are not trained."""
        return [p for p in self.module_.parameters() if not p.requires_grad]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _like(tensor: Tensor, values: np.ndarray) -> Tensor:
    return _fill(torch.empty_like(tensor), values)


@torch.no_grad()
def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    return tensor.copy_(torch.from_numpy(values))


def _packed(row: dict) -> dict:
    """A row of the history; entries that all batches have are columns."""
    batches = row.get("batches", [])
    own = {key: value for key, value in row.items() if key != "batches"}
    columns = {
        name: [batch[name] for batch in batches]
        for name in (batches[0] if batches else ())
        if all(name in batch for batch in batches)
    }
    rest = [{k: v for k, v in batch.items() if k not in columns} for batch in batches]
    return {
        "row": to_plain(own),
        "n_batches": len(batches),
        "columns": to_plain(columns),
        "rest": to_plain(rest if any(rest) else None),
    }


def _unpacked(stored: dict) -> dict:
    batches: list[dict] = [{} for _ in range(stored["n_batches"])]
    for name, column in from_plain(stored["columns"]).items():
        for batch, value in zip(batches, column, strict=True):
            batch[name] = value
    for batch, rest in zip(batches, from_plain(stored["rest"]) or (), strict=False):
        batch.update(rest)
    return {"batches": batches, **from_plain(stored["row"])}


def _with_places(batches: list) -> dict:
    """Batches as plain values, and where the memory of their tensors begins."""
    places = [[t.data_ptr() % _ALIGNMENT for t in _tensors(each)] for each in batches]
    return {"batches": to_plain(batches), "places": places}


def _in_places(stored: dict, device: torch.device) -> list:
    batches = from_plain(stored["batches"], device)
    for batch, places in zip(batches, stored["places"], strict=True):
        for tensor, place in zip(_tensors(batch), places, strict=True):
            tensor.data = _placed(tensor, place)
    return batches


def _tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, tuple | list):
        return [tensor for each in batch for tensor in _tensors(each)]
    return []


def _placed(tensor: Tensor, place: int) -> Tensor:
    """A copy that begins as many bytes after a multiple of the alignment."""
    n_bytes = tensor.numel() * tensor.element_size()
    room = tensor.new_empty(n_bytes + 2 * _ALIGNMENT, dtype=torch.uint8)
    start = (place - room.data_ptr()) % _ALIGNMENT
    copied = room[start : start + n_bytes].view(tensor.dtype).view(tensor.shape)
    return copied.copy_(tensor)
