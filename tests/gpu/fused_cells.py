"""Recurrent cells that GPUs compute in one launch, written out for the CPU.

`pretend_device` runs them; the formulas are those of torch's LSTM and GRU.
"""

import torch

__all__ = ["CELLS"]


def _lstm(of_input, of_hidden, cell, input_bias=None, hidden_bias=None):
    gates = of_input + of_hidden
    if input_bias is not None:
        gates = gates + input_bias + hidden_bias
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    later = f * cell + i * g
    return o * later.tanh(), later, torch.cat([i, f, g, o], 1)


def _lstm_slopes(slope_hidden, slope_cell, cell, later, saved, has_bias):
    i, f, g, o = saved.chunk(4, 1)
    tanh = later.tanh()
    if slope_hidden is None:
        slope_hidden = torch.zeros_like(later)
    slope = slope_hidden * o * (1 - tanh * tanh)
    if slope_cell is not None:
        slope = slope + slope_cell
    parts = [
        slope * g * i * (1 - i),
        slope * cell * f * (1 - f),
        slope * i * (1 - g * g),
        slope_hidden * tanh * o * (1 - o),
    ]
    gates = torch.cat(parts, 1)
    return gates, slope * f, gates.sum(0) if has_bias else gates.new_empty(0)


def _gru(of_input, of_hidden, hidden, input_bias=None, hidden_bias=None):
    if input_bias is not None:
        of_input, of_hidden = of_input + input_bias, of_hidden + hidden_bias
    r_i, z_i, n_i = of_input.chunk(3, 1)
    r_h, z_h, n_h = of_hidden.chunk(3, 1)
    r, z = (r_i + r_h).sigmoid(), (z_i + z_h).sigmoid()
    n = (n_i + r * n_h).tanh()
    return (hidden - n) * z + n, torch.cat([r, z, n, hidden, n_h], 1)


def _gru_slopes(slope, saved, has_bias):
    r, z, n, hidden, n_h = saved.chunk(5, 1)
    slope_n = slope * (1 - z) * (1 - n * n)
    slope_z = slope * (hidden - n) * z * (1 - z)
    slope_r = slope_n * n_h * r * (1 - r)
    of_input = torch.cat([slope_r, slope_z, slope_n], 1)
    of_hidden = torch.cat([slope_r, slope_z, slope_n * r], 1)
    biases = [
        part.sum(0) if has_bias else part.new_empty(0) for part in (of_input, of_hidden)
    ]
    return of_input, of_hidden, slope * z, *biases


CELLS = {
    "_thnn_fused_lstm_cell": _lstm,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_slopes,
    "_thnn_fused_gru_cell": _gru,
    "_thnn_fused_gru_cell_backward": _gru_slopes,
}
