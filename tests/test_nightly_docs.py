"""docs/nightly.md: its commands run in its order, its table of keys is that of the code, its schedules are what they say."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from scanner.cli import main
from scanner.images import encode_png
from scanner.nights.config import JobConfig, MetricsSection
from scanner.nights.metrics import HELP
from scanner.world.draw import face_pixels

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs" / "nightly.md").read_text()
EXAMPLES = ROOT / "examples" / "nightly"
pytestmark = pytest.mark.usefixtures("warm_scanner")


def commands(mark: str) -> list[str]:
    blocks = re.findall(rf"<!-- run: {mark} -->\n```bash\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def run(command: str, folder: Path, code: int = 0) -> dict:
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def write(path: Path, number: int, photo: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(face_pixels(77, number, photo)))


def write_job(folder: Path) -> None:
    """Write the page's job for drawn people: nothing but the recogniser and the detector is another."""
    (text,) = re.findall(r"<!-- file: nightly.toml -->\n```toml\n(.*?)```", PAGE, re.DOTALL)
    text, changed = re.subn(
        r"^spec = .*\ndetector = .*$", 'spec = "drawn"\nfaces = "aligned"', text, flags=re.MULTILINE
    )
    assert changed == 1
    (folder / "nightly.toml").write_text(text)
    for number in range(300, 450):
        write(folder / "outsiders" / f"person-{number:05d}" / "0.png", number, 0)
    for number in range(24):
        for photo in range(2):
            write(folder / "photos" / f"person-{number:05d}" / f"{photo}.png", number, photo)
    for number in (3, 40, 41):
        write(folder / "samples" / f"{number}.png", number, 5)


def test_every_command_of_the_page_runs_and_the_nights_are_as_it_says(tmp_path: Path, capsys) -> None:
    write_job(tmp_path)
    check, night, status = commands("nightly-first")

    assert run(check, tmp_path)["comparisons"] == (48 + 150) * 3
    assert not (tmp_path / "nightly").exists()
    first = run(night, tmp_path)
    assert (first["night"], first["runs"]["generator-a"]["new"]) == (1, 1)
    assert (tmp_path / "nightly" / "nights" / "000001" / "generator-a" / "report.html").exists()
    assert run(status, tmp_path)["last"]["night"] == 1
    assert main(["status", str(tmp_path / "nightly.toml")]) == 0
    assert "\n  generator-a: undecided; 2 matches" in capsys.readouterr().err

    for number in (5, 44):
        write(tmp_path / "samples" / f"{number}.png", number, 5)
    second, third, diff = commands("nightly-second")
    assert run(second, tmp_path)["runs"]["generator-a"]["new"] == 1
    account = json.loads((tmp_path / "nightly" / "nights" / "000002" / "night.json").read_text())
    assert (account["runs"]["generator-a"]["compared"], account["runs"]["generator-a"]["of"]) == (2 * 198, 5 * 198)
    again = run(third, tmp_path)
    assert (again["night"], again["runs"]["generator-a"]["unchanged"]) == (3, True)
    assert again["runs"]["generator-a"]["run"].endswith("nights/000002/generator-a")
    assert run(diff, tmp_path)["findings"]["new"] == 1

    for folder in sorted((tmp_path / "photos").iterdir())[:13]:
        shutil.rmtree(folder)
    run(second, tmp_path, code=4)
    (gone,) = commands("nightly-gone")
    assert run(gone, tmp_path)["runs"]["generator-a"]["gone"] == 2
    (until,) = commands("nightly-until")
    assert run(until, tmp_path)["night"] == 6
    assert "scanner_night_number" in (tmp_path / "nightly.prom").read_text()
    assert len(re.findall(r"<!-- run: ", PAGE)) == 4


def keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        section = next((one for one in inner if issubclass(one, BaseModel)), None)
        found += [f"{prefix}{name}"] if section is None else keys_of(section, f"{name}.")
    return found


def test_the_table_has_every_key_of_a_job_and_no_other() -> None:
    table = PAGE.partition("\n## JOB.toml\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    written = [key for row in rows for key in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)]

    assert sorted(written) == sorted(keys_of(JobConfig))
    assert set(MetricsSection.model_fields) == {"textfile"}


def test_the_table_has_every_metric() -> None:
    table = PAGE.partition("**Metrics.**")[2].partition("\nTwo alerts")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert sorted(name for row in rows for name in re.findall(r"`([a-z_]+)`", row)) == sorted(HELP)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(\[after\].*?)```", PAGE, re.DOTALL))
def test_the_examples_of_a_command_afterwards_are_read(block: str) -> None:
    import tomllib

    from scanner.nights.config import AfterSection

    after = AfterSection.model_validate(
        {**tomllib.loads(block)["after"], "command": tuple(tomllib.loads(block)["after"]["command"])}
    )
    assert after.on in ("findings", "failure")


def test_a_mail_is_written_as_the_page_says(tmp_path: Path) -> None:
    """With a sendmail that keeps what it gets."""
    import tomllib

    block = next(one for one in re.findall(r"```toml\n(\[after\].*?)```", PAGE, re.DOTALL) if "sendmail" in one)
    sendmail = tmp_path / "sendmail"
    sendmail.write_text("#!/bin/sh\ncat > mail\n")
    sendmail.chmod(0o700)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SCANNER_EXIT_CODE": "4"}
    command = tomllib.loads(block)["after"]["command"]

    subprocess.run(command, input=b'{"night": 7}', cwd=tmp_path, env=environment, check=True)

    head, _, body = (tmp_path / "mail").read_text().partition("\n\n")
    assert head.splitlines() == ["To: privacy@example.org", "Subject: scanner: exit code 4"]
    assert json.loads(body) == {"night": 7}


def test_every_schedule_is_in_the_table() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(re.findall(r"examples/nightly/([\w.]+)\)", PAGE))


def test_systemd_finds_nothing_wrong_with_its_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    for name in ("scanner.service", "scanner.timer"):
        text = (EXAMPLES / name).read_text().replace("/opt/scanner/bin/scanner", sys.executable)
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in ("scanner.service", "scanner.timer"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert [line for line in done.stderr.splitlines() if "scanner" in line] == []


def test_the_unit_starts_also_where_nobody_collects_metrics() -> None:
    """A place of ReadWritePaths that is missing keeps systemd from starting the service, unless it begins with `-`."""
    (line,) = re.findall(r"^ReadWritePaths=(.*)$", (EXAMPLES / "scanner.service").read_text(), re.MULTILINE)

    assert line.split() == ["/srv/scanner", "-/var/lib/node_exporter/textfile"]


def test_the_other_schedules_say_what_they_must(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((EXAMPLES / "cronjob.yaml").read_text())
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert (job["kind"], job["spec"]["concurrencyPolicy"], pod["restartPolicy"]) == ("CronJob", "Forbid", "Never")
    assert pod["containers"][0]["args"][:2] == ["run", "/srv/scanner/nightly.toml"]
    assert {one["name"] for one in pod["containers"][0]["volumeMounts"]} == {one["name"] for one in pod["volumes"]}

    (never_again,) = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert never_again["action"] == "FailJob"
    # A second start would change none of them; after a kill it goes on.
    assert never_again["onExitCodes"]["values"] == [1, 2, 3, 4]

    dag = (EXAMPLES / "airflow_dag.py").read_text()
    assert "if code in (1, 2, 3, 4):" in dag
    tree = ast.parse(dag)
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["nightly_scan"]

    (line,) = [line for line in (EXAMPLES / "crontab").read_text().splitlines() if not line.startswith("#")]
    assert line in PAGE
    fields = line.split(maxsplit=5)
    assert fields[:5] == ["0", "2", "*", "*", "*"]
    write_job(tmp_path)
    command = fields[5].replace("/srv/scanner", str(tmp_path)).replace("/opt/scanner/bin/", "")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "nightly" / "nights" / "000001" / "night.json").exists()

    docker = (EXAMPLES / "Dockerfile").read_text()
    for name in re.findall(r"^COPY (.*) \S+$", docker, re.MULTILINE):
        assert all((ROOT / part).exists() for part in name.split()), name
