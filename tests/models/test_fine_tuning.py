"""Retraining as a service asks for it: a directory in, a bundle and a result out, whatever happens on the way."""

import json
import signal
import time
from pathlib import Path

import jobs
import msgspec
import numpy as np
import pytest
import shapes

from models import bundle, export, fine_tuning, job, profile, traffic
from models.recipes import from_file


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of the shapes, trained by its file as a person would."""
    folder = tmp_path_factory.mktemp("parent")
    where = (f"--out={folder}", f"--runs={folder / 'runs'}")
    done = jobs.done(jobs.program(jobs.RECIPE, "--epochs=6", *where))
    assert done.returncode == 0, done.stderr
    return folder / "shapes-cnn" / "1"


@pytest.fixture(scope="module")
def retrained(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a job that was done by the program, with enough reference rows for a profile."""
    directory = tmp_path_factory.mktemp("retrained") / "job"
    directory.mkdir()
    unknown = jobs.dark(400, 12)._replace(labels=np.full(400, -1))
    jobs.asked(directory, parent, reference=jobs.put(directory, job.REFERENCE, unknown))
    done = jobs.done(jobs.program("--job", directory))
    assert done.returncode == 0, done.stderr
    assert "from the weights of version 1" in done.stdout
    return directory


def right(directory: Path, rows: traffic.Traffic) -> float:
    recipe = from_file(jobs.RECIPE)
    labelled = traffic.Labelled(rows, recipe.inputs, recipe.padding)
    shares, labels = export.answers(export.open_graph(directory / "model.fp32.onnx"), labelled)
    return float((shares.argmax(1) == labels).mean())


def test_a_recipe_of_ones_own_is_trained_into_a_whole_bundle(parent: Path) -> None:
    manifest = bundle.read(parent)
    bundle.verify(parent, manifest)
    assert manifest.metrics["accuracy"].value > 0.95
    assert profile.read(parent) is not None
    assert {"card.md", "weights.safetensors"} < set(manifest.files)


def test_a_retraining_recovers_what_a_shift_has_cost_and_forgets_nothing(
    parent: Path, retrained: Path
) -> None:
    shifted, usual = jobs.dark(400, 13), shapes.drawn(400, 14)
    rows = traffic.Traffic([{"image": one} for one in usual.inputs["image"]], usual.labels)
    lost = right(parent, rows) - right(parent, shifted)
    assert lost > 0.2
    after = retrained / job.BUNDLE
    assert right(after, shifted) > right(parent, shifted) + 0.8 * lost
    assert right(after, rows) > right(parent, rows) - 0.01


def test_a_result_says_what_came_of_it_and_of_the_champion(parent: Path, retrained: Path) -> None:
    result = job.read_result(retrained)
    manifest = bundle.read(retrained / job.BUNDLE)
    assert result.ok
    assert result.manifest_sha256 == bundle.sha256(retrained / job.BUNDLE / bundle.MANIFEST)
    assert result.metrics == manifest.metrics
    found = result.regression
    assert (found.n, found.champion) == (600, bundle.read(parent).metrics["accuracy"].value)
    assert found.challenger == manifest.metrics["accuracy"].value
    assert found.gained - found.lost == round(600 * (found.challenger - found.champion))
    assert [one.label for one in found.classes] == list(shapes.LABELS)
    assert sum(one.n for one in found.classes) == 600


def test_held_out_rows_are_left_for_the_engines_to_answer(retrained: Path) -> None:
    rows = traffic.read(retrained / job.HELD_OUT, job.read_result(retrained).held_out)
    expected = shapes.drawn(600, 3)
    np.testing.assert_array_equal(rows.labels, expected.labels)
    np.testing.assert_array_equal(rows.rows[7]["image"], expected.inputs["image"][7])


def test_lineage_is_in_the_bundle(retrained: Path) -> None:
    request, directory = job.read_request(retrained), retrained / job.BUNDLE
    manifest = bundle.read(directory)
    bundle.verify_files(directory, manifest)
    record = manifest.training
    assert (manifest.name, manifest.version, record.parent) == ("shapes-cnn", 2, 1)
    assert (record.trigger, record.reason) == ("drift", "accuracy fell")
    assert (record.evidence, record.traffic) == ({"accuracy": 0.6}, request.traffic)
    assert (record.base_share, record.parameters["epochs"]) == (jobs.SHARE, 5)


def test_the_profile_is_of_the_traffic_that_the_version_will_meet(retrained: Path) -> None:
    found = profile.read(retrained / job.BUNDLE)
    # 400 reference rows, a fifth of 120 labelled ones, and a tenth of base rows.
    assert found.rows == 424 + 47
    assert "recent traffic" in found.source
    assert found.estimate.n == 24 + 47
    assert "recent traffic" in (retrained / job.BUNDLE / "card.md").read_text()


def test_progress_names_every_stage_and_counts_its_steps(retrained: Path) -> None:
    lines, _ = job.read_progress(retrained)
    stages = list(dict.fromkeys(line.stage for line in lines))
    assert stages == ["data", "fit", "export", "evaluate", "profile", "bundle"]
    fit = [line for line in lines if line.stage == "fit"]
    assert all(0 <= line.done <= line.total for line in fit)
    assert fit[-1].accuracy is not None


def test_a_job_that_has_its_result_is_not_done_again(retrained: Path) -> None:
    before = (retrained / job.RESULT).stat().st_mtime_ns
    assert fine_tuning.run(retrained) == 0
    assert (retrained / job.RESULT).stat().st_mtime_ns == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_leaves_no_result_and_can_be_done_again(
    parent: Path, tmp_path: Path, number: signal.Signals
) -> None:
    jobs.asked(tmp_path, parent, parameters={"epochs": 1000, "patience": 1000})
    process = jobs.program("--job", tmp_path)
    while not any(line.stage == "fit" for line in job.read_progress(tmp_path)[0]):
        assert process.poll() is None, jobs.done(process).stderr
        time.sleep(0.02)
    process.send_signal(number)
    status = jobs.done(process).returncode
    assert status == (128 + number if number == signal.SIGTERM else -number)
    assert job.read_result(tmp_path) is None
    assert not (tmp_path / job.BUNDLE).exists()
    (tmp_path / ".bundle.1").mkdir()  # what a run that was killed later would have left
    request = job.read_request(tmp_path)
    again = msgspec.structs.replace(request, parameters={"epochs": 1})
    job.write(tmp_path, job.REQUEST, again)
    assert fine_tuning.run(tmp_path) == 0
    bundle.verify_files(tmp_path / job.BUNDLE, bundle.read(tmp_path / job.BUNDLE))
    assert not list(tmp_path.glob(".bundle.*"))


def test_a_deadline_is_a_result(parent: Path, tmp_path: Path) -> None:
    jobs.asked(tmp_path, parent, deadline=time.time() - 1)
    assert fine_tuning.run(tmp_path) == 1
    assert "deadline" in job.read_result(tmp_path).error
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_without_the_parents_weights_it_begins_anew_and_goes_through_all_base_rows(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "parent"
    bare.mkdir()
    for path in parent.iterdir():
        if path.name != "weights.safetensors":
            (bare / path.name).write_bytes(path.read_bytes())
    manifest = bundle.read(bare)
    bundle.write(bare, manifest)
    jobs.asked(tmp_path / "job", bare, parameters={"epochs": 1})
    assert fine_tuning.run(tmp_path / "job") == 0
    assert "from the recipe's own beginning (the parent's weights were not shipped)" in (
        capsys.readouterr().out
    )
    text = job.read_progress(tmp_path / "job")[0][1].text
    assert text.startswith("1,596 rows an epoch")  # 1,500 of the recipe and 96 of the traffic


def test_paths_of_a_request_are_seen_from_the_jobs_directory(parent: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(jobs.RECIPE.read_text())
    (tmp_path / "parent").symlink_to(parent)
    jobs.asked(
        tmp_path, parent, recipe="mine.py", weights="parent", parameters={"epochs": 1}, traffic=None
    )
    assert fine_tuning.run(tmp_path) == 0
    assert bundle.read(tmp_path / job.BUNDLE).training.traffic is None


def labels(rows: traffic.Traffic, value: int) -> traffic.Traffic:
    return rows._replace(labels=np.full(len(rows.rows), value))


def shaped(rows: traffic.Traffic) -> traffic.Traffic:
    return rows._replace(rows=[{"image": row["image"][:, :8]} for row in rows.rows])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": "other"}, "no recipe 'other'"),
        ({"recipe": "fashion-cnn"}, "the recipe makes 'fashion-cnn', the job asks for 'shapes-cnn'"),
        ({"weights": "nowhere"}, "nowhere"),
        ({"parameters": {"epochs": 0}}, "epochs"),
        ({"parameters": {"colour": "green"}}, "colour"),
        (lambda rows: labels(rows, 3), "labels of the traffic lie in 3..3, the model's in 0..2"),
        (lambda rows: labels(rows, -1), "labels of the traffic lie in -1..-1"),
        (shaped, r"float32 [1, 8, 16], the model takes float32 [1, 16, 16]"),
    ],
    ids=["recipe", "model", "parent", "value", "parameter", "label", "unknown", "shape"],
)  # fmt: skip
def test_what_cannot_be_done_is_a_result_with_a_sentence(
    parent: Path, tmp_path: Path, change: object, told: str
) -> None:
    fields = change
    if callable(change):
        fields = {"traffic": jobs.put(tmp_path, "mine.npz", change(jobs.dark(20, 1)))}
    jobs.asked(tmp_path, parent, **fields)
    if callable(change):
        (tmp_path / "mine.npz").replace(tmp_path / job.TRAFFIC)
    assert fine_tuning.run(tmp_path) == 1
    result = job.read_result(tmp_path)
    assert not result.ok
    assert told in result.error
    assert not (tmp_path / job.BUNDLE).exists()


def test_traffic_that_is_not_the_one_that_was_meant_is_refused(
    parent: Path, tmp_path: Path
) -> None:
    jobs.asked(tmp_path, parent)
    (tmp_path / job.TRAFFIC).write_bytes(b"other")
    assert fine_tuning.run(tmp_path) == 1
    assert "sha256" in job.read_result(tmp_path).error


def test_the_program_ends_with_1_where_a_job_cannot_be_done(tmp_path: Path) -> None:
    (tmp_path / job.REQUEST).write_text(json.dumps({"id": "x"}))
    done = jobs.done(jobs.program("--job", tmp_path))
    assert done.returncode == 1
    assert "missing required field" in job.read_result(tmp_path).error
    assert "missing required field" in done.stderr
