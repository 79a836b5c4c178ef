"""The sentences about motions with which grounding is measured."""

from collections import Counter

from benchmarks.support.grounding_cases import KINDS, read_cases


def test_the_split_is_the_one_that_was_fixed_before_the_rules() -> None:
    cases = read_cases()
    assert len({(case.motion, case.text) for case in cases}) == len(cases)
    assert {case.miss for case in cases} == {None, *KINDS}
    counted = Counter((case.miss is None, case.held_out) for case in cases)
    assert counted == {
        (True, False): 131,
        (True, True): 133,
        (False, False): 136,
        (False, True): 135,
    }
    true = None
    for case in cases:
        true = case if case.miss is None else true
        assert true is not None
        assert case.held_out == true.held_out
