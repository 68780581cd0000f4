"""Settings come from four places, the later ones winning, and a mistake names itself."""

from pathlib import Path

import pytest

from service.edge import Allowance, Quota
from service.errors import SettingsError
from service.settings import Settings, load


def test_without_anything_the_defaults_hold(tmp_path: Path):
    assert load(environ={}, directory=tmp_path) == Settings()


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path):
    (tmp_path / "evergreen.toml").write_text('host = "file"\nport = 1\nrequest_timeout_s = 5\n')
    loaded = load(
        {"port": 3, "host": None}, {"EVERGREEN_PORT": "2", "EVERGREEN_HOST": "env"}, tmp_path
    )
    assert (loaded.port, loaded.host, loaded.request_timeout_s) == (3, "env", 5)


def test_a_models_table_and_its_variables_are_one(tmp_path: Path):
    (tmp_path / "evergreen.toml").write_text("[models.fashion_cnn]\nthreads = 2\n")
    loaded = load(environ={"EVERGREEN_MODELS__FASHION_CNN__VARIANT": "fp32"}, directory=tmp_path)
    assert (loaded.model("fashion-cnn").threads, loaded.model("fashion-cnn").variant) == (2, "fp32")
    assert loaded.model("other").threads is None


def test_a_table_may_be_written_as_variables_alone(tmp_path: Path):
    rate = {"EVERGREEN_QUOTA__PER_S": "50"}
    more = {"EVERGREEN_QUOTA__BURST": "100", "EVERGREEN_QUOTA__CLIENTS__SHOP__PER_S": "500"}
    quota = load(environ=rate | more, directory=tmp_path).quota
    assert quota == Quota(per_s=50, burst=100, clients={"shop": Allowance(per_s=500)})
    with pytest.raises(SettingsError, match=r"missing required field `per_s` - at `\$.quota`"):
        load(environ=more, directory=tmp_path)
    with pytest.raises(SettingsError, match="EVERGREEN_QUOTA__BURST: Expected `int"):
        load(environ=rate | {"EVERGREEN_QUOTA__BURST": "many"}, directory=tmp_path)


def test_lists_are_written_with_commas(tmp_path: Path):
    assert load(environ={"EVERGREEN_SERVE": "a,b"}, directory=tmp_path).serve == ("a", "b")


def test_booleans_are_read_from_words(tmp_path: Path):
    assert load(environ={"EVERGREEN_STRICT_PROVIDER": "true"}, directory=tmp_path).strict_provider


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"EVERGREEN_PORT": "eighty"}, "EVERGREEN_PORT: Expected `int`, got `str` - at `\\$.port`"),
        ({"EVERGREEN_PORT": "70000"}, "EVERGREEN_PORT.*<= 65535"),
        ({"EVERGREEN_FRONT_ENDS": "0"}, "EVERGREEN_FRONT_ENDS.*>= 1"),
        ({"EVERGREEN_FRONT_ENDS": "65"}, "EVERGREEN_FRONT_ENDS.*<= 64"),
        ({"EVERGREEN_PROT": "1"}, "EVERGREEN_PROT.*unknown field `prot`"),
        ({"EVERGREEN_PROVIDER": "gpu"}, "EVERGREEN_PROVIDER.*'gpu'"),
        ({"EVERGREEN_MODELS__X__THREADS": "0"}, "EVERGREEN_MODELS__X__THREADS.*>= 1"),
        ({"EVERGREEN_CONFIG": "absent.toml"}, "absent.toml, which does not exist"),
    ],
)
def test_a_mistake_in_a_variable_names_it(tmp_path: Path, environ: dict[str, str], says: str):
    with pytest.raises(SettingsError, match=says):
        load(environ=environ, directory=tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "unknown field `prot`"),
        ("port = ", "Invalid value"),
        ("port = true", "Expected `int`"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, text: str, says: str):
    (tmp_path / "evergreen.toml").write_text(text)
    with pytest.raises(SettingsError, match=f"evergreen.toml: .*{says}"):
        load(environ={}, directory=tmp_path)


def test_a_variable_beats_the_table_however_the_model_is_spelt(tmp_path: Path):
    (tmp_path / "evergreen.toml").write_text(
        '[models.fashion-cnn]\nvariant = "fp32"\nthreads = 2\n'
    )
    loaded = load(environ={"EVERGREEN_MODELS__FASHION_CNN__VARIANT": "int8"}, directory=tmp_path)
    assert (loaded.model("fashion-cnn").variant, loaded.model("fashion-cnn").threads) == ("int8", 2)


def test_endless_times_are_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="EVERGREEN_REQUEST_TIMEOUT_S"):
        load(environ={"EVERGREEN_REQUEST_TIMEOUT_S": "inf"}, directory=tmp_path)


def test_how_a_model_runs_is_set_per_model(tmp_path: Path):
    (tmp_path / "evergreen.toml").write_text(
        'provider = "tensorrt"\n[models.x]\nprovider = "cpu"\nspinning = true\ngpu_memory_mb = 512\n'
    )
    loaded = load(environ={"EVERGREEN_MODELS__X__TF32": "false"}, directory=tmp_path)
    own = loaded.model("x")
    assert (loaded.provider, own.provider) == ("tensorrt", "cpu")
    assert (own.spinning, own.gpu_memory_mb, own.tf32, own.instances) == (True, 512, False, None)
