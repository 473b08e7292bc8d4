"""A real cluster of two nodes on this machine: what it makes is what one process makes, byte for byte."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from drawn_people import BY_FOLDER, files_of, photos_of, write_people, write_tar
from ray_work import FAILURES, Doubling, Failing, SlowShards
from small_gen import write_generator

import scanner.jobs.embedding.intake
import scanner.jobs.scanning.join
from scanner import __version__, pipeline
from scanner.cli import main
from scanner.errors import SourceError, WorkerError
from scanner.jobs import ray_workers as ray_module
from scanner.jobs.embedding import embed_shards
from scanner.jobs.embedding.embed import embed
from scanner.jobs.generating import generate as generate_job
from scanner.jobs.generating.generate import generate
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.options import FaceOptions
from scanner.jobs.ray_workers import AHEAD, ENVIRONMENT, ray_workers
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.jobs.workers import Workers
from scanner.progress import Silent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
os.environ.update(ENVIRONMENT)  # before Ray is imported, as on the command line
pytest.importorskip("ray", reason="needs the ray extra")
PHOTOS = [*photos_of(range(20), range(2)), (1, 0), (7, 1), (7, 1)]
"""The last three are bytes that came before, in other shards."""
ALONE = FaceOptions(embedder="drawn", faces="aligned", workers=1)
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}
SOON = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""A lost node is noticed after two seconds, not after fifteen."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, of one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        root = Path(__file__).resolve().parents[3]
        patch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(Path(__file__).parent)]))
        head = {**NODE, "include_dashboard": False, "_system_config": SOON}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def workers(cluster: Any) -> Iterator[Workers]:
    with ray_workers(cluster.address, Silent()) as workers:
        assert workers is not None
        yield workers


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_ENTRIES", 4)
    monkeypatch.setattr(scanner.jobs.embedding.intake, "SHARD_ENTRIES", 4)
    monkeypatch.setattr(scanner.jobs.scanning.join, "BLOCK_ROWS", 5)
    monkeypatch.setattr(generate_job, "SHARD_IMAGES", 200)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tar(tmp_path_factory.mktemp("sources") / "photos.tar", PHOTOS)


class Upon(Silent):
    """Does something at the n-th report of finished work, or at the beginning of it."""

    def __init__(self, what: Callable[[], Any], *, at: int) -> None:
        self._what, self._left = what, at

    def stage(self, *_: Any, **__: Any) -> None:
        self._count()

    def advance(self, *_: Any) -> None:
        self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == -1:
            self._what()


def test_results_come_in_order_and_things_are_read_a_little_ahead(workers: Workers, tmp_path: Path) -> None:
    read: list[int] = []

    def things() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    found = list(itertools.islice(workers.map(Doubling(tmp_path, seconds=1.0), things()), 12))

    assert found == list(range(0, 24, 2))
    assert len(read) == 11 + AHEAD * 2
    opened = [path for path in tmp_path.iterdir() if path.name.startswith("opened")]
    assert 1 <= len(opened) <= 4  # once a process, not once a thing


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_the_one_that_it_would_be_here(failure: str, workers: Workers, tmp_path: Path) -> None:
    expected = FAILURES[failure]

    with pytest.raises(type(expected)) as caught:
        list(workers.map(Failing(tmp_path), [failure]))

    assert type(caught.value) is type(expected)
    assert str(caught.value) == str(expected)


def test_what_crashes_its_worker_again_and_again_is_named(
    workers: Workers, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkerError) as caught:
        list(workers.map(Failing(tmp_path), ["crash"]))

    assert str(caught.value) == (
        "Number crash lost its worker 4 times (WorkerCrashedError), and was done again each time but the last. Machines that "
        "go away, too little memory for a worker, or an input that crashes a library do this. What was finished is kept: "
        "mend the cause, or leave that input out, and pass --resume."
    )
    assert list(workers.map(Doubling(tmp_path), [4])) == [8]
    assert capfd.readouterr() == ("", "")  # Ray would tell of it on stdout, where a command's answer goes


def test_a_source_that_workers_do_not_see_is_a_sentence(workers: Workers, photos: Path, tmp_path: Path) -> None:
    here = tmp_path / "photos.tar"
    here.write_bytes(photos.read_bytes())

    with pytest.raises(SourceError) as caught:
        embed(str(here), tmp_path / "e.parquet", faces=ALONE, workers=workers, progress=Upon(here.unlink, at=0))

    assert str(caught.value).startswith(f"There is no {here}.")
    assert caught.value.exit_code == 2


def test_a_source_that_is_another_one_there_is_refused(workers: Workers, photos: Path, tmp_path: Path) -> None:
    here = write_people(tmp_path / "people", photos_of([1, 2], [0]))

    def more() -> None:
        write_people(here, [(3, 0)])

    with pytest.raises(WorkerError) as caught:
        embed(str(here), tmp_path / "e.parquet", faces=ALONE, workers=workers, progress=Upon(more, at=0))

    assert f"does not find what this machine finds as {here}: bytes, entries, listing differ." in str(caught.value)


def test_more_threads_than_any_machine_has_are_refused(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        list(workers.map(Doubling(tmp_path, threads=3), [1]))

    assert str(caught.value) == (
        "A worker of 3 threads was asked for, and the largest machine of the Ray cluster has 1 cores. "
        "Pass --workers 1 or fewer."
    )


def test_another_scanner_on_the_workers_is_refused(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray_module, "__version__", "9.9")

    with pytest.raises(WorkerError) as caught:
        ray_module._check_scanner(ray, "head:6379")

    assert str(caught.value) == (
        f"The workers of the Ray cluster at head:6379 have scanner {__version__}, this is scanner 9.9. Install the same one on "
        "every machine, in the Python that Ray was started with."
    )


def test_a_scan_has_the_bytes_of_one_process(
    workers: Workers, people_index: Path, photos: Path, tmp_path: Path
) -> None:
    for name, by in (("alone", None), ("together", workers)):
        scan(
            str(photos), against=people_index, out=tmp_path / name, options=ScanOptions(threshold=0.5, with_crops=True),
            faces=ALONE, workers=by,
        )  # fmt: skip

    alone = files_of(tmp_path / "alone")
    assert files_of(tmp_path / "together") == alone
    assert alone


@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_generated_images_have_the_bytes_of_one_process(form: Any, workers: Workers, tmp_path: Path) -> None:
    gen = write_generator(tmp_path / "gen", limit=1.2)

    for name, by in (("alone", None), ("together", workers)):
        generate(gen, tmp_path / name, count=700, seed=3, form=form, workers=by)

    alone = files_of(tmp_path / "alone")
    assert files_of(tmp_path / "together") == alone
    assert len(alone) == 6


def test_inverted_latents_have_the_bytes_of_one_process(workers: Workers, tmp_path: Path) -> None:
    gen = write_generator(tmp_path / "gen")
    options = InvertOptions(
        restarts=2, steps_max=30, draws=32, slots=4, shard_images=5, encoder="train", encoder_steps=20
    )

    for name, by in (("alone", None), ("together", workers)):
        invert_latent(gen, [f"generated:{gen}?n=18&seed=2"], tmp_path / name, options=options, workers=by)

    alone = files_of(tmp_path / "alone")
    assert files_of(tmp_path / "together") == alone
    assert "reconstructions-000003.tar" in alone


def test_interrupted_work_of_one_process_is_finished_by_a_cluster(
    workers: Workers, photos: Path, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    (tmp_path / "whole").mkdir()
    embed(str(photos), tmp_path / "whole" / "e.parquet", faces=ALONE)
    (tmp_path / "cut").mkdir()
    with pytest.raises(KeyboardInterrupt):
        embed(str(photos), tmp_path / "cut" / "e.parquet", faces=ALONE, progress=Upon(interrupt, at=3))

    embed(str(photos), tmp_path / "cut" / "e.parquet", faces=ALONE, resume=True, workers=workers)

    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_a_lost_node_costs_its_own_shards_and_no_byte(
    cluster: Any, workers: Workers, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alone", "together", "log"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(embed_shards, "EmbedShards", partial(SlowShards, log=str(tmp_path / "log")))
    second = cluster.list_all_nodes()[-1]

    def lose() -> None:
        cluster.remove_node(second, allow_graceful=False)

    for name, by, progress in (("alone", None, Silent()), ("together", workers, Upon(lose, at=3))):
        embed(
            str(photos), tmp_path / name / "e.parquet", faces=ALONE, sources=BY_FOLDER, keep_crops=True, workers=by,
            progress=progress,
        )  # fmt: skip

    begun = [path.name.split("-") for path in (tmp_path / "log").iterdir()]
    numbers = {int(number) for number, _, _ in begun}
    assert set(range(11)) <= numbers  # and perhaps some beyond the end, which a tar does not tell
    assert 1 <= len(begun) - len(numbers) <= AHEAD  # what the node was at when it was lost was done again
    assert second.node_id in {node for _, node, _ in begun}
    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")


def test_without_ray_it_says_how_to_install_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    code = main(["embed", str(photos), str(tmp_path / "e.parquet"), "--embedder", "drawn", "--ray", "local"])

    assert code == 2
    assert capsys.readouterr().err == (
        "error: --ray needs Ray, which is not installed. Install it with: pip install 'identity-leak-scanner[ray]'\n"
    )


@pytest.mark.parametrize("address", ["somewhere", "ray://head:10001", "head:port"])
def test_what_is_no_address_is_refused(address: str, photos: Path, tmp_path: Path, capsys: Any) -> None:
    code = main(["embed", str(photos), str(tmp_path / "e.parquet"), "--embedder", "drawn", "--ray", address])

    assert code == 2
    assert f"error: --ray {address!r} is no address of a cluster." in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_a_sentence(photos: Path, tmp_path: Path, capsys: Any) -> None:
    code = main(["embed", str(photos), str(tmp_path / "e.parquet"), "--embedder", "drawn", "--ray", "127.0.0.1:1"])

    assert code == 2
    assert capsys.readouterr().err == (
        "error: No Ray cluster could be used at 127.0.0.1:1: [Errno 111] Connection refused. Start one (ray start --head), "
        "and run the scanner on one of its machines; or pass --ray local for this machine alone.\n"
    )
