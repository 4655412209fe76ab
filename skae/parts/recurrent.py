"""The recurrent architecture: sequences to vectors and back.

`Recurrent` holds hyperparameters and builds a `RecurrentCodec`, which holds weights.
Rows are sequences laid out flat, step after step; steps that are not there are NaN at
the end of a row. A frame x_t is ``frame_size`` successive steps. The encoder reads the
frames in order and the code is an affine map of its state after the last one that holds
a step; the decoder starts from a map of the code and reads, at each frame, the code and
its time::

    h_t = cell(x_t, p_t; h_{t-1})          z     = A h_last + a
    s_t = cell(z, p_t; s_{t-1})            raw_t = B s_t + b,     s_0 = C z + c

where p_t are sines and cosines of t (Vaswani et al. 2017, arXiv 1706.03762). Without
them, the decoder would spend its state on counting.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from skae.parts.base import Architecture, Codec
from skae.parts.layers import joined
from skae.rows.tensors import SINGLE

__all__ = ["CELLS", "Recurrent", "RecurrentCodec"]

CELLS: dict[str, type[nn.RNNBase]] = {"gru": nn.GRU, "lstm": nn.LSTM}
_N_WAVES = 8
_LONGEST_WAVE = 1e4


class Recurrent(Architecture):
    """Sequence-to-vector encoder and vector-to-sequence decoder.

    Parameters
    ----------
    sample_shape : (n_steps, n_step_features)
        Shape of one sequence with all its steps.
    cell : {"gru", "lstm"}, default="lstm"
    hidden_size : int, default=64
        Units of each recurrent layer.
    n_layers : int, default=1
        Recurrent layers of the encoder, and of the decoder.
    frame_size : int, default=1
        Steps that are read, and written, at once.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.recurrent import Recurrent
    >>> generator = torch.Generator().manual_seed(0)
    >>> codec = Recurrent((7, 3)).build(21, 2, generator=generator)
    >>> codec.decode(codec.encode(torch.zeros(5, 21))).shape
    torch.Size([5, 21])
    """

    sample_shape: tuple[int, int]
    data = "sequences"
    allows_missing = True
    shares_center = True

    def __init__(
        self, sample_shape, cell="lstm", hidden_size=64, n_layers=1, frame_size=1
    ):
        self.sample_shape = sample_shape
        self.cell = cell
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.frame_size = frame_size

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        generator: Generator,
        n_outputs: int | None = None,
        n_raw: int | None = None,
        n_context: int = 0,
    ) -> "RecurrentCodec":
        """Draw the weights of a codec, see `skae.parts.base.Architecture.build`.

        A context joins the encoder's last state, and the code.

        Raises
        ------
        ValueError
            When ``sample_shape`` does not multiply to n_features, or n_raw is no
            multiple of it.
        """
        if math.prod(self.sample_shape) != n_features:
            raise ValueError(
                f"sample_shape={self.sample_shape!r} means "
                f"{math.prod(self.sample_shape)} features, not {n_features}."
            )
        per_feature, rest = divmod(n_raw or n_features, n_features)
        if rest:
            raise ValueError(
                "Recurrent gives a whole number of outputs for each feature of a step; "
                f"n_raw={n_raw} for {n_features} features is none."
            )
        n_outputs = n_outputs or n_components
        codec = RecurrentCodec(self, n_components, n_outputs, n_context, per_feature)
        codec.reset(generator)
        return codec

    def unit_groups(self, n_features: int) -> np.ndarray:
        """A feature at all steps."""
        width = self.sample_shape[1]
        return np.tile(np.arange(width), n_features // width)


class RecurrentCodec(Codec):
    """Encoder and decoder of the formulas above, as `Recurrent` builds them.

    The decoder has ``per_feature`` outputs for each feature of a step.
    """

    is_rowwise = True
    allows_missing = True
    code_activation = "identity"
    time: Tensor

    def __init__(
        self,
        recurrent: Recurrent,
        n_components: int,
        n_outputs: int,
        n_context: int = 0,
        per_feature: int = 1,
    ):
        super().__init__()
        self.sample_shape = n_steps, width = tuple(recurrent.sample_shape)
        self.frame_size = recurrent.frame_size
        self.n_frames = math.ceil(n_steps / self.frame_size)
        self.n_components = n_components
        self.per_feature = per_feature
        self.register_buffer("time", _waves(self.n_frames))
        cell, n_units = CELLS[recurrent.cell], recurrent.hidden_size
        n_layers = recurrent.n_layers
        width *= self.frame_size
        n_time, n_condition = self.time.shape[1], n_components + n_context
        self.encoder = _empty(cell, width + n_time, n_units, n_layers)
        self.decoder = _empty(cell, n_condition + n_time, n_units, n_layers)
        self.encoder.n_uses = self.decoder.n_uses = self.n_frames
        n_states = n_layers * (2 if cell is nn.LSTM else 1)
        self.to_code = _empty(nn.Linear, n_units + n_context, n_outputs)
        self.to_state = _empty(nn.Linear, n_condition, n_states * n_units)
        self.to_steps = _empty(nn.Linear, n_units, width * per_feature)

    @property
    def n_values(self) -> int:
        """Values of a sample in the gates of all time steps."""
        return self.n_frames * max(w.shape[0] for w in self.encoder.parameters())

    @torch.no_grad()
    def reset(self, generator: Generator) -> None:
        """Draw the weights anew: orthogonal from state to state, else uniform.

        Biases start at zero, but those of the LSTM's forget gates at one (Jozefowicz
        et al. 2015): both keep early steps in memory from the start.
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.zero_()
            elif "weight_hh" in name:
                for gate in parameter.split(parameter.shape[1]):
                    nn.init.orthogonal_(gate, generator=generator)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)
        for part in (self.encoder, self.decoder):
            if isinstance(part, nn.LSTM):
                for layer in range(part.num_layers):
                    bias = part.get_parameter(f"bias_ih_l{layer}")
                    bias[part.hidden_size : 2 * part.hidden_size] = 1

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [parameter for parameter in self.parameters() if parameter.ndim > 1]

    def last_parameters(self) -> list[nn.Parameter]:
        """Of the layers that give the code and the steps."""
        return [*self.to_code.parameters(), *self.to_steps.parameters()]

    @torch.no_grad()
    def start_at_mean(self, raw: Tensor) -> None:
        """By the biases of the steps, the same for all frames."""
        self.to_steps.weight.zero_()
        per_step = self.sample_shape[1] * self.per_feature
        self.to_steps.bias.copy_(raw.view(-1, per_step).mean(0).repeat(self.frame_size))

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        frames = self._frames(x)
        missing = frames.isnan()
        # Every frame with a step begins with one.
        last = (~missing[..., 0]).sum(0).clamp_min(1) - 1
        # The states at frames without steps are computed and never used.
        states = self._states(self.encoder, frames.masked_fill(missing, 0))
        state = states[last, torch.arange(x.shape[0], device=x.device)]
        return self.to_code(joined(state, context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        z = joined(z, context)
        frames = z.expand(self.n_frames, -1, -1)
        states = self._states(self.decoder, frames, self._first_state(z))
        # One product of two matrices, whatever mode torch is in.
        raw = self.to_steps(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        n_raw = math.prod(self.sample_shape) * self.per_feature
        return raw.transpose(0, 1).flatten(1)[:, :n_raw]

    def _frames(self, x: Tensor) -> Tensor:
        """Rows as frames, shape (n_frames, batch, frame_size * n_step_features)."""
        n_entries = self.n_frames * self.frame_size * self.sample_shape[1]
        n_missing = n_entries - x.shape[-1]
        if n_missing:
            x = nn.functional.pad(x, (0, n_missing), value=torch.nan)
        return x.unflatten(-1, (self.n_frames, -1)).transpose(0, 1)

    def _first_state(self, z: Tensor):
        """The decoder's state before the first step, in torch.nn's layout."""
        shape = -1, self.decoder.num_layers, self.decoder.hidden_size
        state = self.to_state(z).unflatten(1, shape).permute(1, 2, 0, 3).contiguous()
        return tuple(state) if isinstance(self.decoder, nn.LSTM) else state[0]

    def _states(self, layer: Any, frames: Tensor, first=None) -> Tensor:
        """States after each of the frames, to which their times are added."""
        time = self.time.unsqueeze(1).expand(-1, frames.shape[1], -1)
        frames = torch.cat([frames, time], dim=-1)
        if not frames.is_cuda:
            return layer(frames, first)[0]
        # cuDNN warns of weights that lie in the trainer's flat buffer, not in its own.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="RNN module weights")
            return layer(frames, first)[0]


def _waves(n_frames: int) -> Tensor:
    """Sines and cosines of the number, shape (n_frames, 2 * _N_WAVES)."""
    power = torch.arange(_N_WAVES, **SINGLE) / _N_WAVES
    angle = torch.arange(n_frames, **SINGLE)[:, None] / _LONGEST_WAVE**power
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _empty(layer: type[nn.Module], *sizes: int) -> Any:
    """A layer without values; torch.nn would draw them from the global generator."""
    return layer(*sizes, dtype=torch.float32, device="meta").to_empty(device="cpu")
