"""Slabs: neighbouring blocks of references on a device, kept there as far as they fit, streamed otherwise.

A slab holds whole blocks.  Rows that are not there (removed, or past a part's end) stand as copies of a living row of
their run, so that no maximum is wrong; a run without any is named in `void`.
"""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.codec import BLOCK_ROWS, BOUNDS
from indexes.compressed import LOOSE
from indexes.device_products import RUN, RUNS
from indexes.references import CodeTile, References
from indexes.tiled import cores
from indexes.vectors import product_margin

FLOAT_BYTES = 4

_FILLERS_MAX = 8
_SPARED = 8
"""An eighth of a device is never kept: other indexes that are searched beside this one need room to work."""


@dataclass(slots=True, eq=False)
class Slab:
    """Some blocks on a device.

    Args:
        values: int8 (blocks, 4096, columns) of codes; or float32 (blocks, 4096, d) of vectors, where codes rule out too
            little.
        bounds: float64 (blocks, 3) on the device, see `Codes`; those of vectors are 1, 0 and the margin of a product.
        void: bool (blocks, 32) on the device, runs without a living row; None where there are none.
        row_start: int64 (blocks,), first row of each block.
        rows: int64 (blocks,), rows of each block.
        ready: what a stream has to wait for; None on the CPU.
        room: where it lies for now; goes back to the others when the slab was looked at.
    """

    values: Any
    bounds: Any
    void: Any
    row_start: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    ready: Any
    room: "Room | None" = None

    @property
    def of_bytes(self) -> bool:
        """Whether it holds codes."""
        return bool(self.values.element_size() == 1)


@dataclass(slots=True, eq=False)
class Room:
    """Memory for a slab on its way: page-locked memory of the host, and as much on the device once it is needed."""

    device: Any
    host: Any
    there: Any = None
    free: "queue.Queue[Room]" = field(default_factory=queue.Queue)


class Slabs:
    """The references as slabs, on one or more devices in turn.

    Args:
        references: rows that all carry codes.
        devices: of torch.
        slab_bytes: of a slab.
        kept_bytes: of slabs to keep on each device.
        rooms: slabs under way on each device.
    """

    def __init__(
        self, references: References, devices: list[Any], *, slab_bytes: int, kept_bytes: int, rooms: int
    ) -> None:
        self._references = references
        self._devices = devices
        self._slab_bytes = slab_bytes
        self._left = [kept_bytes] * len(devices)
        self._kept: dict[int, Slab] = {}
        self._rooms: list[list[Room]] = [[] for _ in devices]
        self._rooms_max = rooms
        self._copying: dict[int, Any] = {}

    @property
    def kept(self) -> int:
        """Number of slabs that stay on their devices."""
        return len(self._kept)

    def all(self) -> Iterator[Slab]:
        """Yield every slab; each must go to `done`, from any thread, or this waits for ever."""
        # A search that was given up may have left copies under way and rooms in use.
        for stream in self._copying.values():
            stream.synchronize()
        for slab in self._kept.values():
            slab.room = None
        free: list[queue.Queue[Room]] = [queue.Queue() for _ in self._devices]
        for rooms, mine in zip(self._rooms, free, strict=True):
            for room in rooms:
                room.free = mine
                mine.put(room)
        with ThreadPoolExecutor(min(cores(), _FILLERS_MAX)) as fillers:
            for number, tiles in enumerate(self._groups()):
                turn = number % len(self._devices)
                yield self._kept.get(number) or self._load(number, tiles, turn, free[turn], fillers)

    def done(self, slab: Slab) -> None:
        """Take back the room of a slab that nobody reads any more."""
        room, slab.room = slab.room, None
        if room is not None:
            room.free.put(room)

    def _groups(self) -> Iterator[list[CodeTile]]:
        """Yield neighbouring blocks of one kind, as many as a slab holds."""
        group: list[CodeTile] = []
        for tile in self._references.code_tiles():
            full = (len(group) + 1) * block_bytes(tile) > self._slab_bytes
            if group and (full or is_loose(tile) != is_loose(group[0])):
                yield group
                group = []
            group.append(tile)
        if group:
            yield group

    def _load(
        self, number: int, tiles: list[CodeTile], turn: int, free: "queue.Queue[Room]", fillers: ThreadPoolExecutor
    ) -> Slab:
        import torch

        device, room = self._devices[turn], self._room(turn, free)
        loose, size = is_loose(tiles[0]), len(tiles) * block_bytes(tiles[0])
        dtype = np.float32 if loose else np.int8
        host = room.host[:size].numpy().view(dtype).reshape(len(tiles), BLOCK_ROWS, -1)
        sources = [tile.vectors if loose else tile.codes for tile in tiles]
        living = fillers.map(place, sources, (tile.dead for tile in tiles), host)
        void = ~np.stack(list(living))
        bounds = [(1.0, 0.0, product_margin(self._references.dim)) if loose else tile.bounds for tile in tiles]
        own = self._own(turn, size)
        if own is None and room.there is None:
            room.there = torch.empty(self._slab_bytes, dtype=torch.uint8, device=device)
        there = room.there[:size] if own is None else own
        with self._stream(turn):
            there.copy_(room.host[:size], non_blocking=True)
            slab = Slab(
                there.view(torch.float32 if loose else torch.int8).view(len(tiles), BLOCK_ROWS, -1),
                torch.from_numpy(np.array(bounds, np.float64).reshape(-1, BOUNDS)).to(device),
                torch.from_numpy(void).to(device) if void.any() else None,
                np.array([tile.row_start for tile in tiles]),
                np.array([tile.vectors.shape[0] for tile in tiles]),
                torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None,
                room,
            )
        if own is not None:
            self._kept[number] = slab
        return slab

    def _room(self, turn: int, free: "queue.Queue[Room]") -> Room:
        """Return a free room, a new one while there may be more."""
        import torch

        if free.empty() and len(self._rooms[turn]) < self._rooms_max:
            device = self._devices[turn]
            host = torch.empty(self._slab_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
            self._rooms[turn].append(Room(device, host, free=free))
            return self._rooms[turn][-1]
        return free.get()

    def _own(self, turn: int, size: int) -> Any:
        """Return memory for a slab that stays, or None where there is none left."""
        import torch

        device = self._devices[turn]
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            if free - size < total // _SPARED:
                self._left[turn] = 0
        if size > self._left[turn]:
            self._left[turn] = 0
            return None
        self._left[turn] -= size
        return torch.empty(size, dtype=torch.uint8, device=device)

    def _stream(self, turn: int) -> Any:
        """Return the context of the stream that copies to a device."""
        import torch

        device = self._devices[turn]
        if device.type == "cuda" and turn not in self._copying:
            self._copying[turn] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._copying.get(turn))


def is_loose(tile: CodeTile) -> bool:
    """Return whether a block is searched by its vectors."""
    return bool(tile.bounds[2] > LOOSE)


def block_bytes(tile: CodeTile) -> int:
    """Return the bytes of a block on a device."""
    row_bytes: int = tile.vectors.shape[1] * FLOAT_BYTES if is_loose(tile) else tile.codes.shape[1]
    return BLOCK_ROWS * row_bytes


def place(values: npt.NDArray[Any], dead: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Write a block to `out` (4096, w), copies of a living row of the run for missing ones.

    Returns:
        bool (32,), whether a run has a living row; one without holds zeros.
    """
    out[: len(values)] = values
    alive = np.arange(BLOCK_ROWS) < len(values)
    alive[dead] = False
    runs = alive.reshape(RUNS, RUN)
    missing = np.flatnonzero(~alive)
    run = missing // RUN
    living = np.asarray(runs.any(axis=1))
    out[missing] = np.where(living[run, None], out[run * RUN + runs.argmax(axis=1)[run]], 0)
    return living
