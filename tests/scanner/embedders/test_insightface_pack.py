"""insightface packs: the right file for the right task, and sentences when a pack is not one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from scanner.embedders import open_embedder
from scanner.embedders.insightface_pack import read_pack
from scanner.errors import ModelError
from scanner.sessions import choose_device

CPU = choose_device("cpu")


def what_to_do(name: str) -> str:
    return (
        "Name a folder that holds an SCRFD detector and an ArcFace-style recogniser (both .onnx), put the pack into "
        f"~/.insightface/models/{name}/, or use --embedder onnx:FILE --detector FILE."
    )


def refused(name: str) -> str:
    with pytest.raises(ModelError) as caught:
        read_pack(name)
    return str(caught.value)


def link(folder: Path, real: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).symlink_to(real / "models" / name)
    return folder


@pytest.mark.real
def test_a_pack_brings_its_detector_and_its_recogniser(tmp_path, real, capsys):
    folder = link(tmp_path / "mine", real, "scrfd_500m_kps.onnx", "mobileface-v2.onnx")

    opened = open_embedder(f"insightface:{folder}", CPU)

    assert opened.detector_path == folder / "scrfd_500m_kps.onnx"
    assert opened.embedder.name == f"insightface:{folder}"
    assert opened.embedder.crop_size_px == (112, 112)
    assert opened.notes == ("weights' licence: as stated by the pack's authors",)
    assert capsys.readouterr().out == ""


@pytest.mark.real
def test_a_packs_vectors_are_insightfaces_own(tmp_path, real):
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    folder = link(tmp_path / "mine", real, "scrfd_500m_kps.onnx", "mobileface-v2.onnx")
    crops = np.random.default_rng(4).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    twin = ArcFaceONNX(str(folder / "mobileface-v2.onnx")).get_feat([np.ascontiguousarray(c[..., ::-1]) for c in crops])

    rows = open_embedder(f"insightface:{folder}", CPU).embedder.embed(crops)

    assert np.allclose(rows, twin / np.linalg.norm(twin, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.real
def test_a_pack_without_a_recogniser_says_what_it_has(tmp_path, real):
    folder = link(tmp_path / "half", real, "scrfd_500m_kps.onnx")

    assert refused(str(folder)) == (
        f"The insightface pack {str(folder)!r} has no recogniser (found: detection). "
        "Put an ArcFace-style .onnx file with a 112x112 input beside the detector."
    )


@pytest.mark.real
def test_a_pack_without_a_detector_says_so(tmp_path, real):
    folder = link(tmp_path / "half", real, "mobileface-v2.onnx")

    assert refused(str(folder)) == (
        f"The insightface pack {str(folder)!r} cannot be opened: no detector in it. {what_to_do(str(folder))}"
    )


def test_an_empty_folder_is_no_pack(tmp_path):
    assert refused(str(tmp_path)) == (
        f"The insightface pack {str(tmp_path)!r} cannot be opened: no detector in it. {what_to_do(str(tmp_path))}"
    )


def test_a_broken_file_in_a_pack_is_a_sentence(tmp_path):
    (tmp_path / "det.onnx").write_bytes(b"not a network")

    said = refused(str(tmp_path))

    assert said.startswith(f"{tmp_path / 'det.onnx'} is no ONNX file: ")
    assert said.endswith(". Export the network to ONNX, opset 11 or newer.")


def test_a_file_in_a_pack_whose_weights_lie_elsewhere_is_not_opened(tmp_path):
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../etc/passwd")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["w"], ["y"])], "net", [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], initializer=[outside],
        )
    )  # fmt: skip
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())

    assert refused(str(tmp_path)) == (
        f"{tmp_path / 'w.onnx'} keeps its weights in other files. Save it as one file (onnx.save with its weights)."
    )


def test_a_pack_that_cannot_be_fetched_says_what_to_do(tmp_path, monkeypatch):
    """As without a network: insightface's download raises before a byte is there."""

    def no_network(*args: object, **kwargs: object) -> str:
        raise ConnectionError("Failed to resolve 'github.com'")

    monkeypatch.setattr("insightface.app.face_analysis.ensure_available", no_network)

    assert refused("buffalo_l") == (
        "The insightface pack 'buffalo_l' cannot be opened: ConnectionError: Failed to resolve 'github.com'. "
        f"{what_to_do('buffalo_l')}"
    )


def test_a_pack_known_by_name_keeps_insightfaces_licence(tmp_path, monkeypatch, write_onnx):
    folder = tmp_path / "pack"
    folder.mkdir()
    outputs = [f"y{n}" for n in range(9)]
    detector = write_onnx(
        [helper.make_node("Relu", ["x"], [o]) for o in outputs],
        shape=(1, 3, 64, 64),
        outputs=outputs,
        name="pack/det.onnx",
    )
    write_onnx([helper.make_node("GlobalAveragePool", ["x"], ["y"])], shape=(1, 3, 112, 112), name="pack/rec.onnx")
    monkeypatch.setattr("insightface.app.face_analysis.ensure_available", lambda *_args, **_kwargs: str(folder))

    pack = read_pack("buffalo_x")

    assert (pack.detector_path, pack.recogniser_path) == (detector, folder / "rec.onnx")
    assert pack.sidecar.licence == "insightface packs: non-commercial research only, unless you hold a licence"
    assert (pack.sidecar.input_size, pack.sidecar.mean) == ((112, 112), (127.5, 127.5, 127.5))
    assert pack.sidecar.scale == 1 / 127.5
