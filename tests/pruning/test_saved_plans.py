"""Every criterion still chooses the channels that it chose before."""

import json

from pruning.saved_plans import PATH, plans


def test_plans_are_those_of_before():
    expected = json.loads(PATH.read_text())
    found = plans()
    assert len(found) == 21 and set(found) == set(expected)
    for name, plan in found.items():
        assert plan == expected[name], name
