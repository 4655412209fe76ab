"""Convolutions: shapes, patches, transposed layers."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from skae.parts.conv import Conv
from skae.parts.layers import Down, ShiftedUp, Up, Window, widest

GRID = [
    (size, kernel, stride)
    for size, kernel, stride in itertools.product(
        (1, 2, 5, 7, 8, 13, 28, 30), (1, 2, 3, 4, 5, 7), (1, 2, 3, 4)
    )
    if stride <= kernel and (size == 1 or size >= kernel)
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fill(layer, seed=0):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed)))
    return layer


def windows(height, width, kernel, stride):
    return [Window.over(size, kernel, stride) for size in (height, width)]


@pytest.mark.parametrize(("size", "kernel", "stride"), GRID)
def test_sizes_come_back_exactly(size, kernel, stride):
    across = 9 if kernel <= 9 else size
    over = windows(size, across, kernel, stride)
    x = torch.randn(2, 3, size, across, generator=seeded())
    h = fill(Down(3, 5, over))(x)
    assert h.shape == (2, 5, over[0].output, over[1].output)
    assert fill(Up(5, 3, over))(h).shape == x.shape


@pytest.mark.parametrize(("size", "kernel", "stride"), GRID)
def test_every_pixel_is_seen_and_made(size, kernel, stride):
    over = windows(size, 1, kernel, stride)
    x = torch.ones(1, 1, size, 1, requires_grad=True)
    down, up = Down(1, 1, over), Up(1, 1, over)
    with torch.no_grad():
        for layer in (down, up):
            layer.weight.fill_(1.0)
    h = down(x)
    h.sum().backward()
    assert (x.grad > 0).all()
    assert (up(torch.ones_like(h)) > 0).all()


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 7)])
def test_patches_are_the_convolution_that_they_replace(height, width):
    over = windows(height, width, 4, 4)
    extra = [window.extra for window in over]
    down, up = fill(Down(3, 5, over)), fill(Up(5, 3, over), seed=1)
    x = torch.randn(2, 3, height, width, generator=seeded(2))
    padded = F.pad(x, (0, extra[1], 0, extra[0]))
    expected = F.conv2d(padded, down.weight, down.bias, stride=4)
    torch.testing.assert_close(down(x), expected)
    back = F.conv_transpose2d(expected, up.weight, up.bias, stride=4)
    torch.testing.assert_close(up(expected), back[:, :, :height, :width])


@pytest.mark.parametrize("n_components", [None, 6])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14), (2, 1, 30)])
@pytest.mark.parametrize(
    "options",
    [
        {"channels": (8,), "kernel_size": 4, "stride": 4},
        {"channels": (6, 4), "kernel_size": 3, "stride": 2},
        {"channels": (6, 4), "kernel_size": 3, "stride": 2, "output_kernel_size": 3},
        {"channels": (5,), "kernel_size": 2, "stride": 1, "n_residual_layers": 0},
    ],
)
def test_codecs_round_trip(shape, n_components, options):
    d = torch.Size(shape).numel()
    codec = Conv(shape, **options).build(d, n_components, generator=seeded())
    x = torch.randn(4, d, generator=seeded(1))
    z = codec.encode(x)
    assert z.shape == (4, n_components or torch.Size(codec.code_shape).numel())
    assert codec.decode(z).shape == x.shape


def test_the_textbook_network_is_the_textbook_network():
    options = {"kernel_size": 3, "stride": 2, "n_residual_layers": 0}
    conv = Conv((1, 28, 28), (16, 8), output_kernel_size=3, **options)
    codec = conv.build(784, None, generator=seeded())
    textbook = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 8, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(8, 8, 3, 2, 1, 1),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(8, 16, 3, 2, 1, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 1, 3, padding=1),
    )
    assert codec.code_shape == (8, 7, 7)
    parameters = list(codec.parameters())
    with torch.no_grad():
        for mine, theirs in zip(textbook.parameters(), parameters, strict=True):
            mine.copy_(theirs)
    x = torch.rand(3, 784, generator=seeded(1))
    expected = textbook(x.view(3, 1, 28, 28)).flatten(1)
    torch.testing.assert_close(codec.decode(codec.encode(x)), expected)


def test_untrained_layers_keep_the_size_of_their_input():
    codec = Conv((1, 32, 32)).build(1024, None, generator=seeded())
    raw = codec.decode(codec.encode(torch.randn(64, 1024, generator=seeded(1))))
    assert 0.3 < raw.std() < 5


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "message"),
    [
        (28, 2, 3, "stride=3 must not exceed kernel_size=2"),
        (3, 4, 4, "needs at least 4 pixels; this axis has 3 left"),
    ],
)
def test_windows_that_cannot_work_are_named(size, kernel, stride, message):
    with pytest.raises(ValueError, match=message):
        Window.over(size, kernel, stride)


def test_the_generator_decides_the_weights():
    one, same, other = (
        Conv((1, 8, 8), kernel_size=2, stride=2)
        .build(64, 3, generator=seeded(seed))
        .state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["down.0.weight"], other["down.0.weight"])


def test_biases_are_not_decayed():
    codec = Conv((1, 8, 8), kernel_size=2, stride=2).build(64, 3, generator=seeded())
    decayed = {id(parameter) for parameter in codec.decayed_parameters()}
    for name, parameter in codec.named_parameters():
        assert (id(parameter) in decayed) == name.endswith("weight")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14)])
@pytest.mark.parametrize("options", [{}, {"kernel_size": 3, "stride": 2}])
def test_the_widest_layer_is_the_one_with_the_most_outputs(shape, options):
    n_features = math.prod(shape)
    codec = Conv(shape, channels=(6, 9), **{"kernel_size": 2, "stride": 2, **options})
    codec = codec.build(n_features, 3, generator=torch.Generator().manual_seed(0))
    sizes = [n_features]
    for layer in codec.modules():
        layer.register_forward_hook(lambda _, x, h: sizes.append(h.numel()))
    x = torch.zeros(1, n_features)
    codec.decode(codec.encode(x))
    assert max(sizes) <= widest(codec, n_features) <= 2 * max(sizes)


@pytest.mark.parametrize(("sizes", "kernel"), [((8, 12), 4), ((7, 10), 3), ((1, 9), 2)])
def test_shifted_patches_lie_half_a_patch_further(sizes, kernel):
    over = windows(*sizes, kernel, kernel)
    layer = fill(ShiftedUp(5, 2, over))
    h = torch.randn(3, 5, *(window.output for window in over), generator=seeded())
    steps = [window.kernel for window in over]
    expected = layer.bias[:, None, None] + torch.zeros(3, 2, *sizes)
    corners = [range(window.output + (window.kernel > 1)) for window in over]
    for corner in itertools.product(*corners):
        # The patches around a corner, of which those outside count as zero.
        around = [
            [i for i in (at - 1, at) if 0 <= i < size] if step > 1 else [0]
            for at, size, step in zip(corner, h.shape[2:], steps, strict=True)
        ]
        count = math.prod(1 + (step > 1) for step in steps)
        mean = h[:, :, around[0]][..., around[1]].sum((2, 3)) / count
        patch = torch.einsum("nc,cdij->ndij", mean, layer.weight)
        for i, j in itertools.product(*map(range, steps)):
            row, column = (
                at * step + offset - step // 2
                for at, step, offset in zip(corner, steps, (i, j), strict=True)
            )
            if 0 <= row < sizes[0] and 0 <= column < sizes[1]:
                expected[:, :, row, column] += patch[:, :, i, j]
    torch.testing.assert_close(layer(h), expected)


def test_feature_maps_have_patches_over_the_borders_of_patches():
    def codec(n_components=None, **options):
        conv = Conv((3, 8, 8), (6,), **options)
        return conv.build(192, n_components, generator=seeded())

    assert codec().shifted.weight.shape == codec().up[-1].weight.shape
    without = codec(5), codec(kernel_size=6), codec(kernel_size=1, stride=1)
    for other in (*without, codec(output_kernel_size=3)):
        assert not hasattr(other, "shifted")
    at_mean = codec()
    at_mean.start_at_mean(torch.arange(3.0).repeat_interleave(64))
    z = torch.randn(2, at_mean.n_components, generator=seeded())
    expected = torch.arange(3.0).repeat_interleave(64).expand(2, -1)
    torch.testing.assert_close(at_mean.decode(z), expected)


@pytest.mark.parametrize("n_channels", [6, 70])
def test_all_pixels_of_a_patch_weigh_the_same_in_feature_maps(n_channels):
    conv = Conv((3, 8, 8), (n_channels,), n_residual_layers=0)
    codec = conv.build(192, None, generator=seeded())
    (down,) = codec.down
    filters = down.weight.detach().flatten(1)
    side = min(filters.shape)
    gram = filters.mT @ filters if side < n_channels else filters @ filters.mT
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(side))
    # As much as that of independent weights of a rectifier, 2 / fan_in.
    torch.testing.assert_close(
        filters.square().mean(), torch.tensor(2 / 48), rtol=0.2, atol=0.0
    )


def steps_of(node):
    """Names of the steps that made a tensor, from its ``grad_fn`` back."""
    names, nodes = set(), [node]
    while nodes:
        node = nodes.pop()
        names.add(node.name())
        nodes += [before for before, _ in node.next_functions if before is not None]
    return names


@pytest.mark.parametrize("sizes", [(8, 12), (6, 4)])
def test_halving_windows_of_one_channel_are_products_in_training(sizes):
    over = windows(*sizes, 4, 2)
    down, up = fill(Down(1, 5, over)), fill(Up(5, 1, over), seed=1)
    x = torch.randn(2, 1, *sizes, generator=seeded(2), requires_grad=True)
    h = down(x)
    image = up(h)
    assert {"_HalvingBackward", "_DoublingBackward"} < steps_of(image.grad_fn)
    pair = {"stride": 2, "padding": 1}
    torch.testing.assert_close(h, F.conv2d(x, down.weight, down.bias, **pair))
    expected = F.conv_transpose2d(h, up.weight, up.bias, **pair)
    torch.testing.assert_close(image, expected)
    # Rows of fitted models do not depend on those beside them.
    image = up.eval()(down.eval()(x))
    assert not {"_HalvingBackward", "_DoublingBackward"} & steps_of(image.grad_fn)


@pytest.mark.parametrize(
    ("n_image", "height", "kernel", "stride"),
    [(2, 8, 4, 2), (1, 9, 4, 2), (1, 8, 3, 2)],
)
def test_other_windows_are_convolutions(n_image, height, kernel, stride):
    over = windows(height, 8, kernel, stride)
    h = Down(n_image, 5, over)(torch.zeros(2, n_image, height, 8))
    image = Up(5, n_image, over)(h)
    assert image.shape == (2, n_image, height, 8)
    assert not {"_HalvingBackward", "_DoublingBackward"} & steps_of(image.grad_fn)
