"""The detector: the freed graph sees what the published one sees, and files that are none are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from scanner.errors import ModelError
from scanner.faces import open_finder
from scanner.faces.detect import DetectedFaces, LookPlan
from scanner.faces.scrfd import Detections, Scrfd, network_input
from scanner.records import Picture, Reason
from scanner.sessions import choose_device, read_model

CPU = choose_device("cpu")


@pytest.fixture(scope="module")
def detector(real: Path) -> Scrfd:
    return Scrfd(read_model(real / "models" / "scrfd_500m_kps.onnx"), CPU)


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_finder("detect", crop_size_px=(112, 112), device=CPU, detector_path=path)
    return str(caught.value)


def nearest(seen: Detections, wanted: Detections) -> int:
    """Return the row of `seen` that shows the first face of `wanted`."""
    middle = seen.landmarks_px.mean(1) - wanted.landmarks_px[0].mean(0)
    return int((middle**2).sum(1).argmin())


@pytest.mark.real
def test_the_freed_graph_sees_what_insightface_sees_in_the_published_file(real, detector, lfw_photos):
    from insightface.model_zoo.scrfd import SCRFD

    twin = SCRFD(str(real / "models" / "scrfd_500m_kps.onnx"))
    for pixels in lfw_photos:
        boxes, landmarks = twin.detect(np.ascontiguousarray(pixels[:, :, ::-1]), input_size=(640, 640), det_thresh=0.3)

        seen = detector.look(pixels, canvas_px=640, score_min=0.3)

        assert len(seen) == len(boxes) >= 1
        assert np.allclose(seen.boxes_px, boxes[:, :4].clip(0, 250), atol=1e-3)
        assert np.allclose(seen.landmarks_px, landmarks, atol=1e-3)
        assert np.allclose(seen.scores, boxes[:, 4], atol=1e-5)


@pytest.mark.real
def test_the_freed_graph_takes_canvases_of_any_size(detector):
    assert detector._session.get_inputs()[0].shape == ["n", 3, "height", "width"]


@pytest.mark.real
@pytest.mark.parametrize(("canvas_px", "border"), [(320, 0.0), (320, 0.3), (640, 0.3), (480, 0.1)])
def test_faces_stay_in_place_whatever_the_canvas_and_the_border(detector, lfw_photos, canvas_px, border):
    for pixels in lfw_photos:
        wanted = detector.look(pixels, canvas_px=640, score_min=0.5)
        seen = detector.look(pixels, canvas_px=canvas_px, score_min=0.5, border=border)
        row = nearest(seen, wanted)

        off = seen.landmarks_px[row] - wanted.landmarks_px[0]
        assert np.abs(off.mean(0)).max() < 2.5
        assert np.abs(off).max() < 5
        assert np.abs(seen.boxes_px[row] - wanted.boxes_px[0]).max() < 8


@pytest.mark.real
def test_boxes_stay_within_the_picture(detector, lfw_photos):
    half = lfw_photos[0][:130, 90:]

    seen = detector.look(half, canvas_px=320, score_min=0.1, border=0.3)

    assert len(seen) >= 1
    assert seen.boxes_px.min() >= 0.0
    assert (seen.boxes_px[:, 2] <= half.shape[1]).all()
    assert (seen.boxes_px[:, 3] <= half.shape[0]).all()


@pytest.mark.real
def test_a_face_that_fills_the_frame_is_found_by_the_second_look(detector, lfw_photos):
    finder = DetectedFaces(detector, 112)
    for pixels in lfw_photos[:3]:
        x0, y0, x1, y1 = detector.look(pixels, canvas_px=640, score_min=0.5).boxes_px[0].astype(int)
        tight = cv2.resize(pixels[y0:y1, x0:x1], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        side = max(tight.shape[:2])

        found = finder.find(Picture("", "", None, tight))

        assert len(detector.look(tight, canvas_px=LookPlan().attempts(side)[0][0], score_min=0.5)) == 0
        assert [face.ordinal for face in found.faces] == [0]
        assert found.faces[0].quality.size_px > 0.6 * min(tight.shape[:2])
        assert found.faces[0].quality.frontality > 0.3


@pytest.mark.real
@pytest.mark.parametrize("shape", [(64, 64), (320, 320), (320, 288), (33, 65)])
def test_the_network_sees_what_opencv_would_hand_it(shape):
    canvas = np.random.default_rng(7).integers(0, 256, (*shape, 3), np.uint8)

    seen = network_input(canvas)

    assert seen.flags.c_contiguous
    assert np.array_equal(seen, cv2.dnn.blobFromImage(canvas, 1 / 128, mean=(127.5, 127.5, 127.5)))


def test_noise_has_no_face(detector):
    noise = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)

    found = DetectedFaces(detector, 112).find(Picture("", "", None, noise))

    assert [(r.reason, r.detail) for r in found.rejects] == [(Reason.NO_FACE, "no face seen in 300x200 pixels")]


@pytest.mark.real
@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (7, 3)])
def test_pictures_of_odd_shapes_have_no_face_and_do_no_harm(detector, shape):
    found = DetectedFaces(detector, 112).find(Picture("", "", None, np.full((*shape, 3), 200, np.uint8)))

    assert [r.reason for r in found.rejects] == [Reason.NO_FACE]


@pytest.mark.real
def test_threads_see_what_one_thread_sees(detector, lfw_photos):
    finder = DetectedFaces(detector, 112)
    photos = [Picture(str(n), "", None, pixels) for n, pixels in enumerate(lfw_photos)]
    alone = [finder.find(photo) for photo in photos]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(finder.find, photos * 3))

    for found, wanted in zip(together, alone * 3, strict=True):
        assert found.faces[0].box_px == wanted.faces[0].box_px
        assert np.array_equal(found.faces[0].crop_rgb_u8, wanted.faces[0].crop_rgb_u8)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("face-reid-0095.onnx", "1 output"),
        ("squeezenet-imagenet.onnx", "1 output"),
        ("yunet_n_dynamic.onnx", "12 outputs"),
    ],
)
def test_a_network_with_other_outputs_is_no_detector(real, name, outputs):
    path = real / "models" / name

    assert refused(path) == (
        f"{path} has {outputs}; an SCRFD detector with five landmarks has 9 or 15. "
        "Without landmarks faces cannot be aligned: take the variant whose name has 'kps' or 'bnkps'."
    )


@pytest.mark.real
def test_a_detector_without_its_landmarks_says_which_variant_to_take(real, tmp_path):
    model = onnx.load(str(real / "models" / "scrfd_500m_kps.onnx"))
    del model.graph.output[6:]
    path = tmp_path / "scrfd_500m.onnx"
    path.write_bytes(model.SerializeToString())

    assert refused(path) == (
        f"{path} has 6 outputs; an SCRFD detector with five landmarks has 9 or 15. "
        "Without landmarks faces cannot be aligned: take the variant whose name has 'kps' or 'bnkps'."
    )


def test_a_generator_is_no_detector(write_onnx):
    path = write_onnx([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 256))

    assert refused(path) == f"{path} takes no picture (its input has 2 axes, not 4); it is no detector."


def test_a_graph_without_input_is_no_detector(tmp_path):
    value = numpy_helper.from_array(np.zeros((1, 3), np.float32), "v")
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=value)], "g", [], [helper.make_tensor_value_info("y", 1, None)]
    )
    path = tmp_path / "constant.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())

    assert refused(path) == f"{path} takes no picture (its input has 0 axes, not 4); it is no detector."


def test_nine_outputs_of_another_layout_do_not_answer_as_a_detector(write_onnx):
    names = [f"y{n}" for n in range(9)]
    path = write_onnx(
        [helper.make_node("Relu", ["x"], [name]) for name in names], shape=(1, 3, 640, 640), outputs=names
    )

    assert refused(path).startswith(f"{path} does not answer as an SCRFD detector does: ")


def test_fifteen_outputs_are_looked_at_in_steps_of_the_coarsest_map(write_onnx):
    """A network of five maps, strides 8 to 128, that sees nothing: any canvas must fit all of them."""
    nodes, outputs = [], []
    for part, width in enumerate((1, 4, 10)):
        for stride in (8, 16, 32, 64, 128):
            name = f"{part}_{stride}"
            nodes += [
                helper.make_node("AveragePool", ["x"], [f"p{name}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
                helper.make_node("Mul", [f"p{name}", "zero"], [f"z{name}"]),
                helper.make_node("Tile", [f"z{name}", f"rep{width}"], [f"t{name}"]),
                helper.make_node("Slice", [f"t{name}", "from", f"to{width}", "axis"], [f"s{name}"]),
                helper.make_node("Transpose", [f"s{name}"], [f"u{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"u{name}", f"shape{width}"], [name]),
            ]
            outputs.append(name)
    weights = [numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    values = {"from": [0], "axis": [1]}
    for width in (1, 4, 10):
        values |= {f"rep{width}": [1, 4, 1, 1], f"to{width}": [width], f"shape{width}": [-1, width]}
    weights += [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in values.items()]
    path = write_onnx(nodes, shape=(1, 3, 640, 640), outputs=outputs, weights=weights)

    seen = Scrfd(read_model(path), CPU).look(noise(270, 330), canvas_px=330, score_min=0.5)

    assert len(seen) == 0


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
