"""The module that undoes one block: from the block's output back to its input, mirrored.

What the block does to size is undone by learned layers: stride and pooling by sub-pixel upsampling (Shi et al. 2016), the
upsampling of a generator by gathering pixels into channels, global pooling and flattening by a linear layer to a small
map.  A max-pool has no analytic inverse and gets none: it is upsampling like any other.

Features of neighbouring channels say nearly the same, and what tells them apart is what an inverse needs: so the given maps
are whitened across channels (by a fixed matrix, from a few batches), the wanted ones standardised, and a linear path around
the body starts as the best linear guess.  No batch statistics inside: an image's inverse depends on that image alone.

    module = InverseModule(block.output_shape, block.input_shape, layers=2)
    module.calibrate(features, inputs)           # of some images
    inputs = module(features)                    # (n, *output_shape) -> (n, *input_shape), linear at the end
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanner.errors import ModelError

_MAP_AXES = 3
_SEED_SIDE = 8
"""Largest side of the map that a linear layer writes."""
_SEED_WEIGHTS = 4_000_000
_CHANNELS_MAX = 256
_SLOPE = 0.1


class InverseModule(nn.Module):
    """(n, *given) float32 to (n, *wanted) float32."""

    given_mean: Tensor
    given_sd: Tensor
    wanted_mean: Tensor
    wanted_sd: Tensor
    whiten: Tensor | None

    def __init__(self, given: Sequence[int], wanted: Sequence[int], *, layers: int = 2, width: float = 1.0) -> None:
        """Build it with random weights.

        Args:
            given: shape of the block's output, without the batch's axis.
            wanted: shape of the block's input.
            layers: with weights, in the block; the inverse has as many, and its ends.
            width: channels inside, as a multiple of the wider end of the block.

        Raises:
            ModelError: an empty shape.
        """
        super().__init__()
        if not given or not wanted or min(*given, *wanted, 1) < 1:
            raise ModelError(
                f"An inverse from {tuple(given)} to {tuple(wanted)} cannot be built: a shape is empty. "
                "Cut the network where whole feature maps or vectors pass."
            )
        self.given, self.wanted = tuple(given), tuple(wanted)
        shapes = (_statistics_shape(self.given), _statistics_shape(self.wanted))
        for name, shape in zip(("given", "wanted"), shapes, strict=True):
            self.register_buffer(f"{name}_mean", torch.zeros(shape))
            self.register_buffer(f"{name}_sd", torch.ones(shape))
        places = _plain(self.given)
        eye = torch.eye(places[0])[:, :, None, None] if len(places) == _MAP_AXES else None
        self.register_buffer("whiten", eye)
        self.body = _body(_plain(self.given), _plain(self.wanted), layers, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return the re-created input of the block."""
        raw = self.body(self._whitened(features))
        result: Tensor = raw.reshape(-1, *self.wanted) * self.wanted_sd + self.wanted_mean
        return result

    def calibrate(self, features: Tensor, inputs: Tensor) -> None:
        """Set the scale of both ends, and the linear guess, from outputs and inputs of the block for the same images."""
        with torch.no_grad():
            for name, values in (("given", features), ("wanted", inputs)):
                mean, sd = statistics(values)
                getattr(self, f"{name}_mean").copy_(mean)
                getattr(self, f"{name}_sd").copy_(sd)
            scaled = ((features - self.given_mean) / self.given_sd).reshape(-1, *_plain(self.given))
            if self.whiten is not None:
                self.whiten.copy_(_whitener(scaled)[:, :, None, None])
            if isinstance(self.body, Maps):
                target = ((inputs - self.wanted_mean) / self.wanted_sd).reshape(-1, *_plain(self.wanted))
                self.body.guess(self._whitened(features), target)

    def _whitened(self, features: Tensor) -> Tensor:
        """Return features (n, *given) as maps or vectors, standardised and, if maps, uncorrelated."""
        scaled = ((features - self.given_mean) / self.given_sd).reshape(-1, *_plain(self.given))
        return scaled if self.whiten is None else functional.conv2d(scaled, self.whiten)


def _whitener(maps: Tensor) -> Tensor:
    """Return the symmetric matrix (c, c) that makes channels of centred maps (n, c, h, w) uncorrelated, of deviation 1.

    Directions with less than a ten-thousandth of the mean variance are rounding; they are not blown up further.
    """
    rows = maps.permute(1, 0, 2, 3).flatten(1).double()
    values, vectors = torch.linalg.eigh(rows @ rows.T / rows.shape[1])
    inverse_root = values.clamp_min(1e-4 * float(values.mean())).rsqrt()
    whitener: Tensor = ((vectors * inverse_root) @ vectors.T).float()
    return whitener


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of features (n, ...): per channel for maps (c, 1, 1), per number otherwise.

    What hardly ever changes gets a tenth of the others' deviation: it can neither be divided by nor be what counts most.
    """
    axes = (0, 2, 3) if features.ndim == _MAP_AXES + 1 else (0,)
    mean, sd = features.mean(axes), features.var(axes, unbiased=False).sqrt()
    floor = 0.1 * sd.square().mean().sqrt().clamp_min(1e-6)
    shape = _statistics_shape(tuple(features.shape[1:]))
    return mean.reshape(shape), sd.clamp_min(floor).reshape(shape)


def _statistics_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, 1) if len(shape) == _MAP_AXES else shape


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape as a map (c, h, w) with more than one place, or as a vector (d,)."""
    is_map = len(shape) == _MAP_AXES and shape[1] * shape[2] > 1
    return shape if is_map else (math.prod(shape),)


def _body(given: tuple[int, ...], wanted: tuple[int, ...], layers: int, width: float) -> nn.Module:
    if len(given) == 1 and len(wanted) == 1:
        return _Vectors(given[0], wanted[0], width)
    if len(given) == 1:
        return _FromVector(given[0], wanted, layers, width)
    if len(wanted) == 1:
        return _ToVector(given, wanted[0], width)
    return Maps(given, wanted, layers, width)


def _channels(given: int, wanted: int, width: float) -> int:
    """Return channels inside: a multiple of 8, at least 16."""
    wide = min(_CHANNELS_MAX, max(given, wanted))
    return max(16, 8 * round(wide * width / 8))


class _Residual(nn.Module):
    """Two 3x3 convolutions around which the input passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        inner = self.first(functional.leaky_relu(x, _SLOPE))
        result: Tensor = x + self.second(functional.leaky_relu(inner, _SLOPE))
        return result


class Maps(nn.Module):
    """Map to map of another or the same size: most of the work at the smaller of both sizes."""

    def __init__(self, given: tuple[int, ...], wanted: tuple[int, ...], layers: int, width: float) -> None:
        super().__init__()
        self.size = (wanted[1], wanted[2])
        self.up = max(1, *(round(big / small) for big, small in zip(wanted[1:], given[1:], strict=True)))
        shrinks = self.up == 1
        self.down = (
            max(1, *(round(big / small) for big, small in zip(given[1:], wanted[1:], strict=True))) if shrinks else 1
        )
        come = given[0] * self.down**2
        inside = _channels(given[0], wanted[0], width)
        self.head = nn.Conv2d(come, inside, 3, padding=1)
        self.trunk = nn.Sequential(*(_Residual(inside) for _ in range(max(0, (layers - 1) // 2))))
        self.tail = nn.Conv2d(inside, wanted[0] * self.up**2, 3, padding=1)
        self.past = nn.Conv2d(come, wanted[0] * self.up**2, 1)
        nn.init.zeros_(self.tail.weight)

    def guess(self, x: Tensor, wanted: Tensor) -> None:
        """Make the linear path the least-squares guess, place by place, of `wanted` (n, *wanted) from x (n, *given)."""
        x = self._gathered(x)
        fitted = fit(wanted, (x.shape[2] * self.up, x.shape[3] * self.up))
        target = functional.pixel_unshuffle(fitted, self.up) if self.up > 1 else fitted
        rows, aims = (maps.permute(0, 2, 3, 1).flatten(0, 2).double() for maps in (x, target))
        square = rows.T @ rows
        ridge = 1e-4 * float(square.diagonal().mean()) * torch.eye(len(square)).to(square)
        middle = aims.mean(0)
        weights = torch.linalg.solve(square + ridge, rows.T @ (aims - middle))
        fresh = {"weight": weights.T[:, :, None, None].float(), "bias": middle.float()}
        self.past.load_state_dict(fresh)
        self.tail.load_state_dict({name: torch.zeros_like(value) for name, value in self.tail.state_dict().items()})

    def _gathered(self, x: Tensor) -> Tensor:
        """Return the maps at the size where the work is done."""
        if self.down == 1:
            return x
        return functional.pixel_unshuffle(fit(x, (self.size[0] * self.down, self.size[1] * self.down)), self.down)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, *wanted)."""
        x = self._gathered(x)
        inner = functional.leaky_relu(self.trunk(self.head(x)), _SLOPE)
        whole = self.past(x) + self.tail(inner)
        return fit(functional.pixel_shuffle(whole, self.up) if self.up > 1 else whole, self.size)


class _Vectors(nn.Module):
    """Vector to vector: two hidden layers, and a linear path around them."""

    def __init__(self, given: int, wanted: int, width: float) -> None:
        super().__init__()
        inside = min(1024, max(64, 8 * round(2 * width * max(given, wanted) / 8)))
        self.past = nn.Linear(given, wanted)
        self.rest = nn.Sequential(
            nn.Linear(given, inside),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(inside, inside),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(inside, wanted),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, *wanted)."""
        result: Tensor = self.past(x) + self.rest(x)
        return result


class _FromVector(nn.Module):
    """Vector to map: a linear layer writes a small map, the rest is map to map."""

    def __init__(self, given: int, wanted: tuple[int, ...], layers: int, width: float) -> None:
        super().__init__()
        sides = [side if side <= _SEED_SIDE else math.ceil(side / math.ceil(side / _SEED_SIDE)) for side in wanted[1:]]
        affordable = _SEED_WEIGHTS // (given * sides[0] * sides[1])
        channels = max(4, min(_channels(wanted[0], min(given, _CHANNELS_MAX), width), affordable))
        self.seed = (channels, *sides)
        self.write = nn.Linear(given, math.prod(self.seed))
        self.rest = Maps(self.seed, wanted, layers, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, *wanted)."""
        result: Tensor = self.rest(self.write(x).reshape(-1, *self.seed))
        return result


class _ToVector(nn.Module):
    """Map to vector: strided convolutions down to a small map, then all of its numbers."""

    def __init__(self, given: tuple[int, ...], wanted: int, width: float) -> None:
        super().__init__()
        channels, height, breadth = given
        shrink: list[nn.Module] = []
        while max(height, breadth) > _SEED_SIDE:
            wide = min(_CHANNELS_MAX, max(32, 2 * channels))
            shrink += [nn.Conv2d(channels, wide, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
            channels, height, breadth = wide, (height + 1) // 2, (breadth + 1) // 2
        self.shrink = nn.Sequential(*shrink)
        self.read = _Vectors(channels * height * breadth, wanted, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, *wanted)."""
        result: Tensor = self.read(self.shrink(x).flatten(1))
        return result


def fit(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (n, c, h, w) cut, or continued by their outer rows and columns, to `size`.

    About the middle: convolutions and pools without padding lose as much at either side, so 4 x 55 rows lie in the middle
    of the 227 that they were computed from.
    """
    rows, columns = (want - have for want, have in zip(size, maps.shape[2:], strict=True))
    if rows > 0 or columns > 0:
        down, across = max(0, rows), max(0, columns)
        sides = (across // 2, across - across // 2, down // 2, down - down // 2)
        maps = functional.pad(maps, sides, mode="replicate")
    top, left = max(0, -rows) // 2, max(0, -columns) // 2
    return maps[:, :, top : top + size[0], left : left + size[1]]
