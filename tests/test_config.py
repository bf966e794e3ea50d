"""study.toml is checked once, and says what is wrong."""

import tomllib

import pytest
from places import DOCS

from bonehpo.config import Range, StudyConfig, config_to_toml, load_config
from bonehpo.errors import ConfigError


def load(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, "TB")


def test_without_a_file_the_settings_are_those_of_the_paper(tmp_path):
    config = load_config(tmp_path / "study.toml", "TB")
    assert config == StudyConfig(bone="TB")
    assert (config.baseline.layers, config.baseline.learning_rate, config.baseline.kernel, config.baseline.batch) == (
        3,
        1e-4,
        5,
        20,
    )
    assert config.training.epochs == 20


def test_what_is_written_is_read_back(tmp_path):
    config = load(tmp_path, '[space]\nlearning_rate = {low = 1e-5, high = 1e-2}\n[search]\nsampler = "random"\n')
    assert config.space.learning_rate == Range(low=1e-5, high=1e-2)
    assert load(tmp_path, config_to_toml(config)) == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('spcae = "x"', 'unknown key "spcae": did you mean "space"?'),
        ("[space]\nlayer = [1]", 'unknown key "space.layer": did you mean "layers"?'),
        ('[training]\nepochs = "many"', "Expected int, got str - at $.training.epochs"),
        ("[training]\nepochs = 0", "training.epochs must be at least 1, but got 0"),
        (
            "[training]\nrestarts = -1",
            "training.restarts must be from 0 to 5, but got -1: it is how many other seeds a stuck",
        ),
        ("[training]\nrestarts = 6", "training.restarts must be from 0 to 5, but got 6"),
        ("[training]\nrestarts = 1.5", "Expected int, got float - at $.training.restarts"),
        ("[training]\nrestarts = true", "Expected int, got bool - at $.training.restarts"),
        ("[training]\nshear_deg = 90", "shear_deg must be from 0 to below 60, but got 90"),
        ("[space]\nkernel = []", "space.kernel is empty"),
        ("[space]\nbatch = [5, 5]", "space.batch holds a value twice"),
        ("[space]\nlayers = [0, 1]", "space.layers must be positive, but got 0"),
        ("[space]\nlearning_rate = [nan]", "space.learning_rate must be positive, but got nan"),
        ("[space]\nlearning_rate = {low = 1.0, high = 0.1}", "needs 0 < low < high"),
        ('[search]\nsampler = "tpx"', 'search.sampler is "tpx": write "tpe" or "random" or "quasi-random"'),
        (
            'split = "mixed"',
            'split is "mixed", but a table: write split.kind = "mixed"; it may be "specimen" or "mixed"',
        ),
        (
            'split = "donor"',
            'split is "donor", but a table: write split.kind = "specimen"; it may be "specimen" or "mixed"',
        ),
        ('[split]\nkind = "donor"', 'split.kind is "donor": write "specimen" or "mixed"'),
        ("training = 3", "training is 3, but a table: write [training], and below it epochs, flip"),
        ("[space]\nlearning_rate = {low = 1e-5, high = 1e-2, stpe = 1}", 'unknown key "space.learning_rate.stpe"'),
        ("[space]\nlayers = [1, 2]", "baseline.layers is 3, which space.layers does not hold"),
        ('[search]\nsampler = "grid"\n[space]\nlearning_rate = {low = 1e-5, high = 1e-2}', "sampler grid needs a list"),
        ('[search]\npruner = "signed-rank"\nsampler = "grid"', 'search.pruner is "signed-rank"'),
        ('[search]\npruner = "paired-t"\noptimum = "one-se"', "optimum one-se may choose a trial that is behind"),
        ('[search]\npruner = "median"', 'search.pruner is "median": write "none" or "signed-rank" or "paired-t"'),
        ("[space", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_file_key_and_value(tmp_path, text, complaint):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert complaint in message
    assert "study.toml" in message
    assert "\n" not in message


def test_a_mark_of_byte_order_as_editors_of_windows_write_it_does_no_harm(tmp_path):
    assert load(tmp_path, "\ufeff[training]\nepochs = 7").training.epochs == 7


def test_the_documented_file_has_every_key_at_its_default():
    page = (DOCS / "reference" / "study.md").read_text()
    shown = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    assert shown == tomllib.loads(config_to_toml(StudyConfig(bone="TB")))
