"""A day in the format of 2019: its calls a minute, its durations, and each mistake told with its line."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from azure import CLIENTS, IDS, durations, invocations, replayed, services

from testbed.errors import InputError

CALLS = {"o1,app-one,fun-one": [3, 0, 40], "o1,app-one,fun-two": [1, 1, 1], "o2,app-two,fun-one": [0, 200, 5],
         "o2,app-two,fun-none": [0, 0, 0]}  # fmt: skip
ONE, TWO, OTHER = "f-app-on-fun-on", "f-app-on-fun-tw", "f-app-tw-fun-on"
NAMES = {ONE: "o1,app-one,fun-one", TWO: "o1,app-one,fun-two", OTHER: "o2,app-two,fun-one"}
GAPS = ("exponential", "uniform", "equidistant")


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("clients", [("c1",), CLIENTS])
def test_each_minute_has_exactly_its_calls_in_order_of_time(tmp_path: Path, gaps: str, clients: tuple[str]) -> None:
    invocations(tmp_path / "i.csv", CALLS)
    found = replayed(tmp_path, gaps=gaps, clients=clients)
    counts = Counter((each.function, int(each.t_scheduled // 60)) for each in found)
    assert counts == Counter({(name, minute): calls for name, key in NAMES.items()
                              for minute, calls in enumerate(CALLS[key]) if calls})  # fmt: skip
    assert [each.t_scheduled for each in found] == sorted(each.t_scheduled for each in found)
    shares = Counter(each.client for each in found).values()
    assert max(shares) - min(shares) <= 1, "clients take turns"


def test_gaps_inside_a_minute_are_as_bursty_as_was_asked(tmp_path: Path) -> None:
    invocations(tmp_path / "i.csv", {"o,a,f": [2000]})
    variation = {}
    for gaps in GAPS:
        times = [each.t_scheduled for each in replayed(tmp_path, gaps=gaps, minutes=[1, 1])]
        between = [b - a for a, b in pairwise(times)]
        variation[gaps] = statistics.stdev(between) / statistics.fmean(between)
    assert variation["exponential"] == pytest.approx(1, rel=0.1)
    assert variation["uniform"] == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert variation["equidistant"] == pytest.approx(0, abs=1e-6)


def test_equidistant_functions_do_not_fire_together(tmp_path: Path) -> None:
    invocations(tmp_path / "i.csv", {f"o,a,f{number}": [1, 1, 1] for number in range(5)})
    found = replayed(tmp_path, gaps="equidistant")
    assert len({each.t_scheduled for each in found}) == 15
    for name in {each.function for each in found}:
        times = [each.t_scheduled for each in found if each.function == name]
        assert [b - a for a, b in pairwise(times)] == pytest.approx([60, 60])


def test_the_order_of_rows_and_other_functions_change_no_draw(tmp_path: Path) -> None:
    invocations(tmp_path / "i.csv", CALLS)
    durations(tmp_path / "d.csv", dict.fromkeys(CALLS, "1,2,3,4,5,6,7"))
    whole = replayed(tmp_path, durations="d.csv")
    assert whole == replayed(tmp_path, durations="d.csv")
    assert whole != replayed(tmp_path, durations="d.csv", seed=2)
    invocations(tmp_path / "i.csv", dict(reversed(CALLS.items())))
    assert replayed(tmp_path, durations="d.csv") == whole
    invocations(tmp_path / "i.csv", {NAMES[OTHER]: CALLS[NAMES[OTHER]]})
    alone = [(each.t_scheduled, each.payload) for each in replayed(tmp_path, durations="d.csv")]
    assert alone == [(each.t_scheduled, each.payload) for each in whole if each.function == OTHER]


def test_a_window_and_a_speed_move_the_same_calls(tmp_path: Path) -> None:
    invocations(tmp_path / "i.csv", CALLS)
    whole = [(each.t_scheduled, each.function) for each in replayed(tmp_path)]
    later = [(each.t_scheduled + 120, each.function) for each in replayed(tmp_path, minutes=[3, 3])]
    assert later == [(pytest.approx(t), name) for t, name in whole if t >= 120]
    quick = [(each.t_scheduled * 4, each.function) for each in replayed(tmp_path, speed=4)]
    assert quick == [(pytest.approx(t, abs=1e-7), name) for t, name in whole]


def test_durations_follow_the_percentiles_of_the_function(tmp_path: Path) -> None:
    invocations(tmp_path / "i.csv", {"o,a,f": [4000], "o,a,zero": [50], "o,a,alone": [3]})
    durations(tmp_path / "d.csv", {"o,a,f": "100,110,200,300,500,900,1000", "o,a,zero": "0,0,0,0,0,0,0",
                                   "o,never,called": "1,2,3,4,5,6,7"})  # fmt: skip
    found = replayed(tmp_path, durations="d.csv", minutes=[1, 1])
    drawn = [each or -1.0 for each in services([each for each in found if each.function == "f-a-f"])]
    assert min(drawn) >= 0.1 and max(drawn) <= 1
    quarters = statistics.quantiles(drawn, n=4)
    assert quarters == pytest.approx([0.2, 0.3, 0.5], rel=0.06)
    assert set(services([each for each in found if each.function == "f-a-zero"])) == {0.0005}
    assert services([each for each in found if each.function == "f-a-alone"]) == [None] * 3, "as the function says"


def test_of_two_rows_of_one_function_calls_add_up_and_the_better_counted_durations_hold(tmp_path: Path) -> None:
    path = invocations(tmp_path / "i.csv", {"o,a,f": [2, 0]})
    path.write_text(path.read_text() + "o,a,f,timer,1,4\n")
    path = durations(tmp_path / "d.csv", {"o,a,f": "1,1,1,1,1,1,1"})
    path.write_text(path.read_text() + "o,a,f,2,10,2,2,2,2,2,2,2,2,2\n" + "o,a,f,3,3,3,3,3,3,3,3,3,3,3\n")
    found = replayed(tmp_path, durations="d.csv", minutes=[1, 2])
    assert Counter(each.t_scheduled // 60 for each in found) == {0: 3, 1: 4}
    assert set(services(found)) == {0.002}


def many(tmp_path: Path) -> dict[str, int]:
    """Forty functions in ten apps with 1 to 40 calls; their names and calls."""
    calls = {f"o{number % 2},app{number % 10:03},fun{number:03}": [number + 1] for number in range(40)}
    invocations(tmp_path / "i.csv", calls)
    return {f"f-{key.split(',')[1]}-{key.split(',')[2]}": counts[0] for key, counts in calls.items()}


def called(tmp_path: Path, **keys: Any) -> Counter[str]:
    return Counter(each.function for each in replayed(tmp_path, minutes=[1, 1], **keys))


def test_chosen_functions_keep_all_their_calls(tmp_path: Path) -> None:
    calls = many(tmp_path)
    assert called(tmp_path) == calls
    busiest = called(tmp_path, functions=3, choose="busiest")
    assert busiest == {name: count for name, count in calls.items() if count > 37}
    assert sorted(called(tmp_path, functions=4, choose="spread").values()) == [5, 15, 25, 35]
    sample = called(tmp_path, functions=7)
    assert len(sample) == 7 and sample.items() <= calls.items()
    assert sample == called(tmp_path, functions=7, seed=9), "the experiment's seed chooses nothing"
    assert sample != called(tmp_path, functions=7, choose_seed=2)
    assert sample.items() <= called(tmp_path, functions=8).items()


def test_thinning_keeps_whole_apps_and_nests(tmp_path: Path) -> None:
    calls = many(tmp_path)
    sizes = []
    before: Counter[str] = Counter()
    for share in ("20%", "50%", "80%", "100%"):
        kept = called(tmp_path, keep=share)
        assert kept.items() <= calls.items() and before.items() <= kept.items()
        apps = Counter(name.split("-")[1] for name in kept)
        assert set(apps.values()) == {4}, "with all of an app's functions"
        sizes.append(len(apps))
        before = kept
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] == 10


def refusal(tmp_path: Path, **keys: Any) -> list[str]:
    with pytest.raises(InputError) as told:
        replayed(tmp_path, **keys)
    return str(told.value).replace(f"{tmp_path}/", "").splitlines()


def test_every_mistake_is_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text(f"{IDS},Trigger,1,2,3\no,a,f,http,1,2,3\no,a,,http,1,2,3\no,a,g,http,1,2\n\n"
                                    "o,a,h,http,-1,2.0,3\no,a,h,http,1,,3\n")  # fmt: skip
    assert refusal(tmp_path) == [
        "i.csv:3 HashFunction: found nothing; expected an identifier.",
        "i.csv:4: found 6 cells; expected 7, as the header has.",
        "i.csv:6 1: found -1; expected a whole number from 0 to 1e12.",
        "i.csv:6 2: found 2.0; expected a whole number from 0 to 1e12.",
        "i.csv:7 2: found nothing; expected a whole number from 0 to 1e12.",
    ]
    invocations(tmp_path / "i.csv", {"o,a,f": [1, 1, 1], "o,a,g": [1, 1, 1]})
    faulty = {"o,a,other": "nonsense" + 6 * ",0", "o,a,f": "1,2,x,4,5,6,7", "o,a,g": "1,1,3,2,5,6,7"}
    durations(tmp_path / "d.csv", faulty)
    assert refusal(tmp_path, durations="d.csv") == [
        "d.csv:3 percentile_Average_25: found x; expected a number from 0 to 1e12.",
        "d.csv:3 percentile_Average_0: found percentiles 1, 2, x, 4, 5, 6, 7; expected percentiles that do not fall.",
        "d.csv:4 percentile_Average_0: found percentiles 1, 1, 3, 2, 5, 6, 7; expected percentiles that do not fall.",
    ]


def test_a_file_of_another_format_is_told_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("app,func,end_timestamp,duration\na,f,1,1\n")
    assert refusal(tmp_path) == [
        "i.csv:1: found a header without HashOwner, HashApp, HashFunction and 3 more (it begins with "
        "app,func,end_timestamp,duration); expected the columns HashOwner, HashApp, HashFunction, 1, 2, 3, each once."
    ]
    (tmp_path / "i.csv").write_text("")
    assert "begins with nothing" in refusal(tmp_path, minutes=[1, 1440])[0]
    (tmp_path / "i.csv").write_text(f"{IDS},1,2,3,3\n")
    assert "a header with 3 twice" in refusal(tmp_path)[0]
    (tmp_path / "i.csv").write_bytes(b"\xff\xfe")
    assert "a CSV file in UTF-8" in refusal(tmp_path)[0]
    assert "No such file" in refusal(tmp_path, invocations="none.csv")[0]


def test_a_file_that_is_wrong_throughout_is_not_told_throughout(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text(f"{IDS},1,2,3\n" + "o,a,f,x,1,1\n" * 1000)
    assert len(refusal(tmp_path)) == 20
