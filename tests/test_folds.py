"""No slice of a set that is held out is ever trained on."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonehpo.config import Split
from bonehpo.domain import Group
from bonehpo.errors import FoldError
from bonehpo.folds import PUBLISHED_ASSIGNMENTS, assign_sets, holdout_pairs, nested_folds

PLANES = ("XY", "XZ", "YZ")
SPECIMENS = {
    "CB": ("CB5", "CB6", "CB8", "CB12", "CB22"),
    "TB": ("TB5", "TB6", "TB9", "TB11", "TB12"),
}
names = st.integers(3, 12).map(lambda n: [f"bone-{i}" for i in range(n)])


@given(sets=names)
def test_no_fold_trains_on_what_it_tests_or_validates_on(sets):
    for fold in nested_folds(sets):
        assert fold.test != fold.validation
        assert sorted({fold.test, fold.validation, *fold.train}) == sorted(sets)
        assert len(fold.train) == len(sets) - 2


@given(sets=names)
def test_every_ordered_pair_of_sets_is_a_fold_once(sets):
    folds = nested_folds(sets)
    n = len(sets)
    assert len({(fold.test, fold.validation) for fold in folds}) == len(folds) == n * (n - 1)


@given(sets=names)
def test_each_block_of_folds_tests_and_validates_every_set_once(sets):
    folds, n = nested_folds(sets), len(sets)
    for start in range(0, len(folds), n):
        block = folds[start : start + n]
        assert sorted(fold.test for fold in block) == sorted(fold.validation for fold in block) == sorted(sets)


def test_five_specimens_give_twenty_folds_from_ten_pairs():
    assert len(nested_folds(SPECIMENS["TB"])) == 20
    pairs = holdout_pairs(SPECIMENS["TB"])
    assert len(pairs) == 10
    assert {frozenset(pair) for pair in pairs} == {frozenset(c) for c in combinations(SPECIMENS["TB"], 2)}


@pytest.mark.parametrize("sets", [[], ["a"], ["a", "b"]])
def test_fewer_than_three_sets_are_refused_by_number(sets):
    with pytest.raises(FoldError, match=f"at least 3 sets.*got {len(sets)}"):
        nested_folds(sets)


def test_a_set_named_twice_is_refused_by_name():
    with pytest.raises(FoldError, match="bone-1 stands 2 times"):
        nested_folds(["bone-1", "bone-2", "bone-1", "bone-3"])


@pytest.mark.parametrize("bone", ["CB", "TB"])
@pytest.mark.parametrize("assignment", ["seeded", "published"])
def test_a_mixed_assignment_assigns_every_group_once_into_five_sets_of_three(bone, assignment):
    sets = assign_sets(Split(kind="mixed", assignment=assignment, seed=4), bone, SPECIMENS[bone], PLANES)
    assigned = sorted(group for groups in sets.values() for group in groups)
    assert assigned == sorted(Group(s, p) for s in SPECIMENS[bone] for p in PLANES)
    assert [len(groups) for groups in sets.values()] == [3] * 5


def test_the_published_assignment_is_that_of_table_1():
    sets = assign_sets(Split(kind="mixed", assignment="published"), "CB", SPECIMENS["CB"], PLANES)
    assert set(sets["mixed-4"]) == {("CB5", "XZ"), ("CB5", "YZ"), ("CB22", "XZ")}
    assert len(PUBLISHED_ASSIGNMENTS["TB"]) == 5


def test_the_seed_decides_the_mixed_assignment():
    first, again, other = (assign_sets(Split(kind="mixed", seed=s), "TB", SPECIMENS["TB"], PLANES) for s in (1, 1, 2))
    assert first == again != other


def test_the_published_assignment_is_refused_for_other_bones_and_other_specimens():
    published = Split(kind="mixed", assignment="published")
    with pytest.raises(FoldError, match='no assignment was published for bone "rat"'):
        assign_sets(published, "rat", SPECIMENS["TB"], PLANES)
    with pytest.raises(FoldError, match="needs specimen and plane 8 YZ"):
        assign_sets(published, "CB", SPECIMENS["TB"], PLANES)


def test_the_papers_store_gives_the_papers_image_counts():
    n_slices = 300
    sets = assign_sets(Split(), "CB", SPECIMENS["CB"], PLANES)
    n_images = {name: 2 * n_slices * len(groups) for name, groups in sets.items()}
    for fold in nested_folds(list(sets)):
        counts = [sum(n_images[s] for s in fold.train), n_images[fold.validation], n_images[fold.test]]
        assert counts == [5400, 1800, 1800]
