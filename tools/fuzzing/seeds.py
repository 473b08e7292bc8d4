"""Small sound files of every format that is read, most of them made by the project's own writers."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fuzzing.mutate import Case

_RECORD_MAGIC: Final = struct.pack("<I", 0xCED7230A)
_DIM: Final = 8


def folder_case(folder: Path) -> Case:
    """Return every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def drawn(seed: int = 0, side: int = 12) -> NDArray[np.uint8]:
    """Return noise: uint8 (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3)).astype(np.uint8)


def unit(rows: int, dim: int = _DIM, seed: int = 0) -> NDArray[np.float32]:
    """Return unit rows: float32 (rows, dim)."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# --- pictures and sources ----------------------------------------------------------------------------------------------


def pictures() -> list[Case]:
    """Every format and the ways in which it is written."""
    from PIL import Image

    rgb = Image.fromarray(drawn())
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("jpg", rgb, {"quality": 60}), ("jpg", rgb, {"progressive": True, "exif": exif}), ("jpg", rgb.convert("CMYK"), {}),
        ("png", rgb, {}), ("png", rgb.convert("P"), {"transparency": 3}), ("png", Image.fromarray(drawn()[..., 0].astype(np.uint16) * 200), {}),
        ("png", rgb.convert("RGBA"), {"exif": exif}), ("webp", rgb, {}), ("webp", rgb.convert("RGBA"), {"lossless": True}),
        ("webp", rgb, {"save_all": True, "append_images": [rgb]}), ("gif", rgb, {"save_all": True, "append_images": [rgb]}),
        ("bmp", rgb, {}), ("bmp", rgb.convert("P"), {}), ("ppm", rgb, {}), ("ppm", rgb.convert("1"), {}),
        *(("tiff", rgb, {"compression": kind}) for kind in (None, "tiff_lzw", "jpeg", "tiff_deflate", "packbits")),
    ]  # fmt: skip
    cases = []
    for suffix, image, options in ways:
        out = io.BytesIO()
        image.save(out, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
        cases.append({f"picture.{suffix}": out.getvalue()})
    return cases


def _encoded(count: int = 3) -> list[bytes]:
    from scanner.images import encode_png

    return [encode_png(drawn(seed)) for seed in range(count)]


def tars() -> list[Case]:
    """Plain, gzipped, with pax and GNU headers, links and labels."""
    made = []
    for style in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=style) as archive:
            for number, data in enumerate(_encoded()):
                label = json.dumps({"identity": f"p{number}"}).encode()
                long = "" if style == tarfile.USTAR_FORMAT else "a" * 120
                for name, content in (
                    (f"{number}{long}.png", data),
                    (f"{number}{long}.json", label),
                    (f"{number}.cls", b"7"),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "../x"
            archive.addfile(link)
        made.append(out.getvalue())
    import gzip

    return [*({"set.tar": data} for data in made), {"set.tar.gz": gzip.compress(made[2], 1, mtime=0)}]


def zips() -> list[Case]:
    """With StyleGAN's labels."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(_encoded()):
            archive.writestr(f"{number}/p.png", data)
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{n}/p.png", n] for n in range(3)]}))
    return [{"set.zip": out.getvalue()}]


def records() -> list[Case]:
    """RecordIO with the face-recognition header and index, and without."""
    body, index = b"", []
    data = _encoded()
    payloads = [struct.pack("<IfQQff", 2, 0.0, 0, 0, len(data) + 1.0, len(data) + 2.0)]
    payloads += [struct.pack("<IfQQ", 0, float(n), n, 0) + one for n, one in enumerate(data)]
    payloads += [struct.pack("<IfQQff", 2, 0.0, 0, 0, 1.0, 2.0)]
    for number, payload in enumerate(payloads):
        index.append(f"{number}\t{len(body)}")
        body += _RECORD_MAGIC + struct.pack("<I", len(payload)) + payload + b"\0" * (-len(payload) % 4)
    return [{"train.rec": body, "train.idx": "\n".join(index).encode()}, {"train.rec": body}]


def parquets() -> list[Case]:
    """Bytes, and Hugging Face's struct; dictionary and plain pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _encoded(6)
    plain = pa.table({"image": data, "identity": [f"p{n // 2}" for n in range(6)]})
    struct_ = pa.table({"image": [{"bytes": one, "path": "x.png"} for one in data], "identity": list(range(6))})
    cases = []
    for table, options in (
        (plain, {"compression": "none"}),
        (plain, {"compression": "zstd", "use_dictionary": False}),
        (struct_, {"compression": "snappy"}),
    ):
        out = io.BytesIO()
        pq.write_table(table, out, row_group_size=4, **options)
        cases.append({"set.parquet": out.getvalue()})
    return cases


def folders() -> list[Case]:
    """A folder of pictures with `dataset.json`."""
    data = _encoded()
    labels = json.dumps({"labels": [[f"{n}/p.png", n] for n in range(3)]}).encode()
    return [{**{f"{n}/p.png": one for n, one in enumerate(data)}, "dataset.json": labels}]


def vectors() -> list[Case]:
    """Ready embeddings: `.npy` with ids beside it in every form, and Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = unit(5)
    array, ids, table = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, rows)
    np.save(ids, np.array([f"id{n}" for n in range(5)]))
    names = pa.table({"id": [f"id{n}" for n in range(5)], "identity": ["a", "a", "b", "b", "c"]})
    pq.write_table(names, table)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), _DIM)
    open_ = pa.table({"embedding": rows.tolist(), "id": list(range(5)), "uri": ["u"] * 5})
    cases: list[Case] = [
        {"v.npy": array.getvalue(), **beside}
        for beside in ({"v.ids.npy": ids.getvalue()}, {"v.ids.txt": b"a\nb\nc\nd\ne\n"}, {"v.csv": b"id,identity\na,x\nb,x\nc,y\nd,y\ne,z\n"},
                       {"v.ids.parquet": table.getvalue()}, {})
    ]  # fmt: skip
    for one in (open_, names.append_column("embedding", fixed)):
        out = io.BytesIO()
        pq.write_table(one, out, row_group_size=3)
        cases.append({"v.parquet": out.getvalue()})
    return cases


# --- what the scanner writes itself --------------------------------------------------------------------------------------


def indexes() -> list[Case]:
    """An index with codes and an erased row."""
    import pyarrow as pa

    from indexes import VectorBatch, build_index

    rows, dim = 600, 32
    with tempfile.TemporaryDirectory() as name:
        table = pa.table({"uri": [f"u{n}" for n in range(rows)], "identity": [f"p{n % 9}" for n in range(rows)]})
        block = (VectorBatch(unit(rows, dim)), table)
        index = build_index(f"{name}/one.idx", [block], fingerprint="net", dim=dim, schema=table.schema, codec="always")
        index.remove([3])
        coded = folder_case(Path(name) / "one.idx")
        small = (VectorBatch(unit(7)), table.slice(0, 7))
        build_index(f"{name}/two.idx", [small], fingerprint="net", dim=_DIM, schema=table.schema, dtype="float16")
        return [coded, folder_case(Path(name) / "two.idx")]


def runs() -> list[Case]:
    """A run with a null, as `scanner scan` writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scanner.jobs.indexing.build import BuildOptions, build
    from scanner.jobs.scanning.options import ScanOptions
    from scanner.jobs.scanning.scan import scan

    rng = np.random.default_rng(0)
    codes = {"cand": np.repeat(np.arange(40), 2), "null": np.repeat(np.arange(200), 2)}
    found = {
        name: unit(code.max() + 1, seed=len(name))[code] + 0.1 * rng.normal(size=(len(code), _DIM))
        for name, code in codes.items()
    }
    found["queries"] = np.concatenate([rng.normal(size=(20, _DIM)), found["cand"][[0, 10]]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key, values in found.items():
            rows = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
            labels = [f"{key}{code}" for code in codes[key]] if key in codes else [None] * len(rows)
            column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), _DIM)
            pq.write_table(
                pa.table({"embedding": column, "identity": pa.array(labels, pa.string())}), folder / f"{key}.parquet"
            )
        for key in codes:
            build(folder / f"{key}.idx", str(folder / f"{key}.parquet"), options=BuildOptions(embedded_by="net"))
        options = ScanOptions(threshold=0.97, embedded_by="net", null=(str(folder / "null.idx"),))
        scan(str(folder / "queries.parquet"), against=folder / "cand.idx", out=folder / "run", options=options)
        return [folder_case(folder / "run")]


def documents() -> list[Case]:
    """Every document that a person writes, as TOML and as JSON."""
    import tomllib

    audit = """
[audit]
seed = 1
[people]
members = "members.parquet"
non_members = "others.parquet"
identity_from = "labels"
photos = 3
[[generator]]
name = "one"
samples = "a.parquet"
shares = "shares.csv"
identities = 20
[[generator]]
name = "two"
samples = "b.parquet"
reference = "r.parquet"
step = 2.5
[attack]
k = 5
[sweep]
samples = [100, 200]
[gate]
leak_rate_max = 0.1
"""
    network = '[network]\nweights = "n.safetensors"\nfactory = "scanner.networks.tiny:tiny_vgg"\nclasses = 10\n[input]\nsize = [8, 8]\nscale = [0.01, 0.01, 0.01]\n'
    generator = '[generator]\nweights = "g.pt2"\n[latent]\nsize = 4\nlaw = "normal"\n'
    sidecar = {
        "sha256": "a" * 64,
        "input_size": [8, 8],
        "channel_order": "RGB",
        "mean": [0, 0, 0],
        "scale": 0.01,
        "dim": 4,
    }
    inverse = {
        "format": 1, "weights_sha256": "a" * 64, "network": {"name": "n", "fingerprint": "b" * 16},
        "input_shape": [3, 8, 8], "cuts": [{"name": "c", "shape": [4]}], "plan": {"at": None, "layers_max": 4, "width": 1.0},
    }  # fmt: skip
    cases: list[Case] = [
        {"inverse.json": json.dumps(inverse).encode()},
        {"shares.csv": b"identity,share\nanna,0.05\nben,0.1\n"},
        {"sidecar.json": json.dumps(sidecar).encode()},
        {"profile.json": json.dumps(_profile()).encode()},
    ]
    for name, text in (("audit", audit), ("network", network), ("generator", generator)):
        cases += [{f"{name}.toml": text.encode()}, {f"{name}.json": json.dumps(tomllib.loads(text)).encode()}]
    return cases


def _profile() -> dict[str, Any]:
    machine = dict.fromkeys(
        ("product_gflop_s", "products_gb_s", "memory_gb_s", "disk_write_mb_s", "disk_read_mb_s", "hash_mb_s", "decode_mpixel_s", "item_ms",
         "query_us", "coded_query_us", "row_us", "codec_fit_s"), 1.5
    )  # fmt: skip
    network = {
        "embedder": "drawn",
        "fingerprint": "a" * 16,
        "detector": None,
        "embed_ms": 2.0,
        "detect_320_ms": None,
        "align_ms": 0.5,
    }
    return {
        "cpu": "x",
        "machine": {**machine, "cores": 2, "ram_bytes": 10**10, "int8_gop_s": None},
        "networks": [network],
    }


# --- networks ------------------------------------------------------------------------------------------------------------


def networks(kind: str) -> list[Case]:
    """Return small networks as pt2, ts or safetensors."""
    import torch

    from scanner.networks.tensors import write_tensors
    from scanner.networks.tiny import tiny_resnet, tiny_vgg

    batch = torch.export.Dim("batch", min=1, max=64)
    example = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cases = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"net.{kind}"
        for make in (tiny_vgg,) if kind == "safetensors" else (tiny_vgg, tiny_resnet):
            module = make().eval()
            if kind == "pt2":
                torch.export.save(torch.export.export(module, (example,), dynamic_shapes=({0: batch},)), path)
            elif kind == "ts":
                torch.jit.script(module).save(str(path))
            else:
                write_tensors(path, module.state_dict(), {"made": "by"})
            cases.append({path.name: path.read_bytes()})
    return cases


def graphs() -> list[Case]:
    """Return small ONNX networks: layers, and arithmetic on shapes."""
    return [{"net.onnx": _onnx_convolution()}, {"net.onnx": _onnx_shapes()}]


def _onnx_convolution() -> bytes:
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    stored = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        "b": rng.normal(size=4),
        "s": rng.normal(size=(4, 1, 1)),
        "f": rng.normal(size=(4, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), helper.make_node("PRelu", ["c", "s"], ["p"]),
        helper.make_node("MaxPool", ["p"], ["m"], kernel_shape=[2, 2], strides=[2, 2]), helper.make_node("GlobalAveragePool", ["m"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]), helper.make_node("Gemm", ["h", "f"], ["y"]),
    ]  # fmt: skip
    return _onnx_model(
        nodes, [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()]
    )


def _onnx_shapes() -> bytes:
    from onnx import helper, numpy_helper

    numbers = {
        "two": [1, 1, 1, 1],
        "flat": [0, -1],
        "start": [0],
        "end": [40],
        "axes": [1],
        "pads": [0, 0, 1, 1, 0, 0, 1, 1],
    }
    weights = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    weights.append(numpy_helper.from_array(np.array([1.0, 1.0, 2.0, 2.0], np.float32), "factors"))
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["a"]), helper.make_node("Expand", ["a", "two"], ["b"]),
        helper.make_node("Resize", ["b", "", "factors"], ["c"], mode="nearest"), helper.make_node("Relu", ["c"], ["d"], name="/layer/Relu"),
        helper.make_node("Reshape", ["d", "flat"], ["e"]), helper.make_node("Slice", ["e", "start", "end", "axes"], ["y"]),
    ]  # fmt: skip
    return _onnx_model(nodes, weights)


def _onnx_model(nodes: list[Any], weights: list[Any]) -> bytes:
    from onnx import TensorProto, helper

    pictures_in = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 8, 8))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [pictures_in], [out], initializer=weights)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )
